"""Downloads against a real HTTP server on loopback that misbehaves on request."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import urllib3

from manifold_capacity.datasets import download as download_module
from manifold_capacity.datasets.download import DownloadError, download
from manifold_capacity.files import require_space

# Not compressible, several chunks long, and not a multiple of one.
CONTENT = np.random.default_rng(0).bytes(12 * download_module.CHUNK_BYTES + 1234)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
HALF = len(CONTENT) // 2
# A chunk that did not come in full may be lost.
HALF_IN_CHUNKS = HALF // download_module.CHUNK_BYTES * download_module.CHUNK_BYTES


@dataclass
class Request:
    """What one request asked for and what it got."""

    range: str | None
    if_range: str | None
    status: int = 0
    sent: int = 0


@dataclass
class Server:
    """A server of one file; `plan` says what to do with the first requests, in order."""

    content: bytes = CONTENT
    etag: str | None = '"v1"'
    last_modified: str | None = None
    honors_range: bool = True
    honors_if_range: bool = True
    plan: list[Callable[[Handler], None]] = field(default_factory=list)
    log: list[Request] = field(default_factory=list)
    accepted_encodings: set[str | None] = field(default_factory=set)
    url: str = ""


class Handler(BaseHTTPRequestHandler):
    """Serves `server.state`; keeps one line per request."""

    protocol_version = "HTTP/1.1"
    state: Server
    request_log: Request

    def do_GET(self) -> None:
        self.state = self.server.state  # type: ignore[attr-defined]
        self.request_log = Request(self.headers["Range"], self.headers["If-Range"])
        self.state.log.append(self.request_log)
        self.state.accepted_encodings.add(self.headers["Accept-Encoding"])
        action = self.state.plan.pop(0) if self.state.plan else serve
        action(self)

    def begin(self, status: int, headers: dict[str, str]) -> None:
        self.request_log.status = status
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def send(self, body: bytes) -> None:
        self.wfile.write(body)
        self.wfile.flush()
        self.request_log.sent += len(body)

    def log_message(self, *arguments: object) -> None:
        pass


def serve(
    handler: Handler,
    *,
    stop_after: int | None = None,
    then: Callable[[Handler], None] | None = None,
) -> None:
    """What a good server does; `stop_after` bytes of body, `then` happens."""
    state = handler.state
    headers = {"Accept-Ranges": "bytes"}
    if state.etag:
        headers["ETag"] = state.etag
    if state.last_modified:
        headers["Last-Modified"] = state.last_modified
    body, status = state.content, 200
    asked = handler.request_log.range
    current = handler.request_log.if_range in (None, state.etag, state.last_modified)
    if asked and state.honors_range and (current or not state.honors_if_range):
        begin = int(asked.removeprefix("bytes=").removesuffix("-"))
        if begin >= len(body):
            handler.begin(416, {"Content-Range": f"bytes */{len(body)}", "Content-Length": "0"})
            return
        headers["Content-Range"] = f"bytes {begin}-{len(body) - 1}/{len(body)}"
        body, status = body[begin:], 206
    handler.begin(status, headers | {"Content-Length": str(len(body))})
    if stop_after is None:
        handler.send(body)
        return
    handler.send(body[:stop_after])
    handler.close_connection = True
    if then is not None:
        then(handler)


def cut(n_bytes: int) -> Callable[[Handler], None]:
    """Close the connection in good order after some of the body."""
    return lambda handler: serve(handler, stop_after=n_bytes)


def wait_for(event: threading.Event) -> Callable[[Handler], None]:
    """Leave the client waiting until the event, half a minute at most."""

    def wait(handler: Handler) -> None:
        event.wait(30)

    return wait


def answer(status: int, **headers: str) -> Callable[[Handler], None]:
    """An answer without content."""
    return lambda handler: handler.begin(status, {"Content-Length": "0"} | headers)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    state = Server(url=f"http://127.0.0.1:{http.server_port}/images.bin")
    http.state = state  # type: ignore[attr-defined]
    http.handle_error = lambda *arguments: None  # type: ignore[method-assign]
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    http.shutdown()
    http.server_close()
    thread.join()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "new" / "folder" / "images.bin"


def fetch(server: Server, target: Path, *, retries: int = 3) -> None:
    download(server.url, target, sha256=SHA256, retries=retries, backoff_s=0.01, timeout_s=5.0)


def left_behind(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


def test_good_file(server: Server, target: Path) -> None:
    fetch(server, target)
    assert target.read_bytes() == CONTENT
    assert left_behind(target) == ["images.bin"]
    assert server.log == [Request(None, None, 200, len(CONTENT))]
    assert server.accepted_encodings == {"identity"}


def test_upper_case_checksum_is_the_same_checksum(server: Server, target: Path) -> None:
    download(server.url, target, sha256=SHA256.upper())
    assert target.read_bytes() == CONTENT


def test_file_that_is_there_is_not_fetched_again(server: Server, target: Path) -> None:
    target.parent.mkdir(parents=True)
    target.write_bytes(CONTENT)
    fetch(server, target)
    assert server.log == []
    assert left_behind(target) == ["images.bin"]


def test_damaged_file_that_is_there_is_replaced(
    server: Server, target: Path, caplog: pytest.LogCaptureFixture
) -> None:
    target.parent.mkdir(parents=True)
    target.write_bytes(CONTENT[:-1] + b"?")
    fetch(server, target)
    assert target.read_bytes() == CONTENT
    assert "fetched again" in caplog.text


def test_connection_cut_midway_is_resumed(server: Server, target: Path) -> None:
    server.plan = [cut(HALF)]
    fetch(server, target)
    assert target.read_bytes() == CONTENT
    # Only the rest was asked for and sent.
    rest = Request(f"bytes={HALF}-", '"v1"', 206, len(CONTENT) - HALF)
    assert server.log == [Request(None, None, 200, HALF), rest]
    assert left_behind(target) == ["images.bin"]


def test_short_body_is_noticed_without_the_help_of_urllib3(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before version 2, urllib3 took the end of the connection for the end of the body."""
    init = urllib3.HTTPResponse.__init__

    def lenient(self: urllib3.HTTPResponse, *arguments: Any, **options: Any) -> None:
        init(self, *arguments, **options | {"enforce_content_length": False})

    monkeypatch.setattr(urllib3.HTTPResponse, "__init__", lenient)
    server.plan = [cut(HALF)]
    fetch(server, target)
    assert target.read_bytes() == CONTENT
    assert server.log[1].range == f"bytes={HALF}-"


def test_connection_that_breaks_is_resumed(server: Server, target: Path) -> None:
    part = target.with_name("images.bin.part")

    def break_off(handler: Handler) -> None:
        # A reset discards what has not been read yet.
        wait_until(lambda: part.stat().st_size == HALF_IN_CHUNKS)
        linger = struct.pack("ii", 1, 0)
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        handler.connection.close()

    server.plan = [lambda handler: serve(handler, stop_after=HALF, then=break_off)]
    fetch(server, target)
    assert target.read_bytes() == CONTENT
    rest = Request(f"bytes={HALF_IN_CHUNKS}-", '"v1"', 206, len(CONTENT) - HALF_IN_CHUNKS)
    assert server.log[1:] == [rest]
    assert left_behind(target) == ["images.bin"]


def test_many_cuts_are_survived_while_each_attempt_gets_further(
    server: Server, target: Path
) -> None:
    server.plan = [cut(HALF // 5)] * 8
    fetch(server, target, retries=1)
    assert target.read_bytes() == CONTENT
    assert len(server.log) == 9


def test_resumed_by_date_where_there_is_no_etag(server: Server, target: Path) -> None:
    server.etag, server.last_modified = None, "Tue, 07 Apr 2026 10:00:00 GMT"
    server.plan = [cut(HALF)]
    fetch(server, target)
    assert target.read_bytes() == CONTENT
    assert server.log[1].if_range == server.last_modified
    assert server.log[1].status == 206


def test_weak_etag_is_not_trusted(server: Server, target: Path) -> None:
    server.etag = 'W/"v1"'
    server.plan = [cut(HALF)]
    fetch(server, target)
    assert target.read_bytes() == CONTENT
    assert server.log[1] == Request(None, None, 200, len(CONTENT))


def test_server_without_ranges_starts_over(server: Server, target: Path) -> None:
    server.honors_range = False
    server.plan = [cut(HALF)]
    fetch(server, target)
    assert target.read_bytes() == CONTENT
    assert server.log[1].range == f"bytes={HALF}-"
    assert (server.log[1].status, server.log[1].sent) == (200, len(CONTENT))


@pytest.mark.parametrize("honors_if_range", [True, False])
def test_file_that_changed_between_two_attempts_starts_over(
    server: Server, target: Path, honors_if_range: bool
) -> None:
    old = bytes(reversed(CONTENT))
    server.content, server.etag = old, '"v0"'
    server.honors_if_range = honors_if_range

    def cut_and_change(handler: Handler) -> None:
        serve(handler, stop_after=HALF)
        server.content, server.etag = CONTENT, '"v1"'

    server.plan = [cut_and_change]
    fetch(server, target)
    assert target.read_bytes() == CONTENT
    assert server.log[1].if_range == '"v0"'
    assert (server.log[-1].status, server.log[-1].sent) == (200, len(CONTENT))


def test_answer_with_another_range_starts_over(server: Server, target: Path) -> None:
    def wrong_range(handler: Handler) -> None:
        span = f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}"
        headers = {"Content-Length": str(len(CONTENT)), "Content-Range": span, "ETag": '"v1"'}
        handler.begin(206, headers)
        handler.send(CONTENT)

    server.plan = [cut(HALF), wrong_range]
    fetch(server, target)
    assert target.read_bytes() == CONTENT
    assert [request.status for request in server.log] == [200, 206, 200]


def test_part_longer_than_the_file_starts_over(server: Server, target: Path) -> None:
    server.content = CONTENT * 2
    server.plan = [cut(len(CONTENT) + 1)]
    with pytest.raises(DownloadError):
        fetch(server, target, retries=0)
    # The file shrank, its validator did not change.
    server.content = CONTENT
    fetch(server, target)
    assert target.read_bytes() == CONTENT
    assert [request.status for request in server.log] == [200, 416, 200]


def test_a_later_call_resumes(server: Server, target: Path) -> None:
    server.plan = [cut(HALF)]
    with pytest.raises(DownloadError, match=r"after 1 attempts.* are kept in .*images\.bin\.part"):
        fetch(server, target, retries=0)
    assert not target.exists()
    fetch(server, target)
    assert target.read_bytes() == CONTENT
    assert server.log[1] == Request(f"bytes={HALF}-", '"v1"', 206, len(CONTENT) - HALF)
    assert left_behind(target) == ["images.bin"]


def test_part_of_another_address_is_not_continued(server: Server, target: Path) -> None:
    server.plan = [cut(HALF)]
    with pytest.raises(DownloadError):
        fetch(server, target, retries=0)
    download(server.url + "?mirror", target, sha256=SHA256)
    assert target.read_bytes() == CONTENT
    assert server.log[1] == Request(None, None, 200, len(CONTENT))


def test_torn_state_file_starts_over(server: Server, target: Path) -> None:
    server.plan = [cut(HALF)]
    with pytest.raises(DownloadError):
        fetch(server, target, retries=0)
    target.with_name("images.bin.part.json").write_text('{"url": "ht')
    fetch(server, target)
    assert target.read_bytes() == CONTENT
    assert server.log[1].range is None


def test_process_that_died_before_renaming_costs_nothing(server: Server, target: Path) -> None:
    target.parent.mkdir(parents=True)
    target.with_name("images.bin.part").write_bytes(CONTENT)
    fetch(server, target)
    assert server.log == []
    assert left_behind(target) == ["images.bin"]


def test_killed_process_is_resumed_by_the_next(server: Server, target: Path) -> None:
    killed = threading.Event()
    server.plan = [lambda handler: serve(handler, stop_after=HALF, then=wait_for(killed))]
    process = in_process(server, target)
    part = target.with_name("images.bin.part")
    wait_until(lambda: part.exists() and part.stat().st_size == HALF_IN_CHUNKS)
    process.kill()
    process.communicate()
    killed.set()
    fetch(server, target)
    assert target.read_bytes() == CONTENT
    rest = len(CONTENT) - HALF_IN_CHUNKS
    assert server.log[1] == Request(f"bytes={HALF_IN_CHUNKS}-", '"v1"', 206, rest)


def test_two_processes_fetch_once(server: Server, target: Path) -> None:
    go_on = threading.Event()

    def hesitate(handler: Handler) -> None:
        go_on.wait(30)
        serve(handler)

    server.plan = [hesitate]
    processes = [in_process(server, target) for _ in range(2)]
    wait_until(lambda: len(server.log) == 1)
    time.sleep(0.5)  # the second process is at the lock, or is not serialized and asks
    go_on.set()
    outputs = [process.communicate(timeout=30) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert server.log == [Request(None, None, 200, len(CONTENT))]
    assert target.read_bytes() == CONTENT
    assert left_behind(target) == ["images.bin"]


def test_truncated_for_good(server: Server, target: Path) -> None:
    server.etag = None  # so that nothing can be resumed
    server.plan = [cut(HALF)] * 9
    with pytest.raises(DownloadError) as caught:
        fetch(server, target, retries=2)
    message = str(caught.value)
    assert server.url in message
    assert "3 attempts" in message
    assert str(len(CONTENT) - HALF) in message or str(HALF) in message
    assert "kept" not in message
    assert left_behind(target) == []
    assert len(server.log) == 3


def test_wrong_checksum(server: Server, target: Path) -> None:
    server.content = b"something else"
    with pytest.raises(DownloadError) as caught:
        fetch(server, target)
    message = str(caught.value)
    found = hashlib.sha256(b"something else").hexdigest()
    for part in (server.url, SHA256, found, "14 bytes", "give its own checksum"):
        assert part in message
    assert "web page" not in message
    assert left_behind(target) == []
    assert len(server.log) == 1


def test_web_page_in_place_of_the_file(server: Server, target: Path) -> None:
    server.content = b"\n<!DOCTYPE html><title>Sign in to the network</title>"
    with pytest.raises(DownloadError, match="a web page"):
        fetch(server, target)


def test_resumed_to_a_wrong_checksum(server: Server, target: Path) -> None:
    server.content = bytes(reversed(CONTENT))
    server.plan = [cut(HALF)]
    with pytest.raises(DownloadError, match="wrong checksum"):
        fetch(server, target)
    assert left_behind(target) == []


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_refusals_are_not_retried(server: Server, target: Path, status: int) -> None:
    server.plan = [answer(status)]
    with pytest.raises(DownloadError, match=f"{server.url}: HTTP {status}"):
        fetch(server, target)
    assert len(server.log) == 1
    assert left_behind(target) == []


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_transient_answers_are_retried(server: Server, target: Path, status: int) -> None:
    server.plan = [answer(status), answer(status)]
    fetch(server, target)
    assert target.read_bytes() == CONTENT
    assert [request.status for request in server.log] == [status, status, 200]


def test_server_that_stays_broken(server: Server, target: Path) -> None:
    server.plan = [answer(500)] * 9
    with pytest.raises(DownloadError, match=r"HTTP 500 .*given up after 3 attempts"):
        fetch(server, target, retries=2)
    assert len(server.log) == 3
    assert left_behind(target) == []


def test_waits_grow_and_heed_the_server(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    hour = {"Retry-After": "3600"}
    server.plan = [answer(500), answer(500), answer(500), answer(503, **{"Retry-After": "17"})]
    server.plan += [answer(503, **hour)]
    download(server.url, target, sha256=SHA256, retries=5, backoff_s=1.0)
    assert waits == [1.0, 2.0, 4.0, 17.0, download_module.LONGEST_WAIT_S]


def test_silent_server_times_out_and_is_asked_again(server: Server, target: Path) -> None:
    over = threading.Event()
    server.plan = [lambda handler: serve(handler, stop_after=HALF, then=wait_for(over))]
    download(server.url, target, sha256=SHA256, retries=1, backoff_s=0.01, timeout_s=0.5)
    over.set()
    assert target.read_bytes() == CONTENT
    assert server.log[1].range == f"bytes={HALF_IN_CHUNKS}-"


def test_nobody_answers(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/images.bin"
        with pytest.raises(DownloadError, match=r"ConnectionError.*given up after 2 attempts"):
            download(url, target, sha256=SHA256, retries=1, backoff_s=0.01)
    assert left_behind(target) == []


def test_endless_redirection(server: Server, target: Path) -> None:
    server.plan = [answer(302, Location=server.url)] * 99
    with pytest.raises(DownloadError, match="redirects"):
        fetch(server, target)


def test_no_secure_connection(server: Server, target: Path) -> None:
    with pytest.raises(DownloadError, match="no secure connection"):
        download(server.url.replace("http:", "https:"), target, sha256=SHA256, backoff_s=0.01)
    assert left_behind(target) == []


def test_body_is_stored_as_it_is_sent(server: Server, target: Path) -> None:
    def claim_encoding(handler: Handler) -> None:
        headers = {"Content-Length": str(len(CONTENT)), "Content-Encoding": "gzip"}
        handler.begin(200, headers)
        handler.send(CONTENT)

    server.plan = [claim_encoding]
    fetch(server, target)
    assert target.read_bytes() == CONTENT


def test_chunked_body_that_breaks_off(server: Server, target: Path) -> None:
    def chunked(handler: Handler) -> None:
        handler.begin(200, {"Transfer-Encoding": "chunked", "ETag": '"v1"'})
        handler.send(f"{HALF:x}\r\n".encode() + CONTENT[:HALF] + b"\r\n")
        handler.close_connection = True

    server.plan = [chunked]
    fetch(server, target)
    assert target.read_bytes() == CONTENT
    assert server.log[1].range == f"bytes={HALF}-"


def test_too_little_space_is_said_before_the_first_byte(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(target.parents[2])._replace(free=len(CONTENT) - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(
        OSError, match=r"needs 0\.8 MB, but only 0\.8 MB are free in .*room"
    ) as caught:
        fetch(server, target)
    assert caught.value.errno == errno.ENOSPC
    assert not isinstance(caught.value, DownloadError)
    assert left_behind(target) == []


def test_disk_that_fills_up(server: Server, target: Path) -> None:
    target.parent.mkdir(parents=True)
    # A device that is always full stands in for the part.
    target.with_name("images.bin.part").symlink_to("/dev/full")
    with pytest.raises(
        OSError, match=r"images\.bin\.part could not be written .*make room"
    ) as caught:
        fetch(server, target)
    assert caught.value.errno == errno.ENOSPC
    assert left_behind(target) == []


def test_require_space_lets_pass_what_fits(tmp_path: Path) -> None:
    require_space(tmp_path, 0, "nothing")
    with pytest.raises(OSError, match="the archive needs"):
        require_space(tmp_path, 2**63, "the archive")


@pytest.mark.parametrize("url", ["ftp://example.org/images.bin", "/home/images.bin", ""])
def test_address_that_is_not_http(url: str, target: Path) -> None:
    with pytest.raises(ValueError, match="begins with http:// or https://"):
        download(url, target, sha256=SHA256)


@pytest.mark.parametrize(
    "sha256", ["", "0" * 63, "0" * 65, "g" * 64, "d41d8cd98f00b204e9800998ecf8427e"]
)
def test_checksum_that_is_none(sha256: str, target: Path) -> None:
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        download("http://127.0.0.1/images.bin", target, sha256=sha256)


def test_file_system_without_locks(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    fetch(server, target)
    assert target.read_bytes() == CONTENT
    assert "has no locks (No locks available)" in caplog.text


def in_process(server: Server, target: Path) -> subprocess.Popen[str]:
    code = (
        "import sys; from pathlib import Path; from manifold_capacity.datasets.download import download;"
        "download(sys.argv[1], Path(sys.argv[2]), sha256=sys.argv[3])"
    )
    command = [sys.executable, "-c", code, server.url, str(target), SHA256]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "did not come about within 30 s"
        time.sleep(0.01)
