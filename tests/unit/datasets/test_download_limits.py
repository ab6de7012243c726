"""Downloads that would not end: of too many bytes, or of next to none."""

import hashlib
import time

import numpy as np
import pytest

from manifold_capacity.datasets import download as download_module
from manifold_capacity.datasets.download import CHUNK_BYTES, DownloadError, download

CONTENT = np.random.default_rng(0).bytes(12 * CHUNK_BYTES)
ALL, HALF = len(CONTENT), len(CONTENT) // 2
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NAME = "images.bin"
WHOLE = (None, 200, ALL)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    for name, value in {"RETRIES": 3, "BACKOFF_S": 0.01, "TIMEOUT_S": 5.0, "RATE_S": 0.2}.items():
        monkeypatch.setattr(download_module, name, value)


@pytest.fixture
def server(server):
    server.files[NAME] = CONTENT
    return server


@pytest.fixture
def target(tmp_path):
    return tmp_path / "folder" / NAME


def fetch(server, target):
    download(server.url + NAME, target, sha256=SHA256, most_bytes=ALL)
    assert target.read_bytes() == CONTENT


def without_end(chunk, wait_s=0.0, status=200, **headers):
    """Send a chunk again and again, for ever."""

    def answer(handler):
        handler.begin(status, {"Transfer-Encoding": "chunked"} | headers)
        handler.close_connection = True
        while True:  # until the connection is closed
            handler.send(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
            time.sleep(wait_s)

    return answer


def test_body_without_an_end_is_not_received(server, target):
    server.plan = [without_end(CONTENT)]
    message = r"it sends 0\.\d MB or more, but the file has at most 0\.8 MB; .*was deleted"
    with pytest.raises(DownloadError, match=message):
        fetch(server, target)
    assert not any(target.parent.iterdir())


@pytest.mark.parametrize("length", [str(ALL + 1), "9" * 30])
def test_body_that_would_be_too_long_is_not_begun(server, target, length):
    server.plan = [lambda handler: handler.begin(200, {"Content-Length": length})]
    with pytest.raises(DownloadError, match=r"at most 0\.8 MB; .*was deleted"):
        fetch(server, target)
    assert not any(target.parent.iterdir())


def test_too_long_after_a_resumption_starts_over(server, target):
    span = f"bytes {HALF}-{2 * ALL}/{2 * ALL}"
    server.plan = [server.cut(HALF), without_end(CONTENT, status=206, **{"Content-Range": span})]
    fetch(server, target)
    assert [request[1] for request in server.log] == [200, 206, 200]


def test_body_of_a_redirection_is_not_received(server, target):
    """requests would read it into memory."""
    server.plan = [without_end(CONTENT, status=302, Location=server.url + NAME)]
    fetch(server, target)
    assert server.log[1] == WHOLE


@pytest.mark.parametrize("address", ["file:///etc/hostname", "ftp://127.0.0.1/x", "data:,x"])
def test_redirection_leads_to_no_file_and_no_other_protocol(server, target, address):
    server.plan = [server.answer(302, Location=address)]
    with pytest.raises(DownloadError, match="No connection adapters were found for"):
        fetch(server, target)
    assert not any(target.parent.iterdir())


@pytest.mark.parametrize("chunked", [False, True])
def test_trickle_ends_with_what_arrived_and_is_resumed(server, target, chunked):
    def trickle(handler):
        handler.begin(200, {"Content-Length": str(ALL)})
        for position in range(ALL):  # until the connection is closed
            handler.send(CONTENT[position : position + 1])
            time.sleep(0.02)

    server.plan = [without_end(b"x", wait_s=0.02) if chunked else trickle]
    with pytest.raises(DownloadError) as caught:
        fetch(server, target)
    of_total = "" if chunked else " of 0.8 MB"
    for part in (
        f"after 0.0 MB{of_total}; at least 4 kB/s are needed",
        f"kept in {target}.part, and the same command resumes there",
    ):
        assert part in str(caught.value)
    received = target.with_name(f"{NAME}.part").stat().st_size
    assert 0 < received < 100
    fetch(server, target)
    assert server.log[1] == (f"bytes={received}-", 206, ALL - received)


def test_attempts_that_bring_next_to_nothing_are_no_progress(server, target):
    server.plan = [server.cut(1)] * 9
    with pytest.raises(DownloadError, match="after 4 attempts in a row without progress; 0"):
        fetch(server, target)
    assert len(server.log) == 4
