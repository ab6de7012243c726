"""Files: written completely or not at all, verified by checksums, locked, and checked for disk space."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Any

from manifold_capacity.errors import DiskFullError, UserError

logger = logging.getLogger(__name__)

# Of an OSError: no space, a quota, or a limit on the size of files
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
AGAIN = "delete it and run the same command again"


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A path to write a file or folder to, which replaces `path` once everything is written.

    After a job was killed, Snakemake can take its half-written output for a finished one, where the
    job follows from a checkpoint. The path is `path` with ``.part`` at its end: free, whatever a killed
    attempt left, and removed if an exception ends the block.
    """
    path = Path(path)
    part = path.with_name(f"{path.name}.part")
    _remove(part)
    try:
        yield part
        if part.is_file():
            with part.open("rb+") as file:
                os.fsync(file.fileno())  # or a power cut could leave an empty file under the name
        if path.is_dir():
            _remove(path)  # a link to a folder is replaced, not followed
        os.replace(part, path)
    except BaseException:
        _remove(part)
        raise


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file, completely or not at all."""
    with atomic_path(path) as part:
        part.write_text(text, encoding="utf-8")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, as 64 lower-case hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# A sealed JSON object, and what its checksum covers.
_SEALED = re.compile(r'\{"sha256": "([0-9a-f]{64})",(.*)', re.DOTALL)


def seal(text: str) -> str:
    """A JSON object, which is not empty, with a new first entry: ``sha256``, the checksum of all after it."""
    return f'{{"sha256": "{hashlib.sha256(text[1:].encode()).hexdigest()}",{text[1:]}'


def unseal(text: str, where: str) -> dict[str, Any]:
    """The object of a text of `seal`, without the checksum; a UserError about `where` if it is damaged."""
    sealed = _SEALED.fullmatch(text)
    if not sealed:
        raise UserError(
            f"{where} has no checksum: it is damaged, or of an earlier version; {AGAIN}"
        )
    if hashlib.sha256(sealed[2].encode()).hexdigest() != sealed[1]:
        raise UserError(f"{where} was damaged or changed: its checksum does not fit; {AGAIN}")
    return json.loads("{" + sealed[2])


def write_json(path: str | os.PathLike[str], content: Mapping[str, Any]) -> None:
    """Write a sealed JSON object, see `seal`."""
    write_text(path, seal(json.dumps(content, indent=1, ensure_ascii=False)) + "\n")


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what `write_json` wrote, without the checksum; a UserError if it was damaged or changed."""
    content = Path(path).read_bytes().decode(errors="replace").removesuffix("\n")
    return unseal(content, os.fspath(path))


def file_state(path: str) -> list[int | str]:
    """What changes when the contents of a file, or of a folder with all below it, change."""
    if os.path.isdir(path):
        listing = hashlib.sha256()
        for name, about in _below(path):
            listing.update(
                f"{name}\0{about.st_size}\0{about.st_mtime_ns}\n".encode(errors="surrogateescape")
            )
        return [listing.hexdigest()]
    about = os.stat(path)
    return [about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino]


def _below(folder: str) -> Iterator[tuple[str, os.stat_result]]:
    """All files below a folder in a fixed order: their relative names, and what is known of them.

    Links are followed, but none into a folder that is being listed already.
    """
    above = set()
    for here, folders, names in os.walk(folder, followlinks=True):
        above.add(os.path.realpath(here))
        folders[:] = sorted(
            name for name in folders if os.path.realpath(os.path.join(here, name)) not in above
        )
        for name in sorted(names):
            path = os.path.join(here, name)
            with suppress(FileNotFoundError):  # a dangling link
                yield os.path.relpath(path, folder), os.stat(path)


def checksums(files: Iterable[str | os.PathLike[str]], folder: Path) -> dict[str, str]:
    """SHA-256 of files by their paths relative to a folder."""
    return {os.path.relpath(file, folder): file_sha256(Path(file)) for file in files}


def check_file(path: str | os.PathLike[str], stamp: str | os.PathLike[str]) -> dict[str, Any]:
    """Raise UserError unless a file has the checksum that a stamp has under ``files``; return the stamp.

    A stamp is a file of `write_json`. It names the files by their paths relative to its own folder.
    """
    content = read_json(stamp)
    expected = content.get("files", {}).get(os.path.relpath(path, Path(stamp).parent))
    if expected is None:
        raise UserError(f"{stamp} does not name {path}; {AGAIN}")
    found = file_sha256(Path(path))
    if found != expected:
        problem = (
            f"{path} was damaged or changed: its SHA-256 is {found}, not {expected} as {stamp} says"
        )
        raise UserError(f"{problem}; {AGAIN}")
    return content


def mb(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:.1f} MB"


def require_space(folder: Path, n_bytes: int, what: str) -> None:
    """Raise DiskFullError, which says how much is missing, if `folder` has fewer than `n_bytes` free."""
    free = shutil.disk_usage(folder).free
    if free < n_bytes:
        problem = f"{what} needs {mb(n_bytes)}, but only {mb(free)} are free in {folder}"
        remedy = "make room, or choose another `results` folder"
        raise DiskFullError(errno.ENOSPC, f"{problem}; {remedy}")


def lock(file: FileIO, waiting_for: str | None = None) -> bool:
    """Lock a file for this process until it is closed, and return whether that succeeded.

    If another process holds the lock: with `waiting_for`, log this text and wait; without, return
    False. On a file system without locks (some NFS and Lustre mounts): log a warning and return True.
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
        problem = f"{file.name}: this file system has no locks ({error.strerror})"
        logger.warning("%s; make sure that no second process writes here", problem)
    return True
