"""Downloads that are verified, resumed and retried, and are never half there."""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
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


# Read and written at a time: large enough that the loop costs nothing; what a cut connection had
# sent of a chunk may be lost.
CHUNK_BYTES = 64 * 1024


# A plain line of progress at most this often, where there is no terminal to draw a bar on.
# No single wait between two attempts is longer, whatever the server asks for.
LONGEST_WAIT_S = 60.0


# Answers that a later attempt may not get: timeout, too many requests, and every server error.
TRANSIENT_STATUS = {408, 425, 429, *range(500, 600)}


class DownloadError(OSError, UserError):
    """A file could not be fetched, or what came is not what was expected."""


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
    """Fetch a file, so that afterwards `target` has the expected content, or an error says why not.

    A file that is already there with the right checksum is left as it is. What has come so far is
    kept in `target` + `.part` and resumed by a later attempt or a later process, provided the server
    says that its file is still the same one. Two processes that want the same target take turns.

    Parameters
    ----------
    url : str
        Address, http or https.
    target : Path
        File to write; its folder is created.
    sha256 : str
        Expected SHA-256, 64 hexadecimal digits.
    retries : int
        Attempts in a row that may end without having got any further, before the download is
        given up; the first attempt is not counted.
    backoff_s : float
        Seconds before the first retry; doubled each time.
    timeout_s : float
        Seconds without an answer, or without a byte of it, after which an attempt has failed.

    Raises
    ------
    ValueError
        For an address that is not http or https, or a checksum that is not a SHA-256.
    DownloadError
        If the file is not to be had, or has another checksum; nothing is left behind then, but for
        a `.part` that can be resumed.
    OSError
        If the disk is full; with the errno, and what is needed.
    """
    if not url.lower().startswith(("http://", "https://")):
        raise UserError(f"{url!r} cannot be downloaded: an address begins with http:// or https://")
    if not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise UserError(f"{sha256!r} is not a SHA-256: 64 hexadecimal digits are expected")
    sha256 = sha256.lower()
    if _is_intact(target, sha256):
        logger.info("%s is there already, SHA-256 as expected", target)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    state = target.with_name(target.name + ".part.json")
    with _locked(part) as file:
        try:
            # Another process may have fetched the file while this one waited for its turn; and a
            # process may have died after the last byte and before the renaming.
            if target.is_file() and file_sha256(target) == sha256:
                _remove(part, state)
                return
            if not (file.seek(0, os.SEEK_END) and file_sha256(part) == sha256):
                _fetch(url, file, part, state, retries, backoff_s, timeout_s)
                _check(url, part, state, sha256)
            os.fsync(file.fileno())
            os.replace(part, target)
            state.unlink(missing_ok=True)
            _sync_folder(target.parent)
        except BaseException:
            # Nothing to resume, or no way to tell whether the server's file is still the same.
            if not (file.seek(0, os.SEEK_END) and state.exists()):
                _remove(part, state)
            raise
    logger.info("fetched %s (%s), SHA-256 as expected", target, mb(target.stat().st_size))


def _fetch(
    url: str,
    file: FileIO,
    part: Path,
    state: Path,
    retries: int,
    backoff_s: float,
    timeout_s: float,
) -> None:
    """Attempt after attempt, until the whole file has come."""
    failures = 0
    furthest = file.seek(0, os.SEEK_END)
    while True:
        try:
            _attempt(url, file, part, state, timeout_s)
            return
        except _Interrupted as interruption:
            received = file.seek(0, os.SEEK_END)
            if received > furthest:
                furthest, failures = received, 0
            failures += 1
            if failures > retries:
                kept = ""
                if received and state.exists():
                    kept = f"; the {mb(received)} that came are kept in {part} and the next run resumes there"
                raise DownloadError(
                    f"{url}: {interruption}; given up after {failures} attempts in a row that got "
                    f"no further{kept}"
                ) from interruption
            wait_s = backoff_s * 2 ** (failures - 1)
            wait_s = min(max(wait_s, interruption.wait_s), LONGEST_WAIT_S)
            logger.warning("%s: %s; trying again in %.3g s", url, interruption, wait_s)
            time.sleep(wait_s)


def _attempt(url: str, file: FileIO, part: Path, state: Path, timeout_s: float) -> None:
    """One request for what is still missing."""
    import requests
    import urllib3

    offset = file.seek(0, os.SEEK_END)
    validator = _read_validator(state, url) if offset else None
    # identity: a .gz stays as it is, and Content-Length counts what is written.
    headers = {"User-Agent": "manifold-capacity", "Accept-Encoding": "identity"}
    if validator:
        headers |= {"Range": f"bytes={offset}-", "If-Range": validator}
    try:
        with requests.get(url, headers=headers, stream=True, timeout=timeout_s) as response:
            _judge(url, response)
            if response.status_code == 200 or not _continues(response, offset, validator):
                # All of it, or a range that does not follow on what is there: start over.
                _truncate(file)
                state.unlink(missing_ok=True)
                if response.status_code != 200:
                    raise _Interrupted("the file changed, or the server sent another range of it")
                _write_validator(state, url, response)
            _receive(url, response, file, part, state)
    except requests.exceptions.SSLError as error:
        raise DownloadError(f"{url}: no secure connection: {error}") from error
    except (requests.ConnectionError, requests.Timeout, urllib3.exceptions.HTTPError) as error:
        raise _Interrupted(f"{type(error).__name__}: {error}") from error
    except requests.RequestException as error:
        raise DownloadError(f"{url}: {error}") from error


def _judge(url: str, response: requests.Response) -> None:
    """Raise for an answer without content: for now, or for good."""
    status = response.status_code
    answer = f"HTTP {status} {response.reason}"
    if status in TRANSIENT_STATUS:
        after = response.headers.get("Retry-After", "")
        raise _Interrupted(answer, float(after) if after.isdecimal() else 0.0)
    # 416: what is there is not a beginning of the server's file.
    if status not in (200, 206, 416):
        raise DownloadError(f"{url}: {answer}")


def _continues(response: requests.Response, offset: int, validator: str | None) -> bool:
    """Whether an answer of 206 is the rest, from `offset` on, of the file begun earlier."""
    if response.status_code != 206 or validator is None:
        return False
    content_range = response.headers.get("Content-Range", "")
    # A server may know ranges and not If-Range: then only the answer's own validator tells.
    return content_range.startswith(f"bytes {offset}-") and _validator(response) in (
        validator,
        None,  # it may leave out what the client knows (RFC 9110, 15.3.7)
    )


def _receive(url: str, response: requests.Response, file: FileIO, part: Path, state: Path) -> None:
    """Append the body to the part."""
    offset = file.seek(0, os.SEEK_END)
    length = response.headers.get("Content-Length", "")
    total = offset + int(length) if length.isdecimal() else None
    if total is not None:
        require_space(part.parent, total - offset, f"the rest of {url}")
    progress = Progress(part.stem, total, "MB", scale=1e6, initial=offset)
    for chunk in response.raw.stream(CHUNK_BYTES, decode_content=False):
        try:
            _write(file, chunk)
        except OSError as error:
            # Resuming later is not worth a disk that stays full.
            _remove(part, state)
            raise DiskFullError(
                error.errno,
                f"{part} could not be written after {mb(file.tell())} of "
                f"{'?' if total is None else mb(total)}: {error.strerror}; "
                "make room, or choose another `results` folder",
            ) from error
        progress.update(len(chunk))
    received = file.seek(0, os.SEEK_END)
    # urllib3 says so itself since version 2.
    if total is not None and received < total:
        raise _Interrupted(f"the connection ended after {received} of {total} bytes")


def _check(url: str, part: Path, state: Path, sha256: str) -> None:
    """Remove what came and raise unless it is what was expected."""
    found = file_sha256(part)
    if found == sha256:
        return
    with part.open("rb") as file:
        is_page = file.read(256).lstrip().lower().startswith((b"<!doctype html", b"<html"))
    size = part.stat().st_size
    _remove(part, state)
    raise DownloadError(
        f"{url}: wrong checksum: SHA-256 {sha256} was expected, {found} came ({size} bytes"
        f"{', a web page' if is_page else ''}). It was deleted. Try again or another address; if "
        "this file is the one you want, give its own checksum"
    )


def _is_intact(path: Path, sha256: str) -> bool:
    if not path.is_file():
        return False
    found = file_sha256(path)
    if found != sha256:
        logger.warning("%s has SHA-256 %s, not %s: it is fetched again", path, found, sha256)
    return found == sha256


@contextmanager
def _locked(path: Path) -> Iterator[FileIO]:
    """Open a file for appending that no other process has open in this way."""
    while True:
        file = FileIO(path, "a")
        lock(file, waiting_for=str(path))
        # Whoever held the lock has renamed or removed the file meanwhile, as a rule.
        try:
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                break
        except FileNotFoundError:
            pass
        file.close()
    with file:
        yield file


def _read_validator(state: Path, url: str) -> str | None:
    try:
        saved = json.loads(state.read_text(encoding="utf-8"))
        return saved["validator"] if saved["url"] == url else None
    except (FileNotFoundError, ValueError, LookupError, TypeError):
        # None, or torn by a crash: then nothing is known about the part, and it is fetched anew.
        return None


def _write_validator(state: Path, url: str, response: requests.Response) -> None:
    validator = _validator(response)
    if validator:
        state.write_text(json.dumps({"url": url, "validator": validator}), encoding="utf-8")


def _validator(response: requests.Response) -> str | None:
    """What identifies this version of the file: a strong ETag (RFC 9110, 13.1.5), else its date."""
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified")


def _truncate(file: FileIO) -> None:
    # Only where there is something: a device has no length to set.
    if file.seek(0, os.SEEK_END):
        file.truncate(0)


def _write(file: FileIO, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[file.write(view) :]


def _remove(*paths: Path) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make a renaming last through a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
