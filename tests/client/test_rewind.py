"""Prompts for a frame that is over: late is as good as in time, to the last bit."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest

from masklet import BadFrame, Tracker, UnknownObject
from masklet.concurrency.threads import finish
from masklet.masks import Masks
from masklet.wire import Options
from tests.fakes.bank_driver import VARIANT
from tests.fakes.recalling import Recalling, pictures
from tests.serving.agreement import equal

COUNT = 40
FRAMES = pictures(COUNT)
CLICKS = {number: {"points": [(3 + 4 * number, 5 * number)]} for number in range(1, 7)}
START = (0, 1, CLICKS[1])  # frame, object, prompt


@pytest.fixture(autouse=True)
def many_snapshots(monkeypatch):
    """However slow this machine is: none is thinned out for age."""
    monkeypatch.setattr("masklet.history.log.OLD_S", 1e6)


@pytest.fixture
def server():
    return Recalling()


@pytest.fixture
def video(make_tracker, server):
    with make_tracker("here:1", transport=server).open(history_s=1e6) as video:
        yield video


def give(target, *prompts):
    for object_id, prompt in prompts:
        target.remove(object_id) if prompt is None else target.prompt(object_id, **prompt)


def sent(video, frames, *prompts, **options):
    """Results of these frames; prompts are (frame, object, arguments), no arguments: its removal."""
    results = []
    for index in frames:
        give(video, *(prompt for at, *prompt in prompts if at == index))
        results.append(video.track(FRAMES[index], frame_index=index, logits=True, **options))
    return results


def in_time(*prompts, frames=range(COUNT), **options):
    """Results of a video of these frames whose prompts came in time, and its state at the end."""
    with Tracker("here:1", transport=Recalling()) as tracker, tracker.open() as video:
        return sent(video, frames, *prompts, **options), video.snapshot()


def same(some, others):
    assert len(some) == len(others)
    return all(equal(one, other) for one, other in zip(some, others, strict=True))


def late(video, frame_index, *prompts):
    """The results that come again."""
    with video.rewind(frame_index) as past:
        give(past, *prompts)
    return past.wait()


@pytest.mark.parametrize("objects", [1, 2, 4])
def test_a_late_click_is_one_in_time(video, objects):
    first = [(0, number, CLICKS[number]) for number in range(1, objects + 1)]
    expected, state = in_time(*first, (20, 1, CLICKS[5]))
    live = sent(video, range(30), *first)
    again = late(video, 20, (1, CLICKS[5]))
    live[20:] = [*again, *sent(video, range(30, COUNT))]
    assert same(live, expected)
    assert video.snapshot() == state
    assert [result.label for result in again] == ["replayed"] * 10
    untouched, _ = in_time(*first)
    assert not np.array_equal(expected[20].logits[0], untouched[20].logits[0])
    assert same([*map(others, live)], [*map(others, untouched)]), "the click is for object 1 alone"


def others(result):
    rest = {name: getattr(result, name)[1:] for name in ("boxes", "scores", "ious", "logits")}
    return replace(result, object_ids=result.object_ids[1:], _masks=Masks.of(result.rles[1:], result.masks.shape[1:]), **rest)


EXCLUSIVE = replace(VARIANT, family=replace(VARIANT.family, exclusive_prompts=True))  # as SAM 3's is


@pytest.mark.parametrize(("variant", "touched"), [(VARIANT, (4,)), (EXCLUSIVE, (2, 3, 4))])
def test_other_objects_are_touched_only_where_prompts_are_exclusive_and_on_the_frame_itself(variant, touched):
    prompts = [START, *((10, number, CLICKS[number]) for number in (2, 3))]
    with Tracker("here:1", transport=Recalling(variant)) as tracker, tracker.open() as timely, tracker.open(history_s=1e6) as video:
        expected = sent(timely, range(25), *prompts, (10, 4, CLICKS[4]))
        never = sent(video, range(25), *prompts)
        again = late(video, 10, (4, CLICKS[4]))
        assert same(again, expected[10:])
        assert video.snapshot() == timely.snapshot()
    logits = [{number: result.logits[row] for row, number in enumerate(result.object_ids)} for result in (again[-1], never[-1])]
    assert tuple(number for number, one in logits[0].items() if number not in logits[1] or not np.array_equal(one, logits[1][number])) == touched


@pytest.mark.parametrize("in_flight", [1, 4, 9])
def test_frames_on_their_way_give_their_results_and_the_next_ones_go_on_with_the_click(video, in_flight):
    expected, state = in_time(START, (7, 2, CLICKS[2]))
    video.prompt(1, **CLICKS[1])
    live, past = [], None
    for result in video.track_many(FRAMES, in_flight=in_flight, masks="bitmap"):
        live.append(result)
        if result.frame_index == 12:
            with video.rewind(7) as past:
                past.prompt(2, **CLICKS[2])
    again = past.wait()
    assert [result.frame_index for result in live] == list(range(COUNT)), "each once, in order"
    assert [result.frame_index for result in again] == list(range(7, 7 + len(again)))
    assert len(again) >= 6
    assert video.snapshot() == state
    for result, wanted in zip(live[:7] + again + live[7 + len(again) :], expected, strict=True):
        assert result.object_ids == wanted.object_ids
        assert np.array_equal(result.masks, wanted.masks)
        assert np.array_equal(result.scores, wanted.scores)


def test_who_follows_gets_the_results_of_changed_frames_again_before_newer_ones(video):
    expected, state = in_time(START, (7, 2, CLICKS[2]))
    video.prompt(1, **CLICKS[1])
    newest, again = {}, []
    for result in video.follow(FRAMES, masks="bitmap"):
        newest[result.frame_index] = result
        again += [result.frame_index] if result.label == "replayed" else []
        if result.frame_index == 12 and result.label == "live":
            with video.rewind(7) as past:
                past.prompt(2, **CLICKS[2])
    assert again == [result.frame_index for result in past.wait()] == list(range(7, 7 + len(again)))
    assert [*newest] == list(range(COUNT))
    assert all(np.array_equal(newest[index].masks, result.masks) for index, result in enumerate(expected))
    assert video.snapshot() == state


def test_gaps_in_the_indices_stay(video):
    frames = [0, 1, 2, 5, 6, 9, 10, 17, 18, 19, 20, 21]
    expected, state = in_time(START, (9, 1, CLICKS[2]), frames=frames)
    live = sent(video, frames[:9], START)
    again = late(video, 9, (1, CLICKS[2]))
    assert same(live[:5] + again + sent(video, frames[9:]), expected)
    assert video.snapshot() == state


def test_rewinds_one_after_another_and_one_before_another_is_done(video):
    expected, state = in_time(START, (5, 2, CLICKS[2]), (12, 3, CLICKS[3]), (20, 1, CLICKS[4]))
    between, _ = in_time(START, (12, 3, CLICKS[3]), (20, 2, CLICKS[5]), frames=range(25))
    sent(video, range(25), START)
    late(video, 12, (3, CLICKS[3]))
    assert same(late(video, 20, (2, CLICKS[5])), between[20:]), "from a snapshot of the new past"
    video.undo()
    with video.rewind(20) as one:
        one.prompt(1, **CLICKS[4])
    with video.rewind(5) as other:
        other.prompt(2, **CLICKS[2])
    live = sent(video, range(25, 30))
    again = other.wait()
    assert one.done
    done = 5 + len(again)
    assert same(again + live[done - 25 :] + sent(video, range(30, COUNT)), expected[5:])
    assert video.snapshot() == state


def test_prompts_join_those_that_the_frame_had(video):
    expected, _ = in_time(START, (5, 2, {"points": [*CLICKS[2]["points"], *CLICKS[3]["points"]], "labels": [1, 0]}), frames=range(12))
    live = sent(video, range(12), START, (5, 2, CLICKS[2]))
    assert same(live[:5] + late(video, 5, (2, {**CLICKS[3], "labels": [0], "append": True})), expected)


@pytest.mark.parametrize("removed", [1, 2])
def test_an_object_is_removed_before_the_frame(video, removed):
    prompts = [START, (2, 2, CLICKS[2])]
    expected, state = in_time(*prompts, (6, removed, None))
    live = sent(video, range(15), *prompts)
    assert same(live[:6] + late(video, 6, (removed, None)) + sent(video, range(15, COUNT)), expected)
    assert video.snapshot() == state


def test_what_is_removed_too_late_to_be_known_was_known_when_it_was_removed(video):
    expected, state = in_time(START, (2, 2, CLICKS[2]), (6, 2, None))
    sent(video, range(8), START, (2, 2, CLICKS[2]))
    video.remove(2)
    sent(video, range(8, 12))
    assert same(late(video, 6, (2, None)) + sent(video, range(12, COUNT)), expected[6:])
    assert video.snapshot() == state


def test_undo_is_never_clicked_again_and_again(video):
    never, never_state = in_time(START)
    once, _ = in_time(START, (9, 1, CLICKS[2]), frames=range(20))
    sent(video, range(20), START)
    late(video, 9, (1, CLICKS[2]))
    late(video, 4, (2, CLICKS[3]))
    assert same(video.undo().wait(), once[4:])
    with pytest.raises(UnknownObject):
        video.remove(2)
    assert same(video.undo().wait(), never[9:20])
    assert same(sent(video, range(20, COUNT)), never[20:])
    assert video.snapshot() == never_state


def test_undo_of_a_rewind_that_is_not_done_yet(video):
    never, state = in_time(START)
    sent(video, range(20), START)
    with video.rewind(9) as past:
        past.prompt(1, **CLICKS[2])
    undone = video.undo()
    sent(video, range(20, 25))
    undone.wait()
    assert past.done
    assert same(sent(video, range(25, COUNT)), never[25:])
    assert video.snapshot() == state


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
