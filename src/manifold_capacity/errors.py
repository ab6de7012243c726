"""Errors that a user can act on, and the known name that an unknown one resembles."""

from __future__ import annotations

import difflib
import sys
import warnings
from collections.abc import Iterable


class UserError(ValueError):
    """Something is wrong with the input, the configuration or the machine; the message says what to do.

    Jobs and the command line show only the message. Of any other exception, a job logs the traceback.
    """


class CaveatWarning(RuntimeWarning):
    """A layer's numbers may mean less than they seem to: one of ``Geometry.caveats``."""


class DiskFullError(OSError, UserError):
    """There is not enough disk space for a file."""


class MissingPackageError(UserError, ModuleNotFoundError):
    """An optional package is not installed."""

    @classmethod
    def of_pipeline(cls, module: str | None) -> MissingPackageError:
        """A module of the packages that only the pipeline needs."""
        return cls(
            f"this needs {(module or '').partition('.')[0]}, which is not installed; it comes with the pipeline: pip install "
            "'manifold-capacity[pipeline]' (in a clone: pip install '.[pipeline]')"
        )


def warn_caller(message: str, kind: type[Warning] = RuntimeWarning) -> None:
    """Warn at the line outside this package that led here."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").startswith("manifold_capacity"):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, kind, stacklevel=level)


def shortened(text: str, length: int = 300) -> str:
    """What a file says, to show in a message: on one line, printable, cut where it is longer.

    >>> shortened("Missing keys:\\n a, b, c", 18)
    'Missing keys: a, b...'
    """
    text = " ".join("".join(c if c.isprintable() else " " for c in text[: 10 * length]).split())
    return text if len(text) <= length else f"{text[:length]}..."


def nearest(word: object, known: Iterable[object], cutoff: float = 0.5) -> str:
    """`"; nearest: ..."` if `word` resembles one of the `known`, else an empty string.

    >>> nearest("ResNet81", ["resnet18", "vgg16"])
    '; nearest: resnet18'
    """
    by_lower = {str(name).lower(): str(name) for name in reversed([*known])}
    close = difflib.get_close_matches(str(word).lower(), by_lower, n=1, cutoff=cutoff)
    return f"; nearest: {by_lower[close[0]]}" if close else ""
