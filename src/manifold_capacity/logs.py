"""Where a job says what it does: a log file, in plain lines."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike

__all__ = ["log_to"]


@contextmanager
def log_to(path: str | PathLike[str]) -> Iterator[logging.Logger]:
    """Send this package's messages to a file, and an exception that ends the job with them.

    The exception goes on to the caller: it stands in the log and on the terminal.
    """
    logger = logging.getLogger("manifold_capacity")
    handler = logging.FileHandler(path, mode="w", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    logging.captureWarnings(True)
    warnings_logger = logging.getLogger("py.warnings")
    warnings_logger.addHandler(handler)
    try:
        yield logger
    except BaseException:
        logger.exception("The job failed.")
        raise
    finally:
        logging.captureWarnings(False)
        warnings_logger.removeHandler(handler)
        logger.removeHandler(handler)
        logger.setLevel(level)
        handler.close()
