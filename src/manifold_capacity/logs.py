"""Where a job says what it does: in a log file and on the terminal, in plain lines."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike

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

    An exception that ends the job stands in the file too, and goes on to the caller.
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
    except BaseException:
        logger.removeHandler(terminal)  # the terminal gets the traceback from Python
        logger.exception("The job failed.")
        raise
    finally:
        logging.captureWarnings(False)
        warnings_logger.removeHandler(handler)
        logger.removeHandler(handler)
        logger.removeHandler(terminal)
        logger.setLevel(level)
        handler.close()
