"""Errors that a user can act on, and the nearest known name to one that is unknown."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["DiskFullError", "MissingPackageError", "UserError", "nearest"]


class UserError(ValueError):
    """The input, the configuration or the machine cannot be worked with; the message says why and what to do.

    Jobs and the command line show the message alone. Any other exception is an error of the program,
    and a job leaves its traceback in the log.
    """


class DiskFullError(OSError, UserError):
    """There is no room for a file."""


class MissingPackageError(UserError, ModuleNotFoundError):
    """An optional package is not installed."""


def nearest(word: object, known: Iterable[object], cutoff: float = 0.5) -> str:
    """`"; nearest: ..."` if `word` resembles one of the `known`, else an empty string.

    >>> nearest("ResNet81", ["resnet18", "vgg16"])
    '; nearest: resnet18'
    """
    by_lower = {str(name).lower(): str(name) for name in reversed([*known])}
    close = difflib.get_close_matches(str(word).lower(), by_lower, n=1, cutoff=cutoff)
    return f"; nearest: {by_lower[close[0]]}" if close else ""
