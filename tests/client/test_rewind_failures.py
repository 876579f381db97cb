"""A rewind that cannot be: the video goes on as if there had been none, the error says what to do, and it may be tried again."""

from __future__ import annotations

import asyncio
import logging
import os

import pytest

from masklet import AsyncTracker, BadFrameIndex, BadPrompt, BadRequest, ServerBusy, Tracker, UnknownObject, VideoLost
from masklet.testing import Broken
from tests.client.test_rewind import CLICKS, COUNT, FRAMES, START, in_time, late, same, sent
from tests.fakes.recalling import SIDE, Recalling

FAR = {"points": [(9 * SIDE, 0)]}  # which a server refuses


@pytest.fixture
def server():
    return Recalling()


@pytest.fixture
def open_video(make_tracker, server):
    return make_tracker("here:1", transport=server, timeout_s=30).open


@pytest.fixture
def video(open_video):
    with open_video(history_s=1e6) as video:
        yield video


def goes_on(video, live):
    """Whether everything is as if there had been no rewind; then one that is made."""
    expected, _ = in_time(START)
    assert same(live + sent(video, range(len(live), 30)), expected[:30])
    clicked, state = in_time(START, (25, 1, CLICKS[2]))
    assert same(late(video, 25, (1, CLICKS[2])) + sent(video, range(30, COUNT)), clicked[25:])
    return video.snapshot() == state


def test_the_server_refuses_the_prompt(video):
    live = sent(video, range(20), START)
    with pytest.raises(BadPrompt, match="pixels"):
        late(video, 10, (1, FAR))
    with pytest.raises(UnknownObject):
        late(video, 10, (7, None))
    assert goes_on(video, live)


def of_branch(server, fault, after=1):
    """Has every request of the second video fail, from this one on."""
    seen = []

    def failing(request):
        first = server.requests[0].video_id
        if request.video_id == first or request.end:
            return None
        seen.append(request)
        return fault(request) if len(seen) >= after else None

    server.fault = failing


def test_no_room_for_another_video(server, video):
    live = sent(video, range(20), START)
    of_branch(server, lambda request: ServerBusy("2 videos are live, which is this server's limit. Retry in 7 s."))
    with pytest.raises(ServerBusy, match="limit") as error:
        late(video, 10, (1, CLICKS[2]))
    assert error.value.retry_after_s == 7
    server.fault = lambda request: None
    assert goes_on(video, live)


def test_the_branch_is_lost(server, video):
    live = sent(video, range(20), START)
    of_branch(server, lambda request: Broken("UNAVAILABLE Socket closed"), after=4)
    with video.rewind(10) as past:
        past.prompt(1, **CLICKS[2])
    live += sent(video, range(20, 22))
    with pytest.raises(VideoLost, match="broke"):
        past.wait()
    server.fault = lambda request: None
    assert goes_on(video, live)


def test_who_does_not_wait_finds_it_in_the_log(server, open_video, caplog):
    with caplog.at_level(logging.WARNING, "masklet"), open_video(history_s=1e6) as video:
        sent(video, range(20), START)
        of_branch(server, lambda request: Broken("UNAVAILABLE Socket closed"), after=4)
        with video.rewind(10) as past:
            past.prompt(1, **CLICKS[2])
        while not past.done:
            video.snapshot()
    assert "the rewind to frame 10 failed, and the video goes on without it: the stream to here:1 broke" in caplog.text


def test_the_live_video_is_lost_while_the_branch_is_on_its_way(server, open_video):
    video = open_video(history_s=1e6)
    sent(video, range(20), START)
    server.fault = lambda request: Broken("UNAVAILABLE Socket closed") if request.video_id == video.video_id else None
    with pytest.raises(VideoLost):
        video.track(FRAMES[20])
    with pytest.raises(VideoLost), video.rewind(10):
        pass
    video.close()


@pytest.mark.parametrize("after", [2, 12])
def test_a_branch_that_is_silent_does_not_hold_up_the_video(server, open_video, monkeypatch, after):
    """Neither far from the head nor near it, where the video waits for it to take over."""
    monkeypatch.setattr("masklet.history.head._PATIENCE_S", 0.05)
    monkeypatch.setattr("masklet.connection.session._END_S", 0.05)
    expected, _ = in_time(START)
    with open_video(history_s=1e6) as video:
        live = sent(video, range(20), START)
        of_branch(server, lambda request: "silent", after=after)
        with video.rewind(10) as past:
            past.prompt(1, **CLICKS[2])
        assert same(live + sent(video, range(20, 30)), expected[:30])
        assert not past.done


def test_close_ends_what_is_under_way(server, open_video, monkeypatch):
    monkeypatch.setattr("masklet.connection.session._END_S", 0.05)
    video = open_video(history_s=1e6)
    sent(video, range(20), START)
    of_branch(server, lambda request: "silent", after=3)
    with video.rewind(10) as past:
        past.prompt(1, **CLICKS[2])
    video.snapshot()
    video.close()
    with pytest.raises(VideoLost, match="closed"):
        past.wait()
    assert {request.video_id for request in server.requests if request.end} == server.videos, "the branch, too, if it began"


@pytest.mark.parametrize("rewinds", [1, 3])
def test_videos_that_were_left_are_ended(server, open_video, rewinds):
    with open_video(history_s=1e6) as video:
        sent(video, range(20), START)
        for number in range(rewinds):
            late(video, 10 + number, (1, CLICKS[2 + number]))
    assert len(server.videos) == 1 + rewinds
    assert {request.video_id for request in server.requests if request.end} == server.videos


def test_a_branch_has_a_name_of_its_own(server, open_video):
    with open_video("door", history_s=1e6) as video:
        sent(video, range(9), START)
        late(video, 4, (1, CLICKS[2]))
        assert video.video_id.startswith("door~")
    assert server.videos == {"door", video.video_id}


def test_a_head_that_is_slow_holds_the_branch_up_and_no_longer(server, open_video, monkeypatch):
    """Where the live video stops to wait, the branch asks for its turn again."""
    monkeypatch.setattr("masklet.history.head._PATIENCE_S", 0.0)
    monkeypatch.setattr("masklet.history.head._SLOW", 0)
    expected, state = in_time(START, (10, 1, CLICKS[2]))
    with open_video(history_s=1e6) as video:
        sent(video, range(20), START)
        with video.rewind(10) as past:
            past.prompt(1, **CLICKS[2])
        sent(video, range(20, 30))
        past.wait()
        assert same(sent(video, range(30, COUNT)), expected[30:])
        assert video.snapshot() == state


def test_without_history_there_is_no_way_back(open_video):
    with open_video() as video:
        sent(video, range(3), START)
        with pytest.raises(BadRequest, match=r"open\(history_s=10\)"):
            video.rewind(1)
        with pytest.raises(BadRequest, match="history_s"):
            video.undo()


def test_frames_that_cannot_be_reached_are_told_with_the_oldest_that_can(video):
    with pytest.raises(BadFrameIndex, match="no frame can be reached yet"), video.rewind(0):
        pass
    video.prompt(1, **CLICKS[1])
    for index in (4, 5, 9):
        video.track(FRAMES[index], frame_index=index)
    with (
        pytest.raises(BadFrameIndex, match=r"frame 2 cannot be reached: the oldest frame that can is 4, the newest 9 .*history_s=1e\+06"),
        video.rewind(2),
    ):
        pass
    with pytest.raises(BadFrameIndex, match="the oldest frame that can is 4, the newest 9"), video.rewind(10):
        pass
    with pytest.raises(BadFrameIndex, match=r"frame 7 was not tracked, .* nearest one that was is 5"), video.rewind(7):
        pass
    with pytest.raises(BadRequest, match="no rewind to take back"):
        video.undo()


def test_prompts_belong_into_the_block(video):
    sent(video, range(3), START)
    past = video.rewind(1)
    with pytest.raises(RuntimeError, match="inside its `with` block"):
        past.prompt(1, **CLICKS[2])
    with pytest.raises(RuntimeError, match="nothing to wait for"):
        past.wait()
    with past, pytest.raises(BadPrompt):
        past.prompt(1)
    with past, pytest.raises(BadPrompt):
        past.prompt(1, points=[(1, 2, 3)])


@pytest.mark.parametrize("wrong", [{"history_s": 0}, {"history_s": -1}, {"history_s": 10, "history_bytes": 0}])
def test_history_is_above_0(open_video, wrong):
    with pytest.raises(ValueError, match="must be above 0, got"):
        open_video(**wrong)


def test_a_forked_child_and_another_loop_are_told():
    with Tracker("here:1", transport=Recalling()) as tracker, tracker.open(history_s=10) as video:
        sent(video, range(3), START)
        past = video.rewind(1)
        read, write = os.pipe()
        if (child := os.fork()) == 0:
            try:
                past.__enter__()
            except RuntimeError:
                os.write(write, b"told")
            os._exit(0)
        os.waitpid(child, 0)
        assert os.read(read, 9) == b"told"

    async def opened():
        video = await AsyncTracker("here:1", transport=Recalling()).open(history_s=10)
        video.prompt(1, **CLICKS[1])
        await video.track(FRAMES[0])
        return video

    async def elsewhere(video):
        async with video.rewind(0):
            pass

    video = asyncio.run(opened())
    with pytest.raises(RuntimeError, match="another event loop"):
        asyncio.run(elsewhere(video))
