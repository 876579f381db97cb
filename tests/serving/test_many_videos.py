"""Many videos at once: each gets the masks that it gets alone, although the memory bank runs them together."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

import numpy as np
import pytest
import tritonclient.grpc as grpc

from masklet import AsyncTracker, AsyncVideo, TrackedFrame
from masklet_build.serve import Server
from serving.agreement import assert_close, equal
from serving.clips import clip

pytestmark = [pytest.mark.server, pytest.mark.torch]

VIDEOS = 32
FRAMES = 12
PROMPTED_AGAIN = 5  # frame that every third video gets another prompt on


@dataclass(frozen=True)
class Film:
    """One video: everything about it follows from its number."""

    number: int

    @property
    def size(self) -> tuple[int, int]:
        return 48 + 16 * (self.number % 5), 64 + 16 * (self.number % 4)

    @property
    def in_flight(self) -> int:
        return 2 + self.number % 3

    @property
    def delay(self) -> float:
        return 0.05 * (self.number % 7)

    def prompt(self, video: AsyncVideo, index: int) -> None:
        if index == 0:
            for object_id in range(1 + self.number % 4):
                self._prompt(video, object_id, self.number + object_id)
        elif index == PROMPTED_AGAIN and self.number % 3 == 0:
            self._prompt(video, self.number % 5, self.number + 1)  # of a known object, or of one that joins

    def _prompt(self, video: AsyncVideo, object_id: int, kind: int) -> None:
        height, width = self.size
        x, y = width * (0.2 + 0.2 * object_id) / 2, height * (0.3 + 0.1 * (self.number % 4))
        if kind % 3 == 0:
            video.prompt(object_id, points=[(x, y), (width - 2, 2)], labels=[1, 0])
        elif kind % 3 == 1:
            video.prompt(object_id, box=(x / 2, y / 2, width / 2 + x, y + 15))
        else:
            video.prompt(object_id, mask=np.hypot(*np.mgrid[-y : height - y, -x : width - x]) < 14)


async def play(tracker: AsyncTracker, film: Film) -> list[TrackedFrame]:
    """Sends a film with several frames on their way. Tasks send in the order in which they were made."""
    await asyncio.sleep(film.delay)
    results: list[TrackedFrame] = []
    async with tracker.open() as video:
        on_their_way: deque[asyncio.Task[TrackedFrame]] = deque()
        for index, frame in enumerate(clip(FRAMES, *film.size, seed=film.number)):
            if len(on_their_way) == film.in_flight:
                results.append(await on_their_way.popleft())
            film.prompt(video, index)
            on_their_way.append(asyncio.create_task(video.track(frame, logits=True)))
            await asyncio.sleep(0)  # the task sends, and takes the prompts with it
        results += [await task for task in on_their_way]
    return results


async def play_all(url: str, together: bool) -> list[list[TrackedFrame]]:
    films = [Film(number) for number in range(VIDEOS)]
    async with AsyncTracker(url, timeout_s=60) as tracker:
        if together:
            return await asyncio.gather(*(play(tracker, film) for film in films))
        return [await play(tracker, film) for film in films]


def executions(server: Server) -> np.ndarray:
    """How many frames the memory bank has answered, and in how many executions."""
    with grpc.InferenceServerClient(server.grpc_url) as client:
        (statistics,) = client.get_inference_statistics("memory_bank").model_stats
    return np.array([statistics.inference_count, statistics.execution_count])


def test_every_video_among_32_gets_the_masks_that_it_gets_alone(small_server: Server) -> None:
    before = executions(small_server)
    together = asyncio.run(play_all(small_server.grpc_url, together=True))
    frames, runs = executions(small_server) - before
    alone = asyncio.run(play_all(small_server.grpc_url, together=False))
    bitwise = 0
    for results, expected in zip(together, alone, strict=True):
        assert [result.frame_index for result in results] == list(range(FRAMES))
        for result, wanted in zip(results, expected, strict=True):
            assert_close(result, wanted)
            bitwise += equal(result, wanted)
    worst = max(
        float(np.abs(one.logits - other.logits).max()) for pair in zip(together, alone, strict=True) for one, other in zip(*pair, strict=True)
    )
    print(
        f"{frames / runs:.1f} videos per execution of the memory bank; {bitwise} of {VIDEOS * FRAMES} frames equal to the last bit, worst {worst:.2g}"
    )
    assert frames == VIDEOS * (FRAMES + 1), "and one END each"
    assert frames > 2 * runs, "the bank took the videos one by one, so nothing was tested"
