"""Following a live source: the newest frame wins, results come when they come, and each says what became of it."""

from __future__ import annotations

import asyncio
import itertools
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest

from masklet import AsyncTracker, BadFrame, ServerUnavailable, Tracker, VideoLost
from masklet.concurrency.threads import finish
from masklet.errors import MaskletError
from masklet.results import TrackedFrame
from masklet.sources import Frame, Source, newest
from masklet.testing import Answer, MockTransport, Refusal, Request, answer
from masklet.wire import Options
from tests.fakes.recalling import Recalling
from tests.fakes.toy_grpc import serving

LONG_S = 60.0  # nobody waits that long where all is well
MASK = np.ones((4, 6), bool)


def picture(number: int) -> np.ndarray:
    return np.full((4, 6, 3), number % 256, np.uint8)


class Camera:
    """Gives the pictures that it is told to, and knows how many its reader has seen through."""

    def __init__(self) -> None:
        self._told: queue.Queue[np.ndarray | BaseException | None] = queue.Queue()
        self._filmed = self.read = 0

    def __iter__(self) -> Iterator[np.ndarray]:
        while (one := self._told.get()) is not None:
            if isinstance(one, BaseException):
                raise one
            yield one
            self.read += 1

    def film(self, count: int) -> None:
        """So many frames; returns when the newest of them is the newest of the source."""
        for _ in range(count):
            self._told.put(picture(self._filmed))
            self._filmed += 1
        until(lambda: self.read == self._filmed)

    def end(self, error: BaseException | None = None) -> None:
        self._told.put(error)


def until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + LONG_S
    while not holds():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.002)


class Server:
    """Tracks one object, frame by frame, as fast as it is let. `seen`: (frame_index, first pixel) of each frame."""

    def __init__(self, free: int = 10**9) -> None:
        self.free = threading.Semaphore(free)
        self.seen: list[tuple[int, int]] = []
        self.refuses: set[int] = set()

    def __call__(self, request: Request) -> Answer | Refusal:
        if "FRAME" not in request.tensors:
            return answer(request, {})
        index = Options.parse(request.parameters).frame_index
        index = len(self.seen) if index is None else index
        self.seen.append((index, int(request.tensors["FRAME"].flat[0])))
        self.free.acquire(timeout=LONG_S)
        if index in self.refuses:
            return Refusal(BadFrame("this one is refused. Send another.").wire())
        return answer(request, {1: MASK}, index)


@pytest.fixture
def camera() -> Iterator[Camera]:
    made = Camera()
    yield made
    made.end()


def facts(result: TrackedFrame) -> tuple[int, str, int]:
    return result.frame_index, result.label, result.skipped


def test_the_newest_frame_wins_and_a_result_says_how_many_were_skipped(make_tracker, camera: Camera) -> None:
    server = Server()
    with serving(server) as (url, _, _), newest(camera) as source, make_tracker(url, timeout_s=LONG_S).open() as video:
        results = video.follow(source)
        camera.film(1)
        assert facts(next(results)) == (0, "live", 0)
        camera.film(5)
        assert facts(next(results)) == (5, "skipped", 4)
        camera.film(1)
        assert facts(next(results)) == (6, "live", 0)
        camera.film(2)
        last = next(results)
    assert facts(last) == (8, "skipped", 1)
    assert last.frame.index == 8
    assert 0 < last.age_s < LONG_S
    assert server.seen == [(index, index) for index in (0, 5, 6, 8)]


def test_a_result_comes_though_no_frame_does_and_a_frame_goes_though_no_result_comes(make_tracker, camera: Camera) -> None:
    server = Server(free=1)
    with serving(server) as (url, _, _), newest(camera) as source, make_tracker(url, timeout_s=LONG_S).open() as video:
        results = video.follow(source)
        camera.film(1)
        assert next(results).frame_index == 0  # and no second frame is there
        camera.film(1)
        film = threading.Thread(target=lambda: (until(lambda: len(server.seen) == 2), camera.film(1), server.free.release(2)))
        film.start()
        assert [next(results).frame_index for _ in range(2)] == [1, 2]
        film.join()


def test_two_frames_at_most_are_on_their_way(open_follow) -> None:
    transport = MockTransport(lambda request: answer(request, {1: MASK}) if request.start else None)
    with open_follow(transport, timeout_s=0.3) as results:
        next(results)
        with pytest.raises((VideoLost, ServerUnavailable, MaskletError)):
            next(results)
    frames = [request for request in transport.requests if "FRAME" in request.tensors]
    assert len(frames) == 1 + 2


@pytest.fixture
def open_follow(make_tracker):
    """Follows a camera that films all the time, over this transport."""

    @contextmanager
    def opened(transport: MockTransport, timeout_s: float, **options):
        def film():
            for number in range(10**6):
                yield picture(number)
                time.sleep(0.001)

        with newest(film()) as source, make_tracker("test:1", timeout_s=timeout_s, transport=transport).open() as video:
            yield video.follow(source, **options)

    return opened


def slow(request: Request) -> Answer:
    time.sleep(0.02)
    return answer(request, {1: MASK}, Options.parse(request.parameters).frame_index or 0)


def test_results_that_are_too_old_are_stale_and_keep_the_number_of_the_skipped(open_follow) -> None:
    with open_follow(MockTransport(slow), timeout_s=LONG_S, max_age_s=1e-9) as results:
        got = [next(results) for _ in range(4)]
    assert {one.label for one in got} == {"stale"}
    assert [one.skipped for one in got[1:]] == [later.frame_index - earlier.frame_index - 1 for earlier, later in itertools.pairwise(got)]


def test_a_deadline_that_a_server_cannot_keep_is_said_once_and_its_results_are_stale(open_follow, caplog) -> None:
    with caplog.at_level(logging.WARNING, "masklet"), open_follow(MockTransport(slow), timeout_s=LONG_S, deadline_s=0.001) as results:
        assert {next(results).label for _ in range(6)} == {"stale"}
    assert caplog.text.count("cannot be kept") == 1
    assert "the deadline of 0.001 s" in caplog.text


def test_the_time_of_a_slow_caller_is_not_taken_for_that_of_the_server(camera: Camera, monkeypatch, caplog) -> None:
    away, server = [0.0], Server(free=1)
    monkeypatch.setattr("masklet.connection.following.time", SimpleNamespace(monotonic=lambda: time.monotonic() + away[0]))
    with serving(server) as (url, _, _), newest(camera) as source, Tracker(url, timeout_s=LONG_S) as tracker, tracker.open() as video:
        results = video.follow(source, deadline_s=LONG_S)
        camera.film(1)
        assert next(results).frame_index == 0
        camera.film(1)

        def answer_when_both_are_sent() -> None:
            until(lambda: len(server.seen) == 2)
            camera.film(1)
            until(lambda: len(results._results._sent) == 2)
            server.free.release(2)

        helper = threading.Thread(target=answer_when_both_are_sent)
        helper.start()
        assert next(results).frame_index == 1
        helper.join()
        until(lambda: finish(video._video._connection.settled(results._results._pending[0].pending)))
        away[0] = 100 * LONG_S
        late = next(results)
    assert (late.frame_index, late.label) == (2, "stale")
    assert "cannot be kept" not in caplog.text


def test_every_frame_of_what_is_not_live_is_tracked(make_tracker) -> None:
    server = Server()
    with serving(server) as (url, _, _), make_tracker(url, timeout_s=LONG_S).open() as video:
        got = [(*facts(one), one.age_s) for one in video.follow([picture(number) for number in range(9)], deadline_s=1e-9)]
    assert got == [(number, "live", 0, None) for number in range(9)]


def test_a_refused_frame_is_an_error_in_its_place_and_the_video_goes_on(make_tracker, camera: Camera) -> None:
    server = Server()
    server.refuses.add(1)
    with serving(server) as (url, _, _), newest(camera) as source, make_tracker(url, timeout_s=LONG_S).open() as video:
        results = video.follow(source)
        camera.film(1)
        next(results)
        camera.film(1)
        with pytest.raises(BadFrame, match="this one is refused"):
            next(results)
        camera.film(1)
        assert facts(next(results)) == (2, "skipped", 1)


@pytest.mark.parametrize("error", [None, OSError("the cable is out")])
def test_a_source_that_ends_gives_what_is_left_before_its_error(make_tracker, camera: Camera, error: OSError | None) -> None:
    with serving(Server()) as (url, _, _), newest(camera) as source, make_tracker(url, timeout_s=LONG_S).open() as video:
        results = video.follow(source)
        camera.film(3)
        camera.end(error)
        assert next(results).frame_index == 0  # the first that was taken, though it was the third to come
        with pytest.raises(type(error) if error else StopIteration, match="cable" if error else None):
            next(results)


def test_results_of_frames_tracked_again_come_before_others_and_without_any_frame(camera: Camera) -> None:
    with serving(Server()) as (url, _, _), newest(camera) as source, Tracker(url, timeout_s=LONG_S) as tracker, tracker.open() as video:
        results, connection = video.follow(source), video._video._connection
        camera.film(1)
        first = next(results)

        def again() -> None:
            connection.replayed.append(first)
            connection.wake()

        threading.Timer(0.05, again).start()
        assert next(results) is first


def test_a_late_click_comes_again_though_the_source_has_ended(make_tracker, camera: Camera) -> None:
    tracker = make_tracker("test:1", timeout_s=LONG_S, transport=Recalling())
    with newest(camera) as source, tracker.open(history_s=LONG_S) as video:
        video.prompt(1, points=[(2, 2)])
        results = video.follow(source)
        for _ in range(6):
            camera.film(1)
            next(results)
        with video.rewind(2) as past:
            past.prompt(7, points=[(1, 1)])
        camera.end()
        again = list(results)
    assert [facts(one) for one in again] == [(index, "replayed", 0) for index in range(2, 6)]
    assert all(7 in one.object_ids for one in again)


def test_a_loop_goes_on_while_a_live_source_is_silent(camera: Camera) -> None:
    async def play(url: str) -> list[int]:
        with newest(camera) as source:
            async with AsyncTracker(url, timeout_s=LONG_S) as tracker, tracker.open() as video:
                results = video.follow(source)
                camera.film(1)
                got = [(await anext(results)).frame_index]
                waiting = asyncio.create_task(anext(results))
                for _ in range(20):  # a source that blocked the loop would let none of these go by
                    await asyncio.sleep(0.001)
                assert not waiting.done()
                waiting.cancel()
                camera.film(1)
                return [*got, (await anext(results)).frame_index]  # the frame that was waited for is not lost

    with serving(Server()) as (url, _, _):
        assert asyncio.run(asyncio.wait_for(play(url), LONG_S)) == [0, 1]


@pytest.mark.parametrize("name", ["deadline_s", "max_age_s"])
def test_times_that_are_none_are_refused(make_tracker, name: str) -> None:
    with make_tracker("test:1", transport=MockTransport(slow)).open() as video, pytest.raises(ValueError, match=f"{name} is in seconds and must be"):
        video.follow([], **{name: 0})


def test_a_closed_source_ends_its_thread_at_the_next_frame(camera: Camera) -> None:
    source = newest(camera, name="mine")
    camera.film(1)
    assert next(source).index == 0
    source.close()
    camera.end()
    until(lambda: not [one for one in threading.enumerate() if one.name == "masklet-source"])
    with pytest.raises(StopIteration):
        next(source)


def test_a_source_may_be_followed_again_while_the_one_before_still_waits_for_it(camera: Camera) -> None:
    got: list[int | BaseException] = []

    def take(source: Source) -> None:
        try:
            got.append(next(source).index)
        except BaseException as error:
            got.append(error)

    with newest(camera) as source:
        both = [threading.Thread(target=take, args=(source,)) for _ in range(2)]
        for one in both:
            one.start()
        for count in (1, 2):
            camera.film(1)
            until(lambda count=count: len(got) == count)
    assert got == [0, 1]


def test_a_video_that_is_closed_ends_the_wait_for_a_silent_camera(camera: Camera) -> None:
    with serving(Server()) as (url, _, _), newest(camera) as source, Tracker(url, timeout_s=LONG_S) as tracker:
        video = tracker.open()
        results = video.follow(source)
        camera.film(1)
        next(results)
        threading.Timer(0.05, video.close).start()
        with pytest.raises(VideoLost, match="this video is closed"):
            next(results)


def test_who_leaves_takes_no_results_of_others_along(camera: Camera) -> None:
    with newest(camera) as source, Tracker("test:1", transport=MockTransport(slow)) as tracker, tracker.open() as video:
        one, other = video.follow(source), video.follow(source)
        connection = video._video._connection
        del one
        assert connection.followed
        del other
        assert not connection.followed


def test_a_frame_that_would_come_too_late_gives_way_to_the_next(make_tracker) -> None:
    def frames() -> Iterator[Frame]:
        for index, age_s in enumerate((0.0, 1000.0, 0.0)):
            yield Frame(index, float(index), str(index), picture(index), (4, 6), time.monotonic() - age_s)

    source, transport = Source("mine", frames(), fps=1, live=True), MockTransport(slow)
    with make_tracker("test:1", transport=transport).open() as video:
        assert [facts(one) for one in video.follow(source, deadline_s=LONG_S)] == [(0, "live", 0), (2, "skipped", 1)]


def test_a_deadline_that_can_be_kept_again_is_said(open_follow, caplog) -> None:
    waits = iter([0.3, 0.3])

    def faster(request: Request) -> Answer:
        time.sleep(next(waits, 0.0))
        return answer(request, {1: MASK}, Options.parse(request.parameters).frame_index or 0)

    with caplog.at_level(logging.WARNING, "masklet"), open_follow(MockTransport(faster), timeout_s=LONG_S, deadline_s=0.2) as results:
        until(lambda: next(results) and "the deadline of 0.200 s is kept again" in caplog.text)
