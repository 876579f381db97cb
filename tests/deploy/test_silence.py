"""A person looks at a frame for longer than a server remembers a silent video."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from masklet import AsyncTracker, Tracker, VideoLost
from masklet_build.serve import Server
from tests.deploy.nano_server import ServeNano
from tests.serving.agreement import all_equal
from tests.serving.clips import clip
from tests.serving.scraping import eventually, scrape

pytestmark = pytest.mark.server

IDLE_S = 6.0  # of the server
FRAMES = clip(6, 96, 128, seed=7)


@pytest.fixture(scope="module")
def forgetful(serve_nano: ServeNano) -> Iterator[Server]:
    with serve_nano({"idle_seconds": f"{IDLE_S:g}"}) as server:
        yield server


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """As 20 s are to the 75 s of a server as it comes."""
    monkeypatch.setattr("masklet.connection.keep_alive.SILENCE_S", IDLE_S / 4)
    monkeypatch.setattr("masklet.connection.keep_alive.LOOK_S", IDLE_S / 16)


def expired(server: Server) -> float:
    return scrape(server)[1].get('videos_ended_total{how="expired"}', 0.0)


def test_videos_that_are_kept_alive_outlive_one_that_is_not_and_neither_frames_nor_masks_change(forgetful):
    with Tracker(forgetful.grpc_url) as tracker, Tracker(forgetful.grpc_url, keep_alive_s=0) as forgetting:
        with tracker.open() as alone:
            alone.prompt(1, points=[(40, 40)])
            undisturbed = [alone.track(frame, logits=True) for frame in FRAMES]
        videos, clock = [tracker.open(), tracker.open(resilient=True)], forgetting.open()
        for video in videos:
            video.prompt(1, points=[(40, 40)])
        results = [[video.track(frame, logits=True) for frame in FRAMES[:3]] for video in videos]
        before = scrape(forgetful)[1]
        for _ in range(2):  # as long as it takes the server to forget a video, twice
            count = expired(forgetful)
            clock.track(FRAMES[0])
            assert eventually(forgetful, lambda now, count=count: now['videos_ended_total{how="expired"}'] == count + 1)
            assert expired(forgetful) == count + 1
            with pytest.raises(VideoLost, match=rf"silent for over {IDLE_S:g} s \(idle_seconds of memory_bank.*heard nothing of the video for \d+ s"):
                clock.track(FRAMES[0])
            clock = forgetting.open()
        after = scrape(forgetful)[1]
        assert after["frames_total"] - before["frames_total"] == 2, "those of the other videos"
        assert after.get('refusals_total{code="BAD_REQUEST"}', 0) == before.get('refusals_total{code="BAD_REQUEST"}', 0)
        for video, begun in zip(videos, results, strict=True):
            begun += [video.track(frame, logits=True) for frame in FRAMES[3:]]
            assert not video.interruptions
            video.close()
            assert all_equal(begun, undisturbed)


def test_the_video_of_an_event_loop_is_kept_alive_while_that_runs(forgetful):
    async def think() -> int:
        async with AsyncTracker(forgetful.grpc_url) as tracker, tracker.open() as video:
            await video.track(FRAMES[0])
            began = time.monotonic()
            while time.monotonic() < began + 2 * IDLE_S:
                await asyncio.sleep(IDLE_S / 8)
            return (await video.track(FRAMES[1])).frame_index

    assert asyncio.run(think()) == 1
