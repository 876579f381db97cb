"""Prompts for a frame that is over: late is as good as in time, to the last bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from masklet import Tracker, UnknownObject
from masklet.masks import Masks
from tests.client.rewinds import CLICKS, COUNT, FRAMES, START, in_time, late, same, sent
from tests.fakes.bank_driver import VARIANT
from tests.fakes.recalling import Recalling

pytestmark = pytest.mark.usefixtures("many_snapshots")


@pytest.fixture
def server():
    return Recalling()


@pytest.fixture
def video(make_tracker, server):
    with make_tracker("here:1", transport=server).open(history_s=1e6) as video:
        yield video


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
