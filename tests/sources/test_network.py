"""Addresses: films on web servers, cameras over HTTP, silence, secrets, times, delays."""

from __future__ import annotations

import functools
import http.server
import io
import itertools
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from PIL import Image

from masklet.sources import SourceError, live, network, open_source, video
from masklet.sources.addresses import without_secrets
from tests.sources.drawn import H, W, film, number, picture


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *words: object) -> None:
        pass


@contextmanager
def web(handler) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.ts", "clip.avi"])
def test_every_frame_of_a_film_on_a_web_server_comes_once(tmp_path, name):
    film(tmp_path / name, [picture(index) for index in range(20)])
    with web(functools.partial(Quiet, directory=str(tmp_path))) as place, open_source(f"http://{place}/{name}") as source:
        assert not source.live
        assert [(frame.index, number(frame)) for frame in source] == [(index, index) for index in range(20)]


@pytest.mark.parametrize("ends", [True, False])
def test_a_playlist_of_hls_is_live_unless_it_says_where_it_ends(tmp_path, ends):
    film(tmp_path / "0.ts", [picture(index) for index in range(20)])
    end = "#EXT-X-ENDLIST\n" if ends else ""
    (tmp_path / "list.m3u8").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:0.8,\n0.ts\n{end}")
    with web(functools.partial(Quiet, directory=str(tmp_path))) as place, open_source(f"http://{place}/list.m3u8") as source:
        assert source.live is not ends
        frames = list(source) if ends else [next(source)]
        assert [frame.index for frame in frames] == list(range(20 if ends else 1))


def test_a_film_that_is_not_there_is_an_error_without_secrets(tmp_path):
    with web(functools.partial(Quiet, directory=str(tmp_path))) as place, pytest.raises(SourceError, match="404 Not Found") as caught:
        open_source(f"HTTP://me:pass@{place}/none.mp4?token=pass")
    assert str(caught.value).startswith(f"http://***@{place}/none.mp4?*** cannot be opened")
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


class Mjpeg(Quiet):
    """A camera as many are: JPEGs in one answer without end. It shows each picture when it is told to."""

    told: threading.Semaphore
    closing: threading.Event
    numbers: Iterator[int]

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        while not self.closing.is_set():
            self.told.acquire()
            out = io.BytesIO()
            Image.fromarray(picture(next(self.numbers) % 30)).save(out, "JPEG", quality=95)
            try:
                self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(out.getvalue()), out.getvalue()))
            except OSError:
                return


@pytest.fixture
def camera() -> Iterator[tuple[str, threading.Semaphore]]:
    told, closing = threading.Semaphore(30), threading.Event()
    handler = type("Handler", (Mjpeg,), {"told": told, "closing": closing, "numbers": itertools.count()})
    with web(handler) as place:
        yield f"http://{place}/video.cgi", told
        closing.set()
        told.release(9)


def test_a_camera_over_http_is_live_and_its_newest_frame_counts(camera, monkeypatch):
    url, told = camera
    decoded = []
    arrived = live.Live._arrived
    monkeypatch.setattr(live.Live, "_arrived", lambda self, picture, stream: (arrived(self, picture, stream), decoded.append(picture)))
    with open_source(url) as source:
        assert source.live
        first = next(source)
        before = len(decoded)
        told.release(12)
        deadline = time.monotonic() + 60
        while len(decoded) < before + 10 and time.monotonic() < deadline:
            time.sleep(0.01)
        newest = number(decoded[-1].to_ndarray(format="rgb24"))
        second = next(source)
        assert (number(second) - newest) % 30 <= 12, "not one of those before the newest: the first of the 12 would be 20 and more"
        told.release(9)  # the reader waits for no time to be over
    assert first.index == 0
    assert second.index >= 10, "frames that nobody took are numbered as well"
    assert second.size == (H, W)
    assert second.time_s > first.time_s
    assert second.arrived_s > first.arrived_s


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_an_address_that_accepts_and_says_nothing_is_an_error(scheme, monkeypatch):
    for module in (live, network, video):
        monkeypatch.setattr(module, "TIMEOUT_S", 0.5)
    says = pytest.raises(SourceError, match=r"cannot be opened as a video: nothing came for 0\.5 s\.")
    with socket.create_server(("127.0.0.1", 0)) as silent, says:
        open_source(f"{scheme}://127.0.0.1:{silent.getsockname()[1]}/live")


def test_a_camera_that_is_not_there_is_an_error():
    with pytest.raises(SourceError, match="/dev/video98765 cannot be opened as a camera"):
        open_source(98765)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://camera:554/live", "rtsp://camera:554/live"),
        ("rtsp://me:pw@camera:554/live", "rtsp://***@camera:554/live"),
        ("RTSP://me@camera/live", "rtsp://***@camera/live"),
        ("rtsp://me:p@w/x:y@camera/live", "rtsp://***@camera/live"),
        ("rtsp://me:p?w@camera/live", "rtsp://***"),
        ("http://camera/video.cgi?user=me&pwd=pw", "http://camera/video.cgi?***"),
        ("http://camera/v?mail=me@home&pwd=pw", "http://***"),
        ("rtsp://camera/user=me&password=pw&channel=1.sdp", "rtsp://camera/user=***&password=***&channel=***"),
        ("https://host/film.mp4#t=10", "https://host/film.mp4"),
    ],
)
def test_addresses_are_shown_without_their_secrets(address, shown):
    assert without_secrets(address) == shown


def test_live_times_are_the_streams_own_where_they_advance():
    clock = live.Clock()
    came = ((1.0, 50.0), (1.04, 50.5), (1.08, 50.51), (2.0, 51.0))
    assert [clock.time_s(pts, arrived) for pts, arrived in came] == pytest.approx([0, 0.04, 0.08, 1.0])
    clock.connected()  # 20 s after the first frame, and its times begin anew
    assert [clock.time_s(pts, arrived) for pts, arrived in ((0.0, 70.0), (0.04, 70.1))] == pytest.approx([20, 20.04])


@pytest.mark.parametrize("pts", [None, 0.0])
def test_live_times_are_those_of_arrival_where_the_stream_has_none(pts):
    clock = live.Clock()
    assert [clock.time_s(pts, arrived) for arrived in (50.0, 50.04, 50.08)] == pytest.approx([0, 0.04, 0.08])


def test_live_times_never_go_back():
    clock = live.Clock()
    times = [clock.time_s(pts, arrived) for pts, arrived in ((0.0, 50.0), (5.0, 50.1), (1.0, 50.2), (1.1, 50.3))]
    assert times == sorted(times)


def test_delays_grow_to_two_seconds_and_differ():
    for tries, most in enumerate((0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0)):
        assert all(most / 2 <= live.delay_s(tries) <= most for _ in range(20))
    assert len({live.delay_s(9) for _ in range(9)}) > 1
    assert live.delay_s(10**6) <= 2


@pytest.mark.parametrize("width", [W, 40])
def test_live_frames_are_scaled_like_others(camera, width):
    with open_source(camera[0], max_side=width) as source:
        frame = next(source)
    assert (frame.image.shape, frame.size) == ((H * width // W, width, 3), (H, W))
