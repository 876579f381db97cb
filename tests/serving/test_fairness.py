"""A video whose frames come faster than they can be answered waits for itself; the others go on."""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import pairwise

import pytest

from masklet import AsyncTracker
from masklet_build.serve import Server
from tests.serving.clips import clip

pytestmark = [pytest.mark.server, pytest.mark.torch]

FLOOD = 300  # frames of one video that wait for answers, as long as the other lasts
QUIET = 10  # frames of the other, which sends one at a time
FRAMES = clip(QUIET, seed=6)


async def flood_and_track(url: str) -> list[tuple[str, int]]:
    """The answers in the order in which they came: which video, and the index of the frame. "begun" is no answer: the other video begins."""
    answers: list[tuple[str, int]] = []
    flooded, over = asyncio.Event(), asyncio.Event()

    async def flood(tracker: AsyncTracker) -> None:
        async with tracker.open() as video:
            video.prompt(1, box=(10, 8, 40, 40))
            waiting = deque(asyncio.create_task(video.track(FRAMES[index % QUIET])) for index in range(FLOOD))
            while waiting:
                answers.append(("flood", (await waiting.popleft()).frame_index))
                flooded.set()
                if not over.is_set():
                    waiting.append(asyncio.create_task(video.track(FRAMES[0])))
                await asyncio.sleep(0)  # of many answers that are there already none is ahead of the other video's

    async def track(tracker: AsyncTracker) -> None:
        await flooded.wait()
        answers.append(("begun", 0))
        async with tracker.open() as video:
            video.prompt(1, box=(10, 8, 40, 40))
            for frame in FRAMES:
                answers.append(("quiet", (await video.track(frame)).frame_index))
        over.set()

    async with AsyncTracker(url, timeout_s=60) as tracker:
        await asyncio.gather(flood(tracker), track(tracker))
    return answers


def test_a_flood_of_frames_holds_up_its_own_video_only(small_server: Server) -> None:
    answers = asyncio.run(flood_and_track(small_server.grpc_url))
    assert [index for video, index in answers if video == "quiet"] == list(range(QUIET))
    of_flood = [index for video, index in answers if video == "flood"]
    assert of_flood == list(range(len(of_flood))), "its own frames stay in order, too"
    places = [place for place, (video, _) in enumerate(answers) if video != "flood"]
    waited = [answer - earlier - 1 for earlier, answer in pairwise(places)]
    print(f"frames of the flood that were answered while each frame of the quiet video waited: {waited}")
    # In one queue for both, the first alone would wait for FLOOD frames, and some of those behind it for the frames that come after.
    assert sum(waited) < FLOOD, "the quiet video's frames waited for the flood, not for a few frames of it"
