"""How evenly HAProxy spreads videos over servers, by the lines of docker/gateways/haproxy.cfg that decide it."""

from __future__ import annotations

import http.client
import random
import re
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.deploy.tools import tool
from tests.failover.gateways import CONFIGS, free_port

pytestmark = pytest.mark.programs

VIDEOS = 1000


def deciding_lines() -> str:
    """What the backend says of hash and weights."""
    lines = (CONFIGS / "haproxy.cfg").read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if re.match(r" +(balance|hash-type|default-server weight) ", line))


@contextmanager
def counting_server(name: str, seen: Counter[str]) -> Iterator[int]:
    """A web server that counts its requests as those of `name`. Gives its port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            seen[name] += 1
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.server_port
        finally:
            server.shutdown()


@contextmanager
def haproxy(folder: Path, ports: dict[str, int]) -> Iterator[http.client.HTTPConnection]:
    """HAProxy before servers of these names. Gives a connection to it."""
    port, config = free_port(), folder / "haproxy.cfg"
    servers = "\n".join(f"  server {name} 127.0.0.1:{at}" for name, at in ports.items())
    limits = "\n".join(f"  timeout {what} 10s" for what in ("connect", "client", "server"))
    config.write_text(f"defaults\n  mode http\n{limits}\nlisten videos\n  bind 127.0.0.1:{port}\n{deciding_lines()}\n{servers}\n")
    with subprocess.Popen([tool("haproxy"), "-f", config], stderr=subprocess.DEVNULL) as process:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            for _ in range(100):
                try:
                    connection.connect()
                    break
                except ConnectionRefusedError:
                    time.sleep(0.1)
            yield connection
        finally:
            connection.close()
            process.terminate()


@pytest.mark.parametrize("count", [2, 3])
def test_every_server_gets_its_share_of_the_videos(count: int, tmp_path: Path) -> None:
    seen: Counter[str] = Counter()
    rng = random.Random(1)
    with ExitStack() as stack:
        ports = {f"pod{number}": stack.enter_context(counting_server(f"pod{number}", seen)) for number in range(1, count + 1)}
        connection = stack.enter_context(haproxy(tmp_path, ports))
        for _ in range(VIDEOS):
            connection.request("GET", "/", headers={"x-video-id": str(rng.getrandbits(63))})
            connection.getresponse().read()
    shares = sorted(round(100 * seen[name] / VIDEOS) for name in ports)
    # Chance alone moves a share by 1.5 points; with 16 places on the ring, those of weight 1, it was off by 5 to 8.
    assert all(abs(share - 100 / count) < 4 for share in shares), shares
