"""Which way a channel goes: straight to its server whatever the environment says of proxies, or through the proxy that was named."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import numpy as np
import pytest

from masklet import ServerUnavailable
from masklet.cli import main
from masklet.health import Health, probe
from tests.fakes.toy_grpc import serving
from tests.fakes.toy_tracker import ToyTracker

FRAME = np.zeros((24, 32, 3), dtype=np.uint8)
NOBODY = "http://127.0.0.1:9"  # the port "discard", where nobody listens
ELSEWHERE = "masklet.invalid:8001"  # a name that no name server knows (RFC 2606)


@pytest.fixture(params=["grpc_proxy", "https_proxy", "http_proxy", "all_proxy", "GRPC_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"])
def variable(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(request.param, NOBODY)
    return str(request.param)


@contextmanager
def connect_proxy(url: str) -> Iterator[tuple[str, list[str]]]:
    """An HTTP proxy that takes one CONNECT and leads it to `url`, whatever was asked for; and what was asked for."""
    asked: list[str] = []
    host, _, port = url.rpartition(":")
    with socket.create_server(("127.0.0.1", 0)) as listening, ExitStack() as connections:

        def serve() -> None:
            client = connections.enter_context(listening.accept()[0])
            asked.append(client.recv(4096).split(b"\r\n")[0].decode())
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            server = connections.enter_context(socket.create_connection((host, int(port))))
            threading.Thread(target=pump, args=(client, server), daemon=True).start()
            threading.Thread(target=pump, args=(server, client), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", asked


def pump(source: socket.socket, target: socket.socket) -> None:
    """Bytes from one to the other, as long as both are open."""
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)


def test_no_variable_leads_a_video_through_a_proxy(variable, make_tracker):
    with serving(ToyTracker()) as (url, _, _), make_tracker(url) as tracker, tracker.open() as video:
        assert video.track(FRAME).frame_index == 0


def test_no_variable_leads_a_probe_through_a_proxy(variable):
    with serving(ToyTracker()) as (url, _, _):
        assert probe(url, 30).health is Health.ALIVE


def test_an_error_about_another_machine_names_the_variable_that_was_not_used(variable, make_tracker):
    with make_tracker(ELSEWHERE) as tracker, tracker.open() as video, pytest.raises(ServerUnavailable, match=rf"{variable} is set here, and was not"):
        video.track(FRAME)


def test_an_error_about_this_machine_says_nothing_of_proxies(monkeypatch, make_tracker):
    monkeypatch.setenv("http_proxy", NOBODY)
    with make_tracker("127.0.0.1:9") as tracker, tracker.open() as video, pytest.raises(ServerUnavailable) as caught:
        video.track(FRAME)
    assert "proxy" not in str(caught.value)


def test_a_proxy_that_was_asked_for_is_used(monkeypatch, make_tracker):
    monkeypatch.delenv("no_proxy", raising=False)
    with serving(ToyTracker()) as (url, _, _), connect_proxy(url) as (proxy, asked):
        with make_tracker(ELSEWHERE, proxy=proxy) as tracker, tracker.open() as video:
            assert video.track(FRAME).frame_index == 0
        assert asked == [f"CONNECT {ELSEWHERE} HTTP/1.1"]


def test_an_error_names_the_proxy_that_was_asked_for_without_its_password(make_tracker):
    with (
        make_tracker(ELSEWHERE, proxy="http://me:secret@127.0.0.1:9") as tracker,
        tracker.open() as video,
        pytest.raises(ServerUnavailable) as caught,
    ):
        video.track(FRAME)
    assert "the proxy 127.0.0.1:9, which was asked for" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("proxy", ["127.0.0.1:3128", "https://127.0.0.1:3128", "socks5://me:secret@127.0.0.1:1080", "http://"])
def test_what_is_no_http_proxy_is_refused(make_tracker, proxy):
    with pytest.raises(ValueError, match="must be http://HOST:PORT") as caught:
        make_tracker("localhost:8001", proxy=proxy)
    assert "secret" not in str(caught.value)


def test_the_command_line_names_its_proxy(tmp_path, capsys):
    (tmp_path / "frames").mkdir()
    command = ["track", str(tmp_path / "frames"), "--url", ELSEWHERE, "--point", "1,2", "--out", str(tmp_path / "out"), "--proxy", "ftp://x"]
    assert main(command) == 1
    assert "must be http://HOST:PORT" in capsys.readouterr().err
