"""The command `manifold-capacity`: run the pipeline, measure files, list a network's layers, draw a table.

The last three read and write the same files as the pipeline, without Snakemake. ``measure`` needs only the
library's dependencies; a command imports what else it needs when it runs.
"""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Sequence

from manifold_capacity.command_line import errors
from manifold_capacity.errors import MissingPackageError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with these arguments, by default the process's, and return its exit code.

    0 for success, 1 if something could not be read, measured or written, 2 if the command line is
    wrong, 130 if interrupted.
    """
    with warnings.catch_warnings():
        warnings.showwarning = errors.show_warning
        try:
            errors.prepare_streams()
            return _run(arguments)
        except errors.UsageError as error:
            return errors.fail(error, errors.USAGE)
        except MissingPackageError as error:
            return errors.fail(error)
        except ModuleNotFoundError as error:
            return errors.fail(MissingPackageError.of_pipeline(error.name))
        except (BrokenPipeError, errors.OutputError) as error:
            if sys.stdout is not None:  # Python would complain at its exit
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            # A reader that has closed the pipe (`| head`) wants no message.
            is_message = isinstance(error, errors.OutputError)
            return errors.fail(error) if is_message else errors.FAILED
        except (ValueError, OSError, MemoryError) as error:
            # A message about an option begins with it.
            is_usage = errors.in_options(error).startswith("--")
            return errors.fail(error, errors.USAGE if is_usage else errors.FAILED)
        except KeyboardInterrupt:
            return errors.fail("interrupted", errors.INTERRUPTED)
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            what = f"unexpected {type(error).__name__}: {error} ({frame.filename}:{frame.lineno})"
            return errors.fail(f"{what}; please report it with the command line")


def _run(arguments: Sequence[str] | None) -> int:
    from manifold_capacity.command_line.parser import build_parser  # slow: Ctrl-C is caught by now

    try:
        chosen = build_parser().parse_args(arguments)
        code: int = chosen.run(chosen)
    finally:
        errors.flush()
    return code
