"""A video whose frames come faster than they can be answered waits for itself; the others go on."""

from __future__ import annotations

import asyncio

import pytest

from masklet import AsyncTracker
from masklet_build.serve import Server
from tests.serving.clips import clip

pytestmark = [pytest.mark.server, pytest.mark.torch]

FLOOD = 300  # frames that one video sends without waiting for answers
QUIET = 10  # frames of the other, which sends one at a time
FRAMES = clip(QUIET, seed=6)


async def flood_and_track(url: str) -> list[tuple[str, int]]:
    """The answers in the order in which they came: which video, and the index of the frame."""
    answers: list[tuple[str, int]] = []
    flooded = asyncio.Event()

    async def flood(tracker: AsyncTracker) -> None:
        async with tracker.open() as video:
            video.prompt(1, box=(10, 8, 40, 40))
            for task in [asyncio.create_task(video.track(FRAMES[index % QUIET])) for index in range(FLOOD)]:
                answers.append(("flood", (await task).frame_index))
                flooded.set()

    async def track(tracker: AsyncTracker) -> None:
        await flooded.wait()
        async with tracker.open() as video:
            video.prompt(1, box=(10, 8, 40, 40))
            for frame in FRAMES:
                answers.append(("quiet", (await video.track(frame)).frame_index))

    async with AsyncTracker(url, timeout_s=60) as tracker:
        await asyncio.gather(flood(tracker), track(tracker))
    return answers


def test_a_flood_of_frames_holds_up_its_own_video_only(small_server: Server) -> None:
    answers = asyncio.run(flood_and_track(small_server.grpc_url))
    assert [index for video, index in answers if video == "quiet"] == list(range(QUIET))
    assert [index for video, index in answers if video == "flood"] == list(range(FLOOD)), "its own frames stay in order, too"
    passed = [answers.index(("quiet", index)) - index for index in range(QUIET)]
    print(f"frames of the flood that were answered before each frame of the quiet video: {passed}")
    assert passed[-1] < FLOOD / 3, "the quiet video's frames waited for the flood, not for a few frames of it"
