"""A camera of 30 frames/s before a whole server of nano that is slower: what is sent, when, and what results say of it."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from masklet import AsyncTracker, TrackedFrame, Tracker
from masklet.families import NANO
from masklet.recording import read
from masklet.sources import Frame, Source, newest
from masklet_build import nano
from masklet_build.repository.assemble import assemble
from masklet_build.serve import Server
from tests.serving.clips import clip

pytestmark = pytest.mark.server

COUNT = 60
SIZE = (360, 640)
OBJECTS = 12
MOST = 2  # frames on their way


@pytest.fixture(scope="module")
def server(serving_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    repository = assemble(NANO.name, nano.ENGINES, tmp_path_factory.mktemp("nano") / "repository")
    with Server(repository, python=serving_python, grpc_port=0, http_port=0, metrics_port=0, exit_timeout_s=1) as server:
        yield server


class Camera:
    """Gives drawn frames by the clock, each with its number in its first pixel.

    kept    when the reader had surely kept a frame, by number
    asked   when a frame was asked for, and its number; filled by `watched`
    """

    def __init__(self, fps: float) -> None:
        self.fps = fps
        self.kept: list[float] = []
        self.asked: list[tuple[float, int]] = []
        self._pictures = list(clip(8, *SIZE, seed=7))

    def __iter__(self) -> Iterator[np.ndarray]:
        begin = time.monotonic()
        for number in range(COUNT):
            time.sleep(max(0.0, begin + number / self.fps - time.monotonic()))
            picture = self._pictures[number % len(self._pictures)].copy()
            picture[0, 0] = number
            yield picture
            self.kept.append(time.monotonic())


class Watched:
    """A live source that notes when it is asked, and what it gives."""

    live = True

    def __init__(self, source: Source, camera: Camera) -> None:
        self._source, self._camera = source, camera

    def __iter__(self) -> Iterator[Frame]:
        while True:
            asked = time.monotonic()
            if (frame := next(self._source, None)) is None:
                return
            self._camera.asked.append((asked, number_of(frame.image)))
            yield frame


def number_of(picture: np.ndarray) -> int:
    return int(picture.reshape(-1)[0])


@pytest.fixture(scope="module")
def fps(server: Server) -> float:
    """Of a camera that is faster than the server, also on a machine where that is fast."""
    with Tracker(server.grpc_url) as tracker, tracker.open() as video:
        for object_id, point in points():
            video.prompt(object_id, points=[point])
        times = []
        for picture in clip(8, *SIZE, seed=7):
            begin = time.monotonic()
            video.track(picture, masks="none")
            times.append(time.monotonic() - begin)
    return max(30.0, 3 / sorted(times)[1])


def points() -> Iterator[tuple[int, tuple[int, int]]]:
    return zip(range(1, OBJECTS + 1), itertools.product(range(60, 640, 160), range(60, 360, 120)), strict=True)


def with_threads(url: str, camera: Camera, folder: Path) -> list[TrackedFrame]:
    with Tracker(url, record=folder) as tracker, newest(camera) as source, tracker.open() as video:
        for object_id, point in points():
            video.prompt(object_id, points=[point])
        return list(video.follow(Watched(source, camera), masks="none"))


def with_asyncio(url: str, camera: Camera, folder: Path) -> list[TrackedFrame]:
    async def play() -> list[TrackedFrame]:
        with newest(camera) as source:
            async with AsyncTracker(url, record=folder) as tracker, tracker.open() as video:
                for object_id, point in points():
                    video.prompt(object_id, points=[point])
                return [one async for one in video.follow(Watched(source, camera), masks="none")]

    return asyncio.run(play())


@pytest.mark.parametrize("follow", [with_threads, with_asyncio])
def test_a_camera_before_a_slower_server(server: Server, fps: float, tmp_path: Path, follow) -> None:
    camera = Camera(fps)
    results = follow(server.grpc_url, camera, tmp_path)
    first, indices = number_of(results[0].frame.image), [one.frame_index for one in results]
    assert indices[0] == 0
    assert indices == sorted(set(indices))
    assert first + indices[-1] == COUNT - 1, "the last frame of all is the newest for ever"
    for before, one in itertools.pairwise(results):
        assert one.skipped == one.frame_index - before.frame_index - 1
        assert one.label == ("skipped" if one.skipped else "live")
    assert sum(one.skipped for one in results) > 0
    assert all(one.object_ids == tuple(range(1, OBJECTS + 1)) for one in results)
    assert all(one.age_s is not None and one.age_s > 0 for one in results)

    assert [number for _, number in camera.asked] == [number_of(one.frame.image) for one in results]
    assert [number - first for _, number in camera.asked] == indices, "the picture is that of the index"
    for asked, number in camera.asked:
        assert number == COUNT - 1 or camera.kept[number + 1] > asked, "a newer one was there"

    sent = [one for one in read(tmp_path).exchanges if "FRAME" in one.request.tensors]
    assert [number_of(one.request.tensors["FRAME"]) - first for one in sent] == indices
    ends = sorted([(one.sent_s, 1) for one in sent] + [(one.answered_s, -1) for one in sent])
    assert max(itertools.accumulate(step for _, step in ends)) <= MOST
