"""The command `manifold-capacity`: measure files, list a network's layers, draw a table.

It reads and writes the same files as the pipeline, without Snakemake. ``measure`` needs only the
library's dependencies; a command imports what else it needs when it runs.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence

from manifold_capacity.command_line.errors import (
    FAILED,
    INTERRUPTED,
    USAGE,
    UsageError,
    fail,
    in_options,
    show_warning,
)
from manifold_capacity.command_line.parser import build_parser

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with these arguments, by default those of the process.

    Returns
    -------
    int
        Exit code: 0 for success, 1 if something could not be read, measured or written, 2 if the
        command line is wrong, 130 if interrupted.
    """
    with warnings.catch_warnings():
        warnings.showwarning = show_warning
        try:
            chosen = build_parser().parse_args(arguments)
            code: int = chosen.run(chosen)
            sys.stdout.flush()
        except UsageError as error:
            return fail(error, USAGE)
        except ModuleNotFoundError as error:
            return fail(
                f"this needs {error.name}, which is not installed; it comes with the pipeline: "
                f"pip install 'manifold-capacity[pipeline]' (in a clone: pip install '.[pipeline]')"
            )
        except BrokenPipeError:
            # The reader has closed the pipe (`| head`). Python would complain at its exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return FAILED
        except (ValueError, OSError, MemoryError) as error:
            # A message about an option begins with it.
            return fail(error, USAGE if in_options(error).startswith("--") else FAILED)
        except KeyboardInterrupt:
            return fail("interrupted", INTERRUPTED)
    return code
