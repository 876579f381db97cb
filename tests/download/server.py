"""A real HTTP server with one file, that can be told to misbehave."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FileServer(ThreadingHTTPServer):
    """Serves `content` under every path.

    drops       bytes to send before the connection breaks, for each request in turn; then no more breaks
    statuses    to answer instead, for each request in turn
    ranges      whether Range is honoured
    location    redirects there
    promised    what Content-Length says; None: the truth
    asked       (path, headers) of the requests so far
    """

    daemon_threads = True

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = content
        self.drops: list[int] = []
        self.statuses: list[int] = []
        self.ranges = True
        self.location: str | None = None
        self.promised: int | None = None
        self.asked: list[tuple[str, dict[str, str]]] = []

    @property
    def port(self) -> int:
        return self.server_address[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/file.pt"

    def ranges_asked(self) -> list[str | None]:
        return [headers.get("Range") for _, headers in self.asked]


class _Handler(BaseHTTPRequestHandler):
    server: FileServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server = self.server
        server.asked.append((self.path, dict(self.headers)))
        if server.location is not None:
            return self._answer(302, b"", {"Location": server.location})
        if server.statuses:
            return self._answer(server.statuses.pop(0), b"no", {})
        wish = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(wish[1]) if wish and server.ranges else 0
        if start and start >= len(server.content):
            return self._answer(416, b"", {})
        headers = {"Content-Range": f"bytes {start}-{len(server.content) - 1}/{len(server.content)}"} if start else {}
        self._answer(206 if start else 200, server.content[start:], headers)

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        length = len(body) if self.server.promised is None else self.server.promised
        for name, value in {"Content-Length": str(length), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        broken = status < 300 and self.server.drops
        self.wfile.write(body[: self.server.drops.pop(0)] if broken else body)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serving(content: bytes) -> Iterator[FileServer]:
    with FileServer(content) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
