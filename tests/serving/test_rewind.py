"""Prompts for a frame that is over, over gRPC and a whole server of nano: late is as good as in time, to the last bit."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from masklet import AsyncTracker, TrackedFrame, Tracker, Video
from masklet.families import NANO
from masklet_build import nano
from masklet_build.repository.assemble import assemble
from masklet_build.serve import Server
from tests.serving.agreement import all_equal
from tests.serving.clips import clip, encoded

pytestmark = pytest.mark.server

COUNT, CLICKED = 28, 9
FRAMES = [encoded(frame, "JPEG") for frame in clip(COUNT, 144, 256, seed=5)]
POINTS = {1: (60, 60), 2: (150, 70), 3: (200, 40), 4: (100, 110)}
LATE = (128, 72)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return assemble(NANO.name, nano.ENGINES, tmp_path_factory.mktemp("nano") / "repository")


@pytest.fixture(scope="module")
def server(repository: Path, serving_python: Path) -> Iterator[Server]:
    with Server(repository, python=serving_python, grpc_port=0, http_port=0, metrics_port=0, exit_timeout_s=1) as server:
        yield server


def begin(video: Video, objects: int) -> None:
    for number in range(1, objects + 1):
        video.prompt(number, points=[POINTS[number]])


def in_time(tracker: Tracker, objects: int, *, clicked: bool = True) -> tuple[list[TrackedFrame], bytes]:
    with tracker.open() as video:
        begin(video, objects)
        results = []
        for index, frame in enumerate(FRAMES):
            if clicked and index == CLICKED:
                video.prompt(1, points=[LATE])
            results.append(video.track(frame, frame_index=index + index // 20, logits=True))  # with a gap
        return results, video.snapshot()


def live(video: Video, indices: range) -> list[TrackedFrame]:
    return [video.track(FRAMES[index], frame_index=index + index // 20, logits=True) for index in indices]


@pytest.mark.parametrize("objects", [pytest.param(1, marks=pytest.mark.slow), 2, pytest.param(4, marks=pytest.mark.slow)])
def test_a_late_click_is_one_in_time_and_taken_back_it_never_was(server: Server, objects: int) -> None:
    with Tracker(server.grpc_url) as tracker, tracker.open(history_s=3600) as video:
        begin(video, objects)
        results = live(video, range(17))
        with video.rewind(CLICKED) as past:
            past.prompt(1, points=[LATE])
        results += live(video, range(17, 24))  # meanwhile, and on the branch
        again = past.wait()
        results[CLICKED : CLICKED + len(again)] = again
        results += live(video, range(24, COUNT))
        expected, state = in_time(tracker, objects)
        assert all_equal(results, expected)
        assert video.snapshot() == state
        undone = video.undo().wait()
        never, state = in_time(tracker, objects, clicked=False)
        assert all_equal(undone, never[CLICKED:])
        assert video.snapshot() == state
        assert not all_equal(undone, expected[CLICKED:])


def test_with_frames_in_flight_under_asyncio(server: Server) -> None:
    async def play() -> tuple[list[TrackedFrame], bytes]:
        async with AsyncTracker(server.grpc_url) as tracker, tracker.open(history_s=3600) as video:
            begin(video, 2)
            results = []
            async for result in video.track_many(FRAMES[:20], in_flight=4):
                results.append(result)
                if result.frame_index == 14:
                    async with video.rewind(CLICKED) as past:
                        past.prompt(1, points=[LATE])
            again = await past.wait()
            return results[:CLICKED] + again + results[CLICKED + len(again) :], await video.snapshot()

    found, state = asyncio.run(play())
    with Tracker(server.grpc_url) as tracker, tracker.open() as video:
        begin(video, 2)
        expected = []
        for index, frame in enumerate(FRAMES[:20]):
            if index == CLICKED:
                video.prompt(1, points=[LATE])
            expected.append(video.track(frame))
        assert video.snapshot() == state
    assert [one.rles for one in found] == [one.rles for one in expected]


def test_across_a_server_that_is_killed(server: Server, repository: Path, serving_python: Path) -> None:
    with Server(repository, python=serving_python, grpc_port=0, http_port=0, metrics_port=0, exit_timeout_s=1) as doomed:
        tracker = Tracker([doomed.grpc_url, server.grpc_url])
        with tracker, tracker.open(resilient=True, history_s=3600) as video:
            begin(video, 2)
            results = live(video, range(17))
            with video.rewind(CLICKED) as past:
                past.prompt(1, points=[LATE])
            doomed.stop(graceful=False)
            results += live(video, range(17, 24))
            again = past.wait()
            results[CLICKED : CLICKED + len(again)] = again
            results += live(video, range(24, COUNT))
            state = video.snapshot()
    with Tracker(server.grpc_url) as tracker:
        expected, wanted = in_time(tracker, 2)
    assert all_equal(results, expected)
    assert state == wanted
