"""Downloads from a server that misbehaves: verified, resumed, retried, or an error that says why not."""

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

import numpy as np
import pytest

from manifold_capacity.datasets import download as download_module
from manifold_capacity.datasets.download import DownloadError, download

# Not compressible, several chunks long, and not a multiple of one.
CONTENT = np.random.default_rng(0).bytes(12 * download_module.CHUNK_BYTES + 1234)
ALL, HALF = len(CONTENT), len(CONTENT) // 2
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NAME = "images.bin"
WHOLE = (None, 200, ALL)


def rest(offset):
    return f"bytes={offset}-", 206, ALL - offset


@pytest.fixture
def server(server):
    server.files[NAME] = CONTENT
    return server


@pytest.fixture
def target(tmp_path):
    return tmp_path / "new" / "folder" / NAME


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """A function that changes how often and how long a download tries; at first 3 retries at once."""

    def change(**settings):
        for name, value in settings.items():
            monkeypatch.setattr(download_module, name.upper(), value)

    change(retries=3, backoff_s=0.01, timeout_s=5.0)
    return change


def fetch(server, target, query="", scheme="http:"):
    """Download, and compare the content."""
    url = server.url.replace("http:", scheme) + NAME + query
    download(url, target, sha256=SHA256, most_bytes=ALL)
    assert target.read_bytes() == CONTENT


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def wait_until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "did not come about within 30 s"
        time.sleep(0.01)


def test_good_file(server, target):
    fetch(server, target)
    assert names(target.parent) == [NAME]
    assert server.log == [WHOLE]
    assert server.accepted_encodings == {"identity"}


def test_existing_file_is_kept_if_it_is_intact_and_replaced_if_not(server, target, caplog):
    target.parent.mkdir(parents=True)
    target.write_bytes(CONTENT)
    fetch(server, target)
    assert server.log == []
    target.write_bytes(CONTENT[:-1] + b"?")
    fetch(server, target)
    assert "downloaded again" in caplog.text
    assert names(target.parent) == [NAME]


@pytest.mark.parametrize("honors_range", [True, False])
def test_cut_connection_is_resumed_if_the_server_can(server, target, honors_range):
    server.honors_range = honors_range
    server.plan = [server.cut(HALF)]
    fetch(server, target)
    second = rest(HALF) if honors_range else (f"bytes={HALF}-", 200, ALL)
    assert server.log == [(None, 200, HALF), second]
    assert names(target.parent) == [NAME]


def test_connection_that_breaks_is_resumed(server, target):
    part = target.with_name(f"{NAME}.part")

    def serve_and_reset(handler):
        server.serve(handler, HALF)
        # A reset discards what has not been read yet.
        wait_until(lambda: part.stat().st_size == HALF)
        linger = struct.pack("ii", 1, 0)
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        handler.connection.close()

    server.plan = [serve_and_reset]
    fetch(server, target)
    assert server.log[1:] == [rest(HALF)]


def test_many_cuts_are_survived_while_each_attempt_gets_further(server, target, impatient):
    impatient(retries=1)
    server.plan = [server.cut(HALF // 5)] * 8
    fetch(server, target)
    assert len(server.log) == 9


def test_file_that_changed_between_two_attempts_starts_over(server, target):
    server.files[NAME] = CONTENT[::-1]
    server.plan = [server.cut(HALF, then=lambda: server.files.update({NAME: CONTENT}))]
    fetch(server, target)
    assert server.log == [(None, 200, HALF), rest(HALF), WHOLE]


def test_answer_with_another_range_starts_over(server, target):
    span = f"bytes 0-{ALL - 1}/{ALL}"
    wrong_range = server.answer(206, CONTENT, Content_Range=span)
    server.plan = [server.cut(HALF), wrong_range]
    fetch(server, target)
    assert [request[1] for request in server.log] == [200, 206, 200]


@pytest.mark.parametrize("query", ["", "?mirror"])
def test_later_call_resumes_whatever_the_address(server, target, query, impatient):
    impatient(retries=0)
    server.plan = [server.cut(HALF)]
    with pytest.raises(DownloadError, match=r"after 1 attempts.* are kept in .*images\.bin\.part"):
        fetch(server, target)
    assert not target.exists()
    fetch(server, target, query=query)
    assert server.log[1] == rest(HALF)
    assert names(target.parent) == [NAME]


@pytest.mark.parametrize(
    ("part", "log"),
    [
        (CONTENT, []),
        (bytes(HALF), [rest(HALF), WHOLE]),
        (CONTENT + b"more", [(f"bytes={ALL + 4}-", 416, 0), WHOLE]),
    ],
    ids=["died before renaming", "of another file", "longer than the file"],
)
def test_part_of_an_earlier_process(server, target, part, log):
    target.parent.mkdir(parents=True)
    target.with_name(f"{NAME}.part").write_bytes(part)
    fetch(server, target)
    assert server.log == log
    assert names(target.parent) == [NAME]


def test_bytes_are_on_the_disk_before_the_file_gets_its_name(server, target, monkeypatch):
    done = []
    for name in ("fsync", "replace"):
        function = getattr(download_module.os, name)

        def noted(*arguments, name=name, function=function):
            done.append(name)
            function(*arguments)

        monkeypatch.setattr(download_module.os, name, noted)
    fetch(server, target)
    assert done == ["fsync", "replace", "fsync"]  # the file, its new name, the folder


def in_process(server, target):
    code = (
        "import sys; from pathlib import Path; from manifold_capacity.datasets.download import download;"
        "download(sys.argv[1], Path(sys.argv[2]), sha256=sys.argv[3], most_bytes=10**6)"
    )
    command = [sys.executable, "-c", code, server.url + NAME, str(target), SHA256]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_killed_process_is_resumed_by_the_next(server, target):
    killed = threading.Event()
    server.plan = [server.cut(HALF, then=lambda: killed.wait(30))]
    process = in_process(server, target)
    part = target.with_name(f"{NAME}.part")
    wait_until(lambda: part.exists() and part.stat().st_size == HALF)
    process.kill()
    process.communicate()
    killed.set()
    fetch(server, target)
    assert server.log[1] == rest(HALF)


@pytest.mark.parametrize("first_fails", [False, True])
def test_two_processes_take_turns(server, target, first_fails):
    go_on = threading.Event()

    def hesitate(handler):
        go_on.wait(30)
        (server.answer(404) if first_fails else server.serve)(handler)

    server.plan = [hesitate]
    processes = [in_process(server, target) for _ in range(2)]
    wait_until(lambda: len(server.log) == 1)
    time.sleep(0.5)  # the second process is at the lock, or is not serialized and asks
    go_on.set()
    outputs = [process.communicate(timeout=30) for process in processes]
    codes = sorted(process.returncode for process in processes)
    assert codes == [0, int(first_fails)], outputs
    assert server.log == [(None, 404, 0)] * first_fails + [WHOLE]
    assert target.read_bytes() == CONTENT
    assert names(target.parent) == [NAME]


def test_server_that_stays_broken(server, target, impatient):
    impatient(retries=2)
    server.plan = [server.answer(500)] * 3
    message = "HTTP 500 .*after 3 attempts in a row without progress$"
    with pytest.raises(DownloadError, match=message):
        fetch(server, target)
    assert names(target.parent) == []
    server.honors_range = False
    server.plan = [server.cut(HALF)] * 3
    with pytest.raises(DownloadError, match=rf"{HALF}.* after 3 attempts .* 0\.4 MB are kept in "):
        fetch(server, target)
    assert len(server.log) == 6
    assert names(target.parent) == [f"{NAME}.part"]


@pytest.mark.parametrize(
    ("content", "plan", "is_page"),
    [
        (b"something else", [], False),
        (b"\n<!DOCTYPE html><title>Sign in to the network</title>", [], True),
        (CONTENT[::-1], [HALF], False),
    ],
    ids=["other", "web page", "resumed"],
)
def test_wrong_checksum(server, target, content, plan, is_page):
    server.files[NAME] = content
    server.plan = [server.cut(n_bytes) for n_bytes in plan]
    with pytest.raises(DownloadError) as caught:
        fetch(server, target)
    message = str(caught.value)
    found = hashlib.sha256(content).hexdigest()
    for part in (server.url, SHA256, found, f"({len(content)} bytes", "give its own checksum"):
        assert part in message
    assert ("a web page" in message) == is_page
    assert names(target.parent) == []
    assert len(server.log) == (3 if plan else 1)  # starts over once


@pytest.mark.parametrize("status", [403, 404])
def test_refusals_are_not_retried(server, target, status):
    server.plan = [server.answer(status)]
    with pytest.raises(DownloadError, match=f"{server.url}{NAME}: HTTP {status}"):
        fetch(server, target)
    assert len(server.log) == 1
    assert names(target.parent) == []


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
def test_transient_answers_are_retried(server, target, status):
    server.plan = [server.answer(status), server.answer(status)]
    fetch(server, target)
    assert [request[1] for request in server.log] == [status, status, 200]


def test_waits_grow_and_heed_the_server(server, target, monkeypatch, impatient):
    impatient(retries=5, backoff_s=1.0)
    waits = []
    monkeypatch.setattr(time, "sleep", waits.append)
    server.plan = [server.answer(500)] * 3
    server.plan += [server.answer(503, Retry_After=seconds) for seconds in ("17", "3600")]
    fetch(server, target)
    assert waits == [1.0, 2.0, 4.0, 17.0, download_module.LONGEST_WAIT_S]


def test_silent_server_times_out_and_is_asked_again(server, target, impatient):
    impatient(retries=1, timeout_s=0.3)
    over = threading.Event()
    server.plan = [server.cut(HALF, then=lambda: over.wait(30))]
    fetch(server, target)
    over.set()
    assert server.log[1] == rest(HALF)


def test_nobody_answers(target, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(DownloadError, match=r"ConnectionError.*given up after 4 attempts"):
        download("http://127.0.0.1:9/x", target, sha256=SHA256, most_bytes=ALL)
    assert names(target.parent) == []


def test_answers_that_no_retry_would_change(server, target):
    server.plan = [server.answer(302, Location=server.url + NAME)] * 99
    with pytest.raises(DownloadError, match="redirects"):
        fetch(server, target)
    with pytest.raises(DownloadError, match="no secure connection"):
        fetch(server, target, scheme="https:")
    with pytest.raises(DownloadError, match=r"ftp://.*: No connection adapters"):
        fetch(server, target, scheme="ftp:")
    assert names(target.parent) == []


def test_body_is_stored_as_it_is_sent(server, target):
    server.plan = [server.answer(200, CONTENT, Content_Encoding="gzip")]
    fetch(server, target)


def test_the_first_digits_of_a_checksum_are_enough(server, target):
    for _ in range(2):
        download(server.url + NAME, target, sha256=SHA256[:8], most_bytes=ALL)
    assert server.log == [WHOLE]
    assert target.read_bytes() == CONTENT
    with pytest.raises(DownloadError, match="wrong checksum"):
        download(server.url + NAME, target, sha256="0" * 8, most_bytes=ALL)


def test_chunked_body_that_breaks_off(server, target):
    def chunked(handler):
        handler.begin(200, {"Transfer-Encoding": "chunked"})
        handler.send(f"{HALF:x}\r\n".encode() + CONTENT[:HALF] + b"\r\n")
        handler.close_connection = True

    server.plan = [chunked]
    fetch(server, target)
    assert server.log[1] == rest(HALF)


def test_too_little_space_is_said_before_the_first_byte(server, target, monkeypatch):
    usage = shutil.disk_usage(target.parents[2])._replace(free=ALL - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(OSError, match=r"needs 0\.8 MB, but only 0\.8 MB are free") as caught:
        fetch(server, target)
    assert caught.value.errno == errno.ENOSPC
    assert not isinstance(caught.value, DownloadError)
    assert names(target.parent) == []


@pytest.mark.parametrize("n_chunks", [0, 3])
def test_disk_that_fills_up(server, target, monkeypatch, n_chunks):
    """A part that could be resumed is removed too: it would keep the disk full."""
    write = iter(range(n_chunks))
    append = download_module._Part.append

    def append_to_full_disk(part, chunk):
        if next(write, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        append(part, chunk)

    monkeypatch.setattr(download_module._Part, "append", append_to_full_disk)
    with pytest.raises(OSError, match=r"\.part could not be written .*make room") as caught:
        fetch(server, target)
    assert caught.value.errno == errno.ENOSPC
    assert names(target.parent) == []


def test_file_system_without_locks(server, target, monkeypatch, caplog):
    def refuse(*arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    fetch(server, target)
    assert "has no locks (No locks available)" in caplog.text
