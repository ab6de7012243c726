"""Outputs that are there whole or not at all, whatever kills the job that writes them."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from manifold_capacity.errors import DiskFullError

__all__ = ["file_sha256", "lock", "require_space", "whole"]

logger = logging.getLogger(__name__)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, as 64 lower-case hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_space(folder: Path, n_bytes: int, what: str) -> None:
    """Raise OSError (ENOSPC) that says how much is missing if `folder` has not `n_bytes` free."""
    free = shutil.disk_usage(folder).free
    if free < n_bytes:
        raise DiskFullError(
            errno.ENOSPC,
            f"{what} needs {mb(n_bytes)}, but only {mb(free)} are free in {folder}; "
            "make room, or choose another `results` folder",
        )


def lock(file: FileIO, waiting_for: str | None = None) -> bool:
    """Lock a file for this process until it is closed; whether the lock was got.

    With `waiting_for` it waits for whoever holds the lock, and says so; without, it returns False.
    Where the file system has no locks (NFS or Lustre mounted without them) it says so and goes on.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if waiting_for is None:
            return False
        logger.info("waiting for another process that is at %s", waiting_for)
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
        logger.warning(
            "%s: this file system has no locks (%s); take care that no second process writes here",
            file.name,
            error.strerror,
        )
    return True


def mb(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:.1f} MB"


@contextmanager
def whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A path to write a file or folder to, which becomes `path` once all is written.

    Snakemake marks a job's outputs while it runs, but looks at these marks before it knows the jobs
    that follow from a checkpoint: what such a job left half-written would pass for finished.

    Parameters
    ----------
    path : path
        Replaced if it is there.

    Yields
    ------
    Path
        Beside `path`, with `.part` at its end. If writing fails, it stays behind, and the next
        attempt gets it again.
    """
    path = Path(path)
    part = path.with_name(f"{path.name}.part")
    yield part
    if path.is_dir():
        shutil.rmtree(path)
    os.replace(part, path)
