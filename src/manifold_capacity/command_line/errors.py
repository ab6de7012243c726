"""What the command prints, its exit codes, and its one-line error messages and warnings."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

PROGRAM = "manifold-capacity"
DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

# Keys of the configuration in the readers' messages, and the command's own options.
_KEYS = {
    "activations.path: ": "",
    "drop_nan": "--drop-nan",
    "activations.labels: null": "--labels: not given",
    "activations.labels": "--labels",
    "activations.groups": "--group-by",
    "layers.names": "--layers",
    "manifolds.points_per_class": "--points-per-class",
    "models.name: ": "",
    "models.image_size": "--image-size",
}


class UsageError(ValueError):
    """The command line asks for something that does not exist."""


class OutputError(OSError):
    """Standard output cannot be written."""


def prepare_streams() -> None:
    """Print characters that an encoding lacks (± in ASCII) as escapes; no messages if there is no stream."""
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - for the rest of the process
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(text: str) -> None:
    """Print to standard output."""
    if sys.stdout is None:
        raise OutputError(
            "standard output is closed; results are in the files of -o and --manifolds"
        )
    with _printing():
        print(text, flush=True)


def flush() -> None:
    """Write what argparse has printed."""
    if sys.stdout is not None:
        with _printing():
            sys.stdout.flush()


@contextmanager
def _printing() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(
            f"standard output cannot be written: {error.strerror}; results are in the files of -o and "
            "--manifolds"
        ) from error


def in_options(message: object) -> str:
    """The message in one line, with options in place of the configuration's keys."""
    text = str(message)
    for key, option in _KEYS.items():
        text = text.replace(key, option)
    return " ".join(text.split())


def fail(message: object, code: int = FAILED) -> int:
    print(f"{PROGRAM}: error: {in_options(message)}", file=sys.stderr)
    return code


def show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"{PROGRAM}: warning: {in_options(message)}", file=sys.stderr)
