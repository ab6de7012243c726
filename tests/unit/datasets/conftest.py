"""A web server on loopback that misbehaves on request, and a prepared dataset."""

import functools
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from manifold_capacity.datasets.prepare import prepare


class Server:
    """Serves `files`, name -> content; `plan` says what to do with the first requests, in order."""

    def __init__(self, url):
        self.url = url
        self.files = {}
        self.honors_range = True
        self.plan = []
        self.requested = []  # names of files
        self.log = []  # of each request: Range, status, bytes of body sent
        self.accepted_encodings = set()

    @staticmethod
    def serve(handler, stop_after=None, then=lambda: None):
        """What a good server does; after `stop_after` bytes of body `then` is called and the connection closed."""
        server = handler.state
        if server.requested[-1] not in server.files:
            handler.begin(404, {"Content-Length": "0"})
            return
        body, status = server.files[server.requested[-1]], 200
        headers = {"Accept-Ranges": "bytes"}
        range_ = server.log[-1][0]
        if range_ and server.honors_range:
            begin = int(range_.removeprefix("bytes=").removesuffix("-"))
            if begin >= len(body):
                span = f"bytes */{len(body)}"
                handler.begin(416, {"Content-Range": span, "Content-Length": "0"})
                return
            headers["Content-Range"] = f"bytes {begin}-{len(body) - 1}/{len(body)}"
            body, status = body[begin:], 206
        handler.begin(status, headers | {"Content-Length": str(len(body))})
        handler.send(body[:stop_after])
        if stop_after is not None:
            handler.close_connection = True
            then()

    @staticmethod
    def cut(n_bytes, then=lambda: None):
        """Close the connection in good order after some of the body."""
        return lambda handler: Server.serve(handler, n_bytes, then)

    @staticmethod
    def answer(status, body=b"", **headers):
        def answer(handler):
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            handler.begin(status, {"Content-Length": str(len(body))} | named)
            handler.send(body)

        return answer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, state, *arguments):
        self.state = state
        super().__init__(*arguments)

    def do_GET(self):
        self.state.requested.append(self.path.lstrip("/").partition("?")[0])
        # Several may be answered at once.
        self.entry = len(self.state.log)
        self.state.log.append((self.headers["Range"], 0, 0))
        self.state.accepted_encodings.add(self.headers["Accept-Encoding"])
        (self.state.plan.pop(0) if self.state.plan else Server.serve)(self)

    def begin(self, status, headers):
        self.state.log[self.entry] = (self.state.log[self.entry][0], status, 0)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def send(self, body):
        self.wfile.write(body)
        self.wfile.flush()
        *request, sent = self.state.log[self.entry]
        self.state.log[self.entry] = (*request, sent + len(body))

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    state = Server("")
    http = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, state))
    state.url = f"http://127.0.0.1:{http.server_port}/"
    http.daemon_threads = True
    http.handle_error = lambda *arguments: None
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    http.shutdown()
    http.server_close()
    thread.join()


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    """The prepared digits; to be copied, not changed."""
    folder = tmp_path_factory.mktemp("digits")
    prepare({"name": "digits"}, folder / "digits", folder / "downloads")
    assert [path.name for path in folder.iterdir()] == ["digits"]
    return folder / "digits"
