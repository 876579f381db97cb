"""Live video of a real RTSP server, GStreamer's: newest frames, a stall, a loss, and no password in any text."""

from __future__ import annotations

import functools
import itertools
import logging
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from masklet import Tracker
from masklet.sources import Frame, SourceError, live, network, open_source, video
from masklet.testing import Answer, Request, answer
from masklet.wire import Options
from tests.fakes.toy_grpc import serving
from tests.sources.drawn import H, W, film, number, picture

pytestmark = pytest.mark.programs

BIN = Path(sys.executable).parent
PATTERN = 30  # pictures of the film, again and again
PASSWORD = "se" + "cret"  # so that no line of this file, which tracebacks show, has it


@functools.cache
def gst_python() -> str:
    """A Python that has GStreamer's RTSP server; the test is skipped where there is none."""
    for name in (shutil.which("gst-python", path=f"{BIN}"), shutil.which("gst-python"), "/usr/bin/python3"):
        if name and Path(name).exists():
            asked = [name, "-c", "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"]
            if subprocess.run(asked, capture_output=True, check=False).returncode == 0:
                return name
    return ""


@pytest.fixture(scope="module")
def long_film(tmp_path_factory) -> Path:
    """Two minutes; nobody waits for its end."""
    return film(tmp_path_factory.mktemp("film") / "film.mp4", [picture(index % PATTERN) for index in range(25 * 120)], gop=10)


class Camera:
    """The server as a process, at one port."""

    def __init__(self, clip: Path, *login: str) -> None:
        self._clip, self._login, self.port = clip, login, "0"
        self.start()

    def start(self) -> None:
        command = [gst_python(), str(Path(__file__).with_name("rtsp_server.py")), str(self._clip), self.port, *self._login]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.port = self.process.stdout.readline().strip()
        assert self.port, "the server did not start"

    def url(self, login: str = "", path: str = "live") -> str:
        return f"rtsp://{login}127.0.0.1:{self.port}/{path}"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def camera(long_film) -> Iterator[Callable[..., Camera]]:
    if not gst_python():
        pytest.skip("there is no Python with GStreamer's RTSP server: `make setup` unpacks it from Debian, and says what it could not do")
    started = []

    def start(*login: str) -> Camera:
        started.append(Camera(long_film, *login))
        return started[-1]

    yield start
    for one in started:
        one.kill()


@pytest.fixture
def short_times(monkeypatch):
    """A second of silence is enough for a test."""
    for module in (live, network, video):
        monkeypatch.setattr(module, "TIMEOUT_S", 1.0)


@contextmanager
def counted(monkeypatch) -> Iterator[list[float]]:
    """The times of all frames that were decoded."""
    seen: list[float] = []
    arrived = live.Clock.time_s

    def told(clock, pts, now):
        seen.append(arrived(clock, pts, now))
        return seen[-1]

    with monkeypatch.context() as patch:
        patch.setattr(live.Clock, "time_s", told)
        yield seen


def wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def rising(frames: list[Frame]) -> bool:
    return all(later.index > earlier.index for earlier, later in itertools.pairwise(frames))


def readers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "masklet-source"]


def test_frames_come_as_they_are_filmed(camera):
    with open_source(camera().url()) as source:
        assert (source.live, source.count, source.fps) == (True, None, 25.0)
        frames = [next(source) for _ in range(20)]
    assert frames[0].index == 0
    assert {frame.image.shape for frame in frames} == {(H, W, 3)}
    assert frames[0].time_s == 0
    assert all(later.time_s > earlier.time_s and later.arrived_s >= earlier.arrived_s for earlier, later in itertools.pairwise(frames))
    for earlier, later in itertools.pairwise(frames):
        step = round((later.time_s - earlier.time_s) * 25)
        assert (number(later) - number(earlier)) % PATTERN == step % PATTERN, "times are those of the pictures"
        assert later.index - earlier.index == step, "frames are numbered whether somebody took them or not"
    assert readers() == []


def test_a_slow_caller_gets_the_newest_frame(camera, monkeypatch):
    with counted(monkeypatch) as decoded, open_source(camera().url()) as source:
        for _ in range(3):
            seen = len(decoded)
            wait(lambda before=seen: len(decoded) >= before + 10)
            known = len(decoded)
            frame = next(source)
            assert frame.time_s >= decoded[known - 1]
    assert frame.index >= 2 * 10, "frames that nobody took are numbered as well"


def test_a_video_follows_a_camera_that_is_faster_than_its_server(camera):
    def slow(request: Request) -> Answer:
        time.sleep(0.1)  # four of the camera's frames
        return answer(request, {}, Options.parse(request.parameters).frame_index or 0)

    with serving(slow) as (url, _, _), open_source(camera().url()) as source, Tracker(url, timeout_s=60) as tracker, tracker.open() as video:
        results = list(itertools.islice(video.follow(source), 8))
    assert results[0].frame_index == 0
    for earlier, later in itertools.pairwise(results):
        assert later.frame_index == later.frame.index > earlier.frame_index
        assert later.skipped == later.frame_index - earlier.frame_index - 1
        assert later.label == ("skipped" if later.skipped else "live")
        step = later.frame_index - earlier.frame_index
        assert (number(later.frame) - number(earlier.frame)) % PATTERN == step % PATTERN, "the picture is that of the index"
    assert sum(one.skipped for one in results) > 0
    assert all(one.age_s > 0 for one in results)


def test_a_stall_is_noticed_and_the_video_goes_on(camera, short_times, caplog):
    server = camera()
    with caplog.at_level(logging.WARNING, "masklet.sources"), open_source(server.url()) as source:
        before = next(source)
        server.process.send_signal(signal.SIGSTOP)
        wait(lambda: "nothing came for 1 s; connecting again" in caplog.text)
        server.process.send_signal(signal.SIGCONT)
        frames = [next(source) for _ in range(5)]
    assert rising([before, *frames])
    assert frames[0].time_s > before.time_s
    assert frames[-1].arrived_s > before.arrived_s
    assert readers() == []


def test_a_server_that_dies_and_comes_back_is_found_again(camera, short_times, caplog):
    server = camera()
    with caplog.at_level(logging.WARNING, "masklet.sources"), open_source(server.url()) as source:
        before = next(source)
        server.kill()
        wait(lambda: caplog.text.count("connecting again") >= 2)
        server.start()
        held = next(source)  # may still be of the first connection
        frames = [held, *(next(source) for _ in range(5))]
    assert rising([before, *frames])
    assert frames[-1].time_s > before.time_s
    assert "refused" in caplog.text


def test_a_server_that_stays_away_is_an_error(camera, short_times, monkeypatch):
    monkeypatch.setattr(live, "_GIVE_UP_S", 0.5)
    server = camera()
    with open_source(server.url(f"me:{PASSWORD}@")) as source:
        next(source)
        server.kill()
        with pytest.raises(SourceError, match=r"gave no frame for 0\.5 s: .*refused") as caught:
            for _ in source:
                pass
    assert_hidden(caught.value)
    assert readers() == []


def assert_hidden(error: BaseException) -> None:
    """No text of the error, nor of what caused it, has the password."""
    shown = "".join(traceback.format_exception(error)) + repr(error)
    chain, one = [], error
    while one is not None:
        chain.append(repr(one) + str(one))
        one = one.__cause__ or one.__context__
    assert PASSWORD not in shown + "".join(chain)
    assert "***@127.0.0.1" in str(error)


def test_a_login_works_and_is_never_shown(camera, caplog):
    server = camera("me", PASSWORD)
    with caplog.at_level(logging.DEBUG):
        with open_source(server.url(f"me:{PASSWORD}@")) as source:
            assert next(source).size == (H, W)
            assert PASSWORD not in repr(source)
        with pytest.raises(SourceError, match="401 Unauthorized") as wrong:
            open_source(server.url(f"me:{PASSWORD}2@"))
        with pytest.raises(SourceError, match="404 Not Found") as missing:
            open_source(server.url(f"me:{PASSWORD}@", "none"))
    assert_hidden(wrong.value)
    assert_hidden(missing.value)
    assert PASSWORD not in caplog.text


def test_closing_ends_a_caller_that_waits(camera, short_times):
    server = camera()
    source = open_source(server.url())
    next(source)
    server.process.send_signal(signal.SIGSTOP)
    ended = threading.Event()

    def rest():
        list(source)
        ended.set()

    threading.Thread(target=rest).start()
    source.close()
    assert ended.wait(120)
    assert readers() == []
    server.process.send_signal(signal.SIGCONT)
