"""Where a job says what it does: in a log file and on the terminal, in plain lines."""

from __future__ import annotations

import linecache
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

__all__ = ["log_to"]


class _Terminal(logging.Handler):
    """Lines on standard error; above a progress bar, if one is being drawn."""

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record)
        if "tqdm" in sys.modules:
            from tqdm import tqdm

            tqdm.write(line, file=sys.stderr)
        else:
            print(line, file=sys.stderr, flush=True)


@contextmanager
def log_to(path: str | PathLike[str]) -> Iterator[logging.Logger]:
    """Send this package's messages to a file and to standard error.

    An exception ends the process with status 1 (130 for Ctrl-C). One that this package raises on
    purpose says all there is to say, and is one message; any other leaves its traceback in the file.
    """
    logger = logging.getLogger("manifold_capacity")
    handler = logging.FileHandler(path, mode="w", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    terminal = _Terminal()
    logger.addHandler(terminal)
    logging.captureWarnings(True)
    warnings_logger = logging.getLogger("py.warnings")
    warnings_logger.addHandler(handler)
    try:
        yield logger
    except KeyboardInterrupt:
        logger.error("interrupted; the same command goes on")
        sys.exit(130)
    except Exception as error:
        if _on_purpose(error):
            logger.error("%s", error)
        else:
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


def _on_purpose(error: Exception) -> bool:
    """Whether a `raise` of this package made the exception, and not a mistake in its code."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None:
        return False
    file = traceback.tb_frame.f_code.co_filename
    line = linecache.getline(file, traceback.tb_lineno).strip()
    return Path(file).parent == Path(__file__).parent and line.startswith("raise ")
