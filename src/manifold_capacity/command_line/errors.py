"""Exit codes of the command, and its one-line error messages and warnings."""

from __future__ import annotations

import sys
from typing import Any

PROGRAM = "manifold-capacity"
DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

# Keys of the configuration in the readers' messages, and the command's own options.
_KEYS = {
    "activations.path: ": "",
    "activations.labels: null": "--labels: not given",
    "activations.labels": "--labels",
    "layers.names": "--layers",
    "manifolds.points_per_class": "--points-per-class",
    "models.name: ": "",
    "models.image_size": "--image-size",
}


class UsageError(ValueError):
    """The command line asks for something that does not exist."""


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
