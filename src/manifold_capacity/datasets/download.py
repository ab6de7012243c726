"""Download files: verified, resumed, retried, and never left half-written under their names."""

from __future__ import annotations

import logging
import os
import re
import time
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

from manifold_capacity.errors import DiskFullError, UserError
from manifold_capacity.files import file_sha256, lock, mb, require_space
from manifold_capacity.logs import Progress

if TYPE_CHECKING:
    import requests

__all__ = ["DownloadError", "download"]

logger = logging.getLogger(__name__)

# Bytes to read and write at a time; an incomplete chunk is lost when a connection breaks.
CHUNK_BYTES = 64 * 1024
# No wait between two attempts is longer, whatever the server asks for.
LONGEST_WAIT_S = 60.0
# Answers that may be different next time: timeout, too early, too many requests, server errors.
TRANSIENT_STATUS = {408, 425, 429, *range(500, 600)}


class DownloadError(OSError, UserError):
    """A file could not be downloaded, or is not the expected one."""


class _Interrupted(Exception):
    """This attempt failed in a way that the next one may not."""

    def __init__(self, reason: str, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


def download(
    url: str,
    target: Path,
    *,
    sha256: str,
    retries: int = 5,
    backoff_s: float = 1.0,
    timeout_s: float = 60.0,
) -> None:
    """Download a file; afterwards `target` has the expected content, or an error says why not.

    A file that is already there with the right checksum is left as it is. Received bytes are kept in
    `target` + `.part`, where a later attempt or a later process resumes, whichever address it uses: the
    checksum tells whether the parts belong together, and if not the download starts over, once. Two
    processes with the same target take turns.

    Attempts fail after `timeout_s` seconds without another byte. After a failure that may pass, the
    next one starts in `backoff_s` seconds, doubled each time; `retries` of them in a row may receive
    nothing new. What cannot be downloaded, or has another checksum, is a DownloadError; only a `.part`
    that can be resumed is left behind. A full disk is a DiskFullError.
    """
    if not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise UserError(f"{sha256!r} is not a SHA-256: 64 hexadecimal digits are expected")
    sha256 = sha256.lower()
    if target.is_file():
        found = file_sha256(target)
        if found == sha256:
            logger.info("%s exists, SHA-256 as expected", target)
            return
        logger.warning("%s has SHA-256 %s, not %s: it is downloaded again", target, found, sha256)
    target.parent.mkdir(parents=True, exist_ok=True)
    with _Part(target) as part:
        # Another process may have downloaded the file while this one waited for the lock; and a
        # process may have died after the last byte and before the renaming.
        if target.is_file() and file_sha256(target) == sha256:
            part.remove()
            return
        if not (part.size and file_sha256(part.path) == sha256):
            _fetch(url, part, sha256, retries, backoff_s, timeout_s)
        part.finish(target)
    logger.info("downloaded %s (%s), SHA-256 as expected", target, mb(target.stat().st_size))


class _Part:
    """The bytes of a file received so far, locked for this process."""

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(f"{target.name}.part")
        self.resumed = False

    def __enter__(self) -> _Part:
        while True:
            self._file = FileIO(self.path, "a")
            lock(self._file, waiting_for=str(self.path))
            # The process that held the lock has usually renamed or removed the file meanwhile.
            try:
                if os.path.samestat(os.fstat(self._file.fileno()), self.path.stat()):
                    return self
            except FileNotFoundError:
                pass
            self._file.close()

    def __exit__(self, kind: object, *arguments: object) -> None:
        if kind is not None and not self.size:
            self.remove()
        self._file.close()

    @property
    def size(self) -> int:
        return os.fstat(self._file.fileno()).st_size

    def append(self, chunk: bytes) -> None:
        view = memoryview(chunk)
        while view:
            view = view[self._file.write(view) :]

    def clear(self) -> None:
        self._file.truncate(0)
        self.resumed = False

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)

    def finish(self, target: Path) -> None:
        """Rename the file, so that it survives a power cut."""
        os.fsync(self._file.fileno())
        os.replace(self.path, target)
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _fetch(
    url: str, part: _Part, sha256: str, retries: int, backoff_s: float, timeout_s: float
) -> None:
    """Receive the file with this checksum; what was resumed may need a second start."""
    _receive(url, part, retries, backoff_s, timeout_s)
    found = file_sha256(part.path)
    if found != sha256 and part.resumed:
        logger.warning("%s: wrong checksum after resuming; starting over", url)
        part.clear()
        _receive(url, part, retries, backoff_s, timeout_s)
        found = file_sha256(part.path)
    if found == sha256:
        return
    with part.path.open("rb") as file:
        is_page = file.read(256).lstrip().lower().startswith((b"<!doctype html", b"<html"))
    part.remove()
    raise DownloadError(
        f"{url}: wrong checksum: expected SHA-256 {sha256}, received {found} ({part.size} bytes"
        f"{', a web page' if is_page else ''}). The file was deleted. Try again or another address; if "
        "this file is the one you want, give its own checksum"
    )


def _receive(url: str, part: _Part, retries: int, backoff_s: float, timeout_s: float) -> None:
    """Attempt after attempt, until the whole file is received."""
    failures = 0
    furthest = part.size
    while True:
        try:
            return _attempt(url, part, timeout_s)
        except _Interrupted as interruption:
            if part.size > furthest:
                furthest, failures = part.size, 0
            failures += 1
            if failures > retries:
                kept = f"; {mb(part.size)} are kept in {part.path}, and the next run resumes there"
                raise DownloadError(
                    f"{url}: {interruption}; given up after {failures} attempts in a row without "
                    f"progress{kept if part.size else ''}"
                ) from interruption
            wait_s = max(backoff_s * 2 ** (failures - 1), interruption.wait_s)
            wait_s = min(wait_s, LONGEST_WAIT_S)
            logger.warning("%s: %s; next attempt in %.3g s", url, interruption, wait_s)
            time.sleep(wait_s)


def _attempt(url: str, part: _Part, timeout_s: float) -> None:
    """One request for the bytes that are missing."""
    import requests
    import urllib3

    # identity: a .gz stays as it is, and Content-Length counts the bytes that are written.
    headers = {"User-Agent": "manifold-capacity", "Accept-Encoding": "identity"}
    if part.size:
        headers["Range"] = f"bytes={part.size}-"
    try:
        with requests.get(url, headers=headers, stream=True, timeout=timeout_s) as response:
            status = response.status_code
            if status in TRANSIENT_STATUS:
                after = response.headers.get("Retry-After", "")
                wait_s = float(after) if after.isdecimal() else 0.0
                raise _Interrupted(f"HTTP {status} {response.reason}", wait_s)
            if status not in (200, 206, 416):
                raise DownloadError(f"{url}: HTTP {status} {response.reason}")
            part.resumed = status == 206
            if not part.resumed:
                part.clear()
            if status == 416:
                raise _Interrupted(
                    "the file on the server does not continue the part received earlier"
                )
            _append_body(url, response, part)
    except requests.exceptions.SSLError as error:
        raise DownloadError(f"{url}: no secure connection: {error}") from error
    except (requests.ConnectionError, requests.Timeout, urllib3.exceptions.HTTPError) as error:
        raise _Interrupted(f"{type(error).__name__}: {error}") from error
    except requests.RequestException as error:
        raise DownloadError(f"{url}: {error}") from error


def _append_body(url: str, response: requests.Response, part: _Part) -> None:
    length = response.headers.get("Content-Length", "")
    total = part.size + int(length) if length.isdecimal() else None
    if total is not None:
        require_space(part.path.parent, int(length), f"the rest of {url}")
    progress = Progress(part.path.stem, total, "MB", scale=1e6, initial=part.size)
    for chunk in response.raw.stream(CHUNK_BYTES, decode_content=False):
        try:
            part.append(chunk)
        except OSError as error:
            # A part to resume later would keep the disk full.
            of_total = "" if total is None else f" of {mb(total)}"
            message = (
                f"{part.path} could not be written after {mb(part.size)}{of_total}: "
                f"{error.strerror}; make room, or choose another `results` folder"
            )
            part.remove()
            raise DiskFullError(error.errno, message) from error
        progress.update(len(chunk))
    # urllib3 itself raises for a short body since version 2.
    if total is not None and part.size < total:
        raise _Interrupted(f"the connection ended after {part.size} of {total} bytes")
