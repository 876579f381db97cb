"""The open loop: when frames are due does not depend on what happened to others, and nothing that was due is left out."""

from __future__ import annotations

import json
import time

import pytest

from benchmarks.load.mix import Mix
from benchmarks.load.schedule import Batch, Ledger, Schedule

MIX = Mix.parse("640x360,640x360,1280x720", "10,25", "1,2,4", "10-40", 0.25)


def test_a_frame_is_due_at_its_time_whatever_became_of_the_others() -> None:
    schedule = Schedule(begin=100.0, fps=25.0)
    assert [schedule.due(index) for index in (0, 1, 250, 90_000)] == pytest.approx([100.0, 100.04, 110.0, 3700.0])


def test_latency_counts_from_when_a_frame_was_due_and_service_from_when_it_was_sent() -> None:
    ledger = Ledger()
    ledger.settle(ledger.expect(50.0), sent=50.25, answered=50.75)
    (sample,) = ledger.take().samples
    assert (sample.lag_ms, sample.latency_ms, sample.service_ms, sample.error) == (250.0, 750.0, 500.0, None)


def test_a_dropped_frame_is_told_as_an_error_and_never_as_an_answer() -> None:
    ledger = Ledger()
    ledger.settle(ledger.expect(50.0), sent=50.25, error="dropped")
    (sample,) = ledger.take().samples
    assert (sample.latency_ms, sample.service_ms, sample.error) == (None, None, "dropped")


def test_nothing_before_the_oldest_unsettled_frame_counts_as_told_not_even_if_the_generator_sleeps_over_it() -> None:
    ledger, now = Ledger(), time.monotonic()
    wall = time.time() - now
    answered, overslept = ledger.expect(now - 3), ledger.expect(now - 2)
    ledger.settle(answered, sent=now - 3, answered=now)
    batch = ledger.take()
    assert (len(batch.samples), batch.pending) == (1, 1)
    assert batch.until == pytest.approx(now - 2 + wall, abs=0.1)
    ledger.settle(overslept, sent=now, answered=now)
    assert ledger.take().until >= now + wall - 0.1


def test_a_frame_of_a_camera_that_was_switched_off_is_not_waited_for() -> None:
    ledger = Ledger()
    ledger.cancel(ledger.expect(time.monotonic() + 1))
    assert (ledger.take().pending, ledger.take().samples) == (0, [])


def test_what_is_told_is_told_once() -> None:
    ledger = Ledger()
    ledger.settle(ledger.expect(1.0), sent=1.0, answered=2.0)
    assert [len(ledger.take().samples), len(ledger.take().samples)] == [1, 0]


def test_a_busy_process_says_so() -> None:
    begin = time.monotonic()
    ledger, end = Ledger(), time.process_time() + 0.2
    while time.process_time() < end:
        pass
    busy = ledger.take().busy
    assert busy >= 0.2 / (time.monotonic() - begin), "however little of a core it gets on a shared machine"
    time.sleep(0.1)
    assert ledger.take().busy < busy / 2


def test_a_batch_survives_the_way_to_another_process() -> None:
    ledger = Ledger()
    ledger.settle(ledger.expect(1.0), sent=1.0, error="dropped")
    batch = ledger.take()
    assert Batch.read(json.loads(json.dumps(batch.plain()))) == batch


def test_the_first_cameras_have_sizes_rates_and_objects_in_their_shares_however_many_they_are() -> None:
    for count in (6, 12, 36):
        plans = [MIX.plan(0, slot, 0) for slot in range(count)]
        assert sum(plan.size == (640, 360) for plan in plans) / count == pytest.approx(2 / 3, abs=2 / count)
        assert sum(plan.fps == 10 for plan in plans) / count == pytest.approx(1 / 2, abs=2 / count)
        assert sum(plan.objects == 4 for plan in plans) / count == pytest.approx(1 / 3, abs=2 / count)


def test_a_plan_is_the_same_in_every_run_and_differs_between_cameras_videos_and_workers() -> None:
    names = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0), (1, 1, 0), (0, 1, 1)]
    plans = [MIX.plan(*name) for name in names]
    assert plans == [MIX.plan(*name) for name in names]
    assert len({plan.phase_s * plan.fps for plan in plans}) == len(plans)


def test_videos_live_as_long_as_they_may_and_the_first_of_a_camera_only_for_a_rest_of_that() -> None:
    later = [MIX.plan(0, slot, 1) for slot in range(200)]
    assert all(10 - 0.1 <= plan.frames / plan.fps <= 40 + 0.1 for plan in later)
    assert min(MIX.plan(0, slot, 0).frames / 10 for slot in range(200)) < 5
    assert all(0 <= plan.phase_s < 1 / plan.fps for plan in later)
    assert 0.15 < sum(plan.corrected_at is not None for plan in later) / len(later) < 0.35


@pytest.mark.parametrize("words", [("640", "10", "1", "1-2"), ("64x36", "0", "1", "1-2"), ("64x36", "10", "1.5", "1-2"), ("64x36", "10", "1", "3-2")])
def test_a_mix_that_cannot_be_is_refused(words: tuple[str, str, str, str]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Mix.parse(*words, 0.0)


def test_a_mix_survives_the_way_to_another_process() -> None:
    assert Mix.read(json.loads(json.dumps(MIX.__dict__))) == MIX
