"""Where a job says what it does: in its log, in plain lines, and how far it is."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from typing import Any

from manifold_capacity.errors import UserError

__all__ = ["JOBS_ARE_SHOWN", "Progress", "duration", "log_to", "quiet_if_shown"]


# Set in the environment of jobs by Snakemake's logger plugin (`snakemake_logger_plugin_manifold_capacity`),
# which shows their logs as they grow: device and inode of the file or terminal where it does. A job that
# wrote there itself would write into the bar. On a cluster, jobs write to a file of their own.
JOBS_ARE_SHOWN = "MANIFOLD_CAPACITY_JOBS_ARE_SHOWN"


# Between two lines of one piece of work: a log stays short over hours, and a reader knows it is alive.
LINE_EVERY_S = 5.0


logger = logging.getLogger(__name__)


class _Terminal(logging.Handler):
    """Lines on standard error, whatever that is at the time."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr, flush=True)


@contextmanager
def log_to(path: str | PathLike[str]) -> Iterator[logging.Logger]:
    """Send this package's messages to a file, and to standard error unless the file is shown there.

    An exception ends the process with status 1 (130 for Ctrl-C). A `UserError` says all there is to
    say, and is one message; any other exception leaves its traceback in the file.
    """
    logger = logging.getLogger("manifold_capacity")
    handler = logging.FileHandler(path, mode="w", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    terminal = logging.NullHandler() if _is_shown() else _Terminal()
    logger.addHandler(terminal)
    logging.captureWarnings(True)
    warnings_logger = logging.getLogger("py.warnings")
    warnings_logger.addHandler(handler)
    try:
        yield logger
    except KeyboardInterrupt:
        logger.error("interrupted; the same command goes on")
        sys.exit(130)
    except UserError as error:
        logger.error("%s", error)
        sys.exit(1)
    except Exception:
        logger.removeHandler(terminal)  # which shows the file, if it shows failed jobs' logs
        logger.exception("The job failed by an error of the program:")
        sys.exit(1)
    finally:
        logging.captureWarnings(False)
        warnings_logger.removeHandler(handler)
        logger.removeHandler(handler)
        logger.removeHandler(terminal)
        logger.setLevel(level)
        handler.close()


def quiet_if_shown() -> None:
    """In a job whose log is shown: end without a traceback on the terminal if it is interrupted."""

    def hook(kind: type[BaseException], error: BaseException, traceback: Any) -> None:
        if not issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, error, traceback)

    if _is_shown():
        sys.excepthook = hook


def _is_shown() -> bool:
    """Whether standard error goes to where this job's log is shown anyway."""
    try:
        here = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):
        return False
    return os.environ.get(JOBS_ARE_SHOWN) == f"{here.st_dev}:{here.st_ino}"


class Progress:
    """How far a long piece of work is: a line now and then, with its pace and the time that is left.

    Parameters
    ----------
    what : str
        What is under way.
    total : int or None
        Where it ends, if known.
    unit : str
        What is counted, as the lines name it.
    scale : float
        How many of what is counted make one unit: ``2**30`` for bytes and ``"GiB"``.
    initial : int
        Where it begins.
    """

    def __init__(
        self, what: str, total: int | None, unit: str, *, scale: float = 1.0, initial: int = 0
    ) -> None:
        self.what, self.total, self.unit, self.scale = what, total, unit, scale
        self.initial = self.done = initial
        self.started = self._last_line = time.monotonic()

    def update(self, n: int, what: str | None = None) -> None:
        """Count `n` more; say so if it is time."""
        self.done += n
        self.what = what or self.what
        if time.monotonic() - self._last_line >= LINE_EVERY_S:
            self._last_line = time.monotonic()
            logger.info("%s: %s", self.what, self)

    def __str__(self) -> str:
        of, share = "", ""
        if self.total:
            of, share = f" of {self._amount(self.total)}", f" ({self.done / self.total:.0%})"
        return f"{self._amount(self.done)}{of} {self.unit}{share}, {self.pace()}"

    def pace(self) -> str:
        """How many per second, and how long at that pace until all is done."""
        elapsed = time.monotonic() - self.started
        if self.done == self.initial or elapsed == 0:
            return "0 " + self.unit + "/s"
        rate = (self.done - self.initial) / elapsed
        text = f"{self._amount(rate)} {self.unit}/s"
        if self.total and self.done < self.total:
            text += f", {duration((self.total - self.done) / rate)} left"
        return text

    def _amount(self, n: float) -> str:
        n /= self.scale
        return f"{n:,.0f}" if n >= 100 or n == int(n) else f"{n:.3g}"


def duration(seconds: float) -> str:
    """A time to read: ``4.2 s``, ``38 min``, ``2 h 05 min``.

    >>> duration(4.231), duration(61), duration(2270), duration(7500)
    ('4.2 s', '61 s', '38 min', '2 h 05 min')
    """
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60:,} h {minutes % 60:02} min"
