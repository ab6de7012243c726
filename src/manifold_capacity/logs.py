"""Logs of jobs: plain lines in a file, and lines now and then that say how far a job is."""

from __future__ import annotations

import logging
import os
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from typing import Any

from manifold_capacity.errors import CaveatWarning, UserError
from manifold_capacity.files import DISK_FULL

# Snakemake's logger plugin (`snakemake_logger_plugin_manifold_capacity`) shows jobs' logs as they grow.
# It sets this variable for jobs: device and inode of the file or terminal where it shows them. A job
# must not write there itself. On a cluster, jobs write to a file of their own.
JOBS_ARE_SHOWN = "MANIFOLD_CAPACITY_JOBS_ARE_SHOWN"

# Seconds between two lines of a job: over hours the log stays short, but shows that the job is alive.
LINE_EVERY_S = 5.0

logger = logging.getLogger(__name__)


class _LogFile(logging.FileHandler):
    """A job's log. If its disk is full, what it cannot hold is written to standard error."""

    def handleError(self, record: logging.LogRecord) -> None:
        if getattr(sys.exc_info()[1], "errno", None) not in DISK_FULL:
            super().handleError(record)
        elif record.levelno >= logging.ERROR:
            print(f"{self.baseFilename}: {record.getMessage()}", file=sys.stderr)

    def close(self) -> None:
        try:
            super().close()
        except OSError as error:  # of what is still to be written
            if error.errno not in DISK_FULL:
                raise


@contextmanager
def log_to(path: str | PathLike[str]) -> Iterator[logging.Logger]:
    """Send this package's messages to a file, and to standard error unless the file is shown there.

    An exception ends the process with status 1 (130 for Ctrl-C). A `UserError` is logged as one
    message, any other exception with its traceback.
    """
    logger, warned = map(logging.getLogger, ("manifold_capacity", "py.warnings"))
    file = _LogFile(path, mode="w", encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    terminal = logging.NullHandler() if _is_shown() else logging.StreamHandler()
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(file)
    logger.addHandler(terminal)
    logging.captureWarnings(True)
    warnings.simplefilter(
        "ignore", CaveatWarning
    )  # a layer's row has them, and the run's last table
    warned.addHandler(file)
    try:
        yield logger
    except KeyboardInterrupt:
        logger.error("interrupted; the same command continues from here")
        sys.exit(130)
    except UserError as error:
        logger.error("%s", error)
        sys.exit(1)
    except Exception as error:
        if getattr(error, "errno", None) in DISK_FULL:
            logger.error("%s; make room, or choose another `results` folder", error)
            sys.exit(1)
        logger.removeHandler(terminal)  # Snakemake may show the log of a failed job there
        logger.exception("The job failed with an unexpected error:")
        sys.exit(1)
    finally:
        logging.captureWarnings(False)
        warned.removeHandler(file)
        logger.removeHandler(file)
        logger.removeHandler(terminal)
        logger.setLevel(level)
        file.close()


def _is_shown() -> bool:
    """Whether this job's log is shown where its standard error goes."""
    try:
        here = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):
        return False
    return os.environ.get(JOBS_ARE_SHOWN) == f"{here.st_dev}:{here.st_ino}"


def _silent_interrupt(kind: type[BaseException], error: BaseException, traceback: Any) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)


# Jobs import this module first, so that Ctrl-C during the imports, which take most of a short job's
# time, prints no traceback into the progress display.
if _is_shown():
    sys.excepthook = _silent_interrupt


class Progress:
    """Logs now and then how far a long piece of work is, with its pace and the time left.

    It counts from `initial` to `total`, if that is known. Lines name the work and the unit; `scale` is
    the number of counts per unit, ``2**30`` for bytes and ``"GiB"``.
    """

    def __init__(
        self, what: str, total: int | None, unit: str, *, scale: float = 1.0, initial: int = 0
    ) -> None:
        self.what, self.total, self.unit, self.scale = what, total, unit, scale
        self.initial = self.done = initial
        self.started = self._last_line = time.monotonic()

    def update(self, n: int, what: str | None = None) -> None:
        """Count `n` more, and log a line if the last one is long enough ago."""
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
        """Units per second, and the time left at that pace."""
        elapsed = time.monotonic() - self.started
        if self.done == self.initial or elapsed == 0:
            return f"0 {self.unit}/s"
        rate = (self.done - self.initial) / elapsed
        text = f"{self._amount(rate)} {self.unit}/s"
        if self.total and self.done < self.total:
            text += f", {duration((self.total - self.done) / rate)} left"
        return text

    def _amount(self, n: float) -> str:
        n /= self.scale
        return f"{n:,.0f}" if n >= 100 or n == int(n) else f"{n:.3g}"


def duration(seconds: float) -> str:
    """A time as text.

    >>> duration(4.231), duration(61), duration(2270), duration(7500)
    ('4.2 s', '61 s', '38 min', '2 h 05 min')
    """
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60:,} h {minutes % 60:02} min"
