"""Download files: verified, resumed, retried, and never left half-written under their names."""

from __future__ import annotations

import logging
import os
import time
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

from manifold_capacity.errors import DiskFullError, UserError
from manifold_capacity.files import file_sha256, lock, mb, require_space
from manifold_capacity.logs import Progress

if TYPE_CHECKING:
    import requests

logger = logging.getLogger(__name__)

# Most bytes to read and write at a time; an attempt that received fewer made no progress.
CHUNK_BYTES = 64 * 1024
# An attempt fails after this time without another byte.
TIMEOUT_S = 60.0
# A download ends if it receives fewer than `LEAST_RATE` bytes per second over `RATE_S` seconds.
LEAST_RATE = 4000
RATE_S = 60.0
# After a failure that may pass, the next attempt starts in `BACKOFF_S` seconds, doubled each time;
# `RETRIES` of them in a row may make no progress.
RETRIES = 5
BACKOFF_S = 1.0
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


def download(url: str, target: Path, *, sha256: str, most_bytes: int) -> None:
    """Download a file with this checksum, or raise an error that says why not.

    `sha256` is in lower-case digits, all or the first ones; no more than `most_bytes` are received.

    Received bytes are kept in `target` + `.part`, where a later attempt or process resumes, whichever
    address it uses: the checksum tells whether the parts belong together, and if not the download
    starts over, once. Two processes with the same target take turns.
    """
    if target.is_file():
        found = file_sha256(target)
        if found.startswith(sha256):
            logger.info("%s exists, SHA-256 as expected", target)
            return
        logger.warning("%s has SHA-256 %s, not %s: it is downloaded again", target, found, sha256)
    target.parent.mkdir(parents=True, exist_ok=True)
    with _Part(target) as part:
        # Another process may have downloaded the file while this one waited for the lock; and a
        # process may have died after the last byte and before the renaming.
        if target.is_file() and file_sha256(target).startswith(sha256):
            part.remove()
            return
        if not (part.size and file_sha256(part.path).startswith(sha256)):
            _fetch(url, part, sha256, most_bytes)
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


def _fetch(url: str, part: _Part, sha256: str, most_bytes: int) -> None:
    """Receive the file with this checksum; what was resumed may need a second start."""
    _receive(url, part, most_bytes)
    found = file_sha256(part.path)
    if not found.startswith(sha256) and part.resumed:
        logger.warning("%s: wrong checksum after resuming; starting over", url)
        part.clear()
        _receive(url, part, most_bytes)
        found = file_sha256(part.path)
    if found.startswith(sha256):
        return
    with part.path.open("rb") as file:
        is_page = file.read(256).lstrip().lower().startswith((b"<!doctype html", b"<html"))
    part.remove()
    raise DownloadError(
        f"{url}: wrong checksum: expected SHA-256 {sha256}, received {found} ({part.size} bytes"
        f"{', a web page' if is_page else ''}). The file was deleted. Try again or another address; if "
        "this file is the one you want, give its own checksum"
    )


def _receive(url: str, part: _Part, most_bytes: int) -> None:
    """Attempt after attempt, until the whole file is received."""
    failures, furthest = 0, part.size
    while True:
        try:
            return _attempt(url, part, most_bytes)
        except _Interrupted as interruption:
            if part.size >= furthest + CHUNK_BYTES:
                furthest, failures = part.size, 0
            failures += 1
            if failures > RETRIES:
                kept = f"; {mb(part.size)} are kept in {part.path}, and the next run resumes there"
                raise DownloadError(
                    f"{url}: {interruption}; given up after {failures} attempts in a row without "
                    f"progress{kept if part.size else ''}"
                ) from interruption
            wait_s = max(BACKOFF_S * 2 ** (failures - 1), interruption.wait_s)
            wait_s = min(wait_s, LONGEST_WAIT_S)
            logger.warning("%s: %s; next attempt in %.3g s", url, interruption, wait_s)
            time.sleep(wait_s)


def _attempt(url: str, part: _Part, most_bytes: int) -> None:
    """One request for the bytes that are missing."""
    import requests
    import urllib3

    def skip_body(response: requests.Response, **_: object) -> None:
        if response.is_redirect:
            response.close()  # requests would read it into memory, however long it is

    # identity: a .gz stays as it is, and Content-Length counts the bytes that are written.
    headers = {"User-Agent": "manifold-capacity", "Accept-Encoding": "identity"}
    if part.size:
        headers["Range"] = f"bytes={part.size}-"
    try:
        with requests.get(
            url, headers=headers, stream=True, timeout=TIMEOUT_S, hooks={"response": skip_body}
        ) as response:
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
                raise _Interrupted("the server's file does not continue the part received earlier")
            _append_body(url, response, part, most_bytes)
    except requests.exceptions.SSLError as error:
        raise DownloadError(f"{url}: no secure connection: {error}") from error
    except (requests.ConnectionError, requests.Timeout, urllib3.exceptions.HTTPError) as error:
        raise _Interrupted(f"{type(error).__name__}: {error}") from error
    except requests.RequestException as error:
        raise DownloadError(f"{url}: {error}") from error


def _append_body(url: str, response: requests.Response, part: _Part, most_bytes: int) -> None:
    length: int | None = response.raw.length_remaining
    total = None if length is None else part.size + length
    if total is not None:
        _check_size(url, part, total, most_bytes)
        require_space(part.path.parent, total - part.size, f"the rest of {url}")
    of_total = "" if total is None else f" of {mb(total)}"
    progress = Progress(part.path.stem, total, "MB", scale=1e6, initial=part.size)
    since, size_then = time.monotonic(), part.size
    # read1 returns what has arrived: a server that sends a byte now and then must not block.
    while chunk := response.raw.read1(CHUNK_BYTES, decode_content=False):
        _check_size(url, part, part.size + len(chunk), most_bytes)
        try:
            part.append(chunk)
        except OSError as error:
            # A part to resume later would keep the disk full.
            done = mb(part.size) + of_total
            part.remove()
            raise DiskFullError(
                error.errno,
                f"{part.path} could not be written after {done}: {error.strerror}; make room, or choose "
                "another `results` folder",
            ) from error
        progress.update(len(chunk))
        if (now := time.monotonic()) >= since + RATE_S:
            rate = (part.size - size_then) / (now - since)
            if rate < LEAST_RATE:
                raise DownloadError(
                    f"{url}: only {rate / 1e3:.2g} kB/s in the last {now - since:.0f} s, after {mb(part.size)}"
                    f"{of_total}; at least {LEAST_RATE / 1e3:g} kB/s are needed. What arrived is kept in "
                    f"{part.path}, and the same command resumes there"
                )
            since, size_then = now, part.size


def _check_size(url: str, part: _Part, size: int, most_bytes: int) -> None:
    """Stop before more is received than the file can have."""
    if size <= most_bytes:
        return
    reason = f"it sends {mb(size)} or more, but the file has at most {mb(most_bytes)}"
    if part.resumed:
        part.clear()
        raise _Interrupted(f"{reason}: it does not continue the part received earlier")
    part.remove()
    raise DownloadError(f"{url}: {reason}; what arrived was deleted. Try another address")
