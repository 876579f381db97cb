"""What a rewind sends again: what was sent, as it was sent, and nothing where there is no rewind."""

from __future__ import annotations

import json
from contextlib import suppress

import numpy as np
import pytest

from masklet import BadFrame, Tracker
from masklet.concurrency.threads import finish
from masklet.wire import Options
from tests.client.rewinds import CLICKS, COUNT, FRAMES, START, in_time, late, same, sent
from tests.fakes.recalling import Recalling

pytestmark = pytest.mark.usefixtures("many_snapshots")


@pytest.fixture
def server():
    return Recalling()


@pytest.fixture
def video(make_tracker, server):
    with make_tracker("here:1", transport=server).open(history_s=1e6) as video:
        yield video


def test_refined_frames_prompts_ahead_and_frames_in_several_requests_are_replayed_as_they_were(video, monkeypatch):
    monkeypatch.setattr("masklet.connection.parts.MAX_PROMPTS", 2)

    def play(video, click):
        results = []

        def track(index, **options):
            results.append(video.track(FRAMES[index], frame_index=index, logits=True, **options))

        video.prompt(1, **CLICKS[1])
        track(6, track=False)
        video.prompt(1, **CLICKS[2])
        track(0)
        for index in range(1, 4):
            track(index)
        if click:
            click(video)
        track(4)
        for number in (2, 3, 4, 5):  # in two requests
            video.prompt(number, **CLICKS[number])
        track(5)
        video.prompt(3, **CLICKS[6])
        track(5, refine=True)
        for index in range(6, 14):
            track(index)
        return results

    with Tracker("here:1", transport=Recalling()) as tracker, tracker.open() as timely:
        expected, state = play(timely, lambda video: video.prompt(1, **CLICKS[6])), timely.snapshot()
    live = play(video, None)
    assert not same(live[5:], expected[5:])
    assert same(late(video, 4, (1, CLICKS[6])), expected[5:])
    assert video.snapshot() == state


def test_a_click_may_make_a_frame_one_of_several_requests(video, monkeypatch):
    monkeypatch.setattr("masklet.connection.parts.MAX_PROMPTS", 2)
    prompts = [START, *((5, number, CLICKS[number]) for number in (2, 3, 4))]
    expected, state = in_time(*prompts, (5, 5, CLICKS[5]), frames=range(12))
    live = sent(video, range(12), *prompts)
    assert same(live[:5] + late(video, 5, (5, CLICKS[5])), expected)
    assert video.snapshot() == state


def test_a_video_in_reverse(video):
    frames = range(COUNT - 1, 0, -1)
    first = (frames[0], 1, CLICKS[1])
    expected, state = in_time(first, (30, 1, CLICKS[2]), frames=frames, reverse=True)
    sent(video, frames[:20], first, reverse=True)
    assert same(late(video, 30, (1, CLICKS[2])), expected[9:20])
    sent(video, frames[20:], reverse=True)
    assert video.snapshot() == state


def test_a_restored_video_goes_back_to_where_it_was_restored(make_tracker, server):
    expected, _ = in_time(START, (10, 2, CLICKS[2]))
    _, state = in_time(START, frames=range(10))
    with make_tracker("here:1", transport=server).open(state=state, history_s=1e6) as video:
        sent(video, range(10, 15))
        assert same(late(video, 10, (2, CLICKS[2])), expected[10:15])


def test_prompts_of_refused_frames_go_along_to_the_branch(video):
    """Those that wait for the next frame when the branch takes over; and those that went with it before, which are part of what was sent."""
    expected, state = in_time(START, (8, 2, CLICKS[2]), (12, 3, CLICKS[3]), (5, 4, CLICKS[4]), frames=range(20))
    sent(video, range(8), START)
    for index, number in ((8, 2), (12, 3)):
        video.prompt(number, **CLICKS[number])
        with pytest.raises(BadFrame, match="go with the next frame"):
            video.track(b"no image")
        if index == 8:
            sent(video, range(8, 12))
    video.prompt(5, **CLICKS[5])
    again = late(video, 5, (4, CLICKS[4]))
    assert same(again, expected[5:12])
    video.remove(5)
    assert same(sent(video, range(12, 20)), expected[12:])
    assert video.snapshot() == state


def test_prompts_that_joined_a_frame_when_it_was_sent_are_those_that_it_had():
    """Frames behind the first wait for its answer; where that is refused its prompts go with the second."""
    expected, state = in_time(START, (6, 2, CLICKS[2]), frames=range(12))
    with Tracker("here:1", transport=Recalling()) as tracker, tracker.open(history_s=1e6) as video:
        video.prompt(1, **CLICKS[1])
        calls = [video._video._calls.send(frame) for frame in (b"no image", FRAMES[0])]
        with pytest.raises(BadFrame):
            finish(video._video._calls.finish(calls[0]))
        assert finish(video._video._calls.finish(calls[1])).object_ids == (1,)
        sent(video, range(1, 10))
        assert same(late(video, 6, (2, CLICKS[2])) + sent(video, range(10, 12)), expected[6:])
        assert video.snapshot() == state


def test_a_frame_that_is_refused_on_its_way_is_not_replayed_and_its_prompts_go_on():
    expected, state = in_time(START, (10, 3, CLICKS[3]), (22, 2, CLICKS[2]), frames=range(25))
    with Tracker("here:1", transport=Recalling()) as tracker, tracker.open(history_s=1e6) as video:
        sent(video, range(20), START)
        send, outcome = video._video._calls.send, lambda call: finish(video._video._calls.finish(call))
        calls = [send(FRAMES[20])]
        video.prompt(2, **CLICKS[2])
        calls += [send(b"no image"), send(FRAMES[21])]
        again = late(video, 10, (3, CLICKS[3]))
        assert [result.frame_index for result in again] == list(range(10, 22)), "those on their way, too"
        assert outcome(calls[0]).frame_index == 20
        with pytest.raises(BadFrame, match="go with the next frame"):
            outcome(calls[1])
        assert outcome(calls[2]).object_ids == (1,), "of the video as it was"
        assert same(sent(video, range(22, 25)), expected[22:])
        assert video.snapshot() == state


def test_what_comes_again_is_what_was_asked_for_then(video, server):
    video.prompt(1, **CLICKS[1])
    forms = ["bitmap", "rle", "none"]
    for index in range(12):
        video.track(FRAMES[index], masks=forms[index % 3], logits=index == 9, snapshot=index == 10, tag=f"tag {index}")
    before = len(server.requests)
    again = late(video, 8, (1, CLICKS[2]))
    asked = [Options.parse(request.parameters) for request in server.requests[before:] if "FRAME" in request.tensors]
    assert [options.masks for options in asked] == [forms[index % 3] for index in range(8, 12)], "from the snapshot of frame 7 on"
    assert [options.frame_index for options in asked] == [8, 9, 10, 11]
    assert [result.logits is not None for result in again] == [False, True, False, False]
    assert [result.snapshot is not None for result in again] == [False, False, True, False]
    assert [result.tag for result in again] == [f"tag {index}" for index in range(8, 12)]
    assert all(np.array_equal(result.frame, FRAMES[result.frame_index]) for result in again)


def test_frames_before_the_click_are_replayed_without_masks(video, server):
    sent(video, range(7), START)
    before = len(server.requests)
    late(video, 5, (1, CLICKS[2]))
    asked = [Options.parse(request.parameters) for request in server.requests[before:] if "FRAME" in request.tensors]
    assert [(options.masks, options.logits) for options in asked] == [("none", False)] * 5 + [("bitmap", True)] * 2


@pytest.mark.parametrize("history_s", [None, 1e6])
def test_only_history_asks_for_snapshots(make_tracker, server, history_s):
    with make_tracker("here:1", transport=server).open(history_s=history_s) as video:
        results = sent(video, range(20), START)
    asked = ["snapshot" in request.parameters for request in server.requests if "FRAME" in request.tensors]
    assert [index for index, snapshot in enumerate(asked) if snapshot] == ([7, 15] if history_s else [])
    assert [result.snapshot for result in results] == [None] * 20, "the caller did not ask"
    assert len(server.videos) == 1
    assert [json.loads(request.tensors["PROMPTS"][0, 0]) for request in server.requests[1:]] == [[]] * 20


def test_a_block_without_prompts_or_with_an_error_changes_nothing(video, server):
    sent(video, range(7), START)
    with video.rewind(3) as past:
        pass
    assert past.wait() == []
    with suppress(ZeroDivisionError), video.rewind(3) as past:
        past.prompt(1, **CLICKS[2])
        raise ZeroDivisionError
    assert past.wait() == []
    assert len(server.videos) == 1
