"""What is said of a server by its counters, look after look."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from masklet.vitals import FAULTS, SLOW_S, TIMES, Finding, Health, Look, Watch, read

PATIENCE_S, SILENCE_S, WAITING_S = 60.0, 20.0, 30.0
BEATS = itertools.count(100)
BANK, ENCODER = "memory_bank_0_0", "image_encoder"
FIRST = Look({BANK: 5, "preprocess_0_0": 7}, {BANK: 0.0}, {BANK: 0.1}, {ENCODER: 3}, {ENCODER: 0}, {ENCODER: 0.2}, 0.0, ["tracker"])


def after(before: Look, **changes: object) -> Look:
    """Some time later: every stage has beaten."""
    beat = next(BEATS)
    return replace(before, **{"beats": dict.fromkeys(before.beats, beat), **changes})


@pytest.fixture
def watch() -> Watch:
    made = Watch(PATIENCE_S, SILENCE_S, WAITING_S)
    made.look(FIRST, 0)
    return made


def working(watch: Watch, seconds: float, longest: float) -> Finding:
    """What is said of a bank that has not got on for so long."""
    return watch.look(after(FIRST, work={BANK: seconds}, longest={BANK: longest}), 1)


def test_a_server_at_rest_is_alive_and_nothing_more_is_to_be_seen(watch: Watch) -> None:
    assert not watch.decided, "a beat that was never seen to grow proves nothing"
    assert watch.look(after(FIRST), 1) == Finding(Health.ALIVE)
    assert watch.decided


def test_a_beat_of_each_stage_is_enough_in_whatever_look(watch: Watch) -> None:
    watch.look(replace(FIRST, beats={BANK: 6, "preprocess_0_0": 7}), 1)
    assert not watch.decided
    watch.look(replace(FIRST, beats={BANK: 6, "preprocess_0_0": 8}), 1)
    assert watch.decided


def test_a_stage_without_a_sign_of_life_is_dead_after_the_silence_and_no_sooner(watch: Watch) -> None:
    for number in range(1, int(SILENCE_S) + 1):
        finding = watch.look(replace(FIRST, beats={BANK: 5, "preprocess_0_0": 7 + number}), 1)
        assert (finding.health is Health.DEAD) == (number >= SILENCE_S), number
        assert not watch.decided
    assert BANK in finding.text


def test_a_beat_ends_the_silence_of_its_stage(watch: Watch) -> None:
    watch.look(FIRST, SILENCE_S - 1)
    watch.look(after(FIRST), 1)
    assert watch.look(after(FIRST), SILENCE_S - 1).health is Health.ALIVE


@pytest.mark.parametrize(
    ("work", "longest", "health"),
    [
        (SLOW_S - 0.1, 0.1, Health.ALIVE),
        (SLOW_S + 0.1, 0.1, Health.SLOW),
        (PATIENCE_S - 1, 0.1, Health.SLOW),
        (PATIENCE_S + 1, 0.1, Health.DEAD),
        (25, 25, Health.SLOW),
        (TIMES * 25 - 1, 25, Health.SLOW),
        (TIMES * 25 + 1, 25, Health.DEAD),
        (TIMES * PATIENCE_S - 1, 0, Health.SLOW),  # the first frame of a large network
        (TIMES * PATIENCE_S + 1, 0, Health.DEAD),
    ],
)
def test_work_that_does_not_get_on_is_slow_and_then_a_hang_by_what_it_took_before(watch: Watch, work: float, longest: float, health: Health) -> None:
    finding = working(watch, work, longest)
    assert finding.health is health
    assert (BANK in finding.text) == (health is not Health.ALIVE)


def test_silent_metrics_are_dead_after_the_silence_and_an_answer_ends_it(watch: Watch) -> None:
    assert watch.silent(SILENCE_S - 1, "no answer").health is Health.SLOW
    assert watch.look(after(FIRST), 1).health is Health.ALIVE
    assert watch.silent(SILENCE_S - 1, "no answer").health is Health.SLOW
    assert watch.silent(2, "no answer") == Finding(Health.DEAD, "no answer")


@pytest.mark.parametrize("faults", [FAULTS - 1, FAULTS])
def test_faults_in_a_row_leave_a_doubt_which_is_no_death(watch: Watch, faults: int) -> None:
    assert watch.look(after(FIRST, faults=faults), 1).health is (Health.ALIVE if faults < FAULTS else Health.DOUBTFUL)


def test_requests_that_wait_while_no_execution_ends_leave_a_doubt(watch: Watch) -> None:
    waiting = {ENCODER: 2}
    watch.look(after(FIRST, waiting=waiting), 1)
    for second in range(1, int(WAITING_S) + 1):
        finding = watch.look(after(FIRST, waiting=waiting), 1)
        assert (finding.health is Health.DOUBTFUL) == (second >= WAITING_S), second
    assert ENCODER in finding.text
    watch.forget_waiting()
    assert watch.look(after(FIRST, waiting=waiting), 1).health is Health.ALIVE


@pytest.mark.parametrize("changes", [{"ended": {ENCODER: 4}}, {"waiting": {ENCODER: 0}}], ids=["one ended", "none waits"])
def test_requests_that_wait_their_turn_leave_none(watch: Watch, changes: dict[str, object]) -> None:
    watch.look(after(FIRST, waiting={ENCODER: 2}), 1)
    watch.look(after(FIRST, waiting={ENCODER: 2}), WAITING_S - 1)
    watch.look(after(FIRST, **{"waiting": {ENCODER: 2}, **changes}), 1)
    assert watch.look(after(FIRST, waiting={ENCODER: 2}), WAITING_S - 1).health is not Health.DOUBTFUL


def test_requests_that_wait_for_a_stage_that_gets_on_leave_none(watch: Watch) -> None:
    """One execution of a bank may have hundreds of objects where the ones before had one each."""
    now = after(FIRST, waiting={"memory_bank": 20}, ended={"memory_bank": 9}, work={BANK: 0.1})
    watch.look(now, 1)
    for _ in range(3):
        finding = watch.look(after(now), WAITING_S)
        assert finding == Finding(Health.SLOW, finding.text)
    assert "requests wait for memory_bank" in finding.text
    assert watch.decided
    assert watch.look(after(now, work={BANK: 0.0}), 1).health is Health.DOUBTFUL, "where nothing is at work they should not wait"
    assert watch.look(after(now, work={BANK: PATIENCE_S + 1}), 1).health is Health.DEAD


@pytest.mark.parametrize("slowest", [{"mean": {ENCODER: 25.0}}, {"longest": {BANK: 25.0}}, {"mean": {}, "longest": {}}], ids=str)
def test_requests_may_wait_longer_where_executions_take_long_or_none_has_ended(watch: Watch, slowest: dict[str, object]) -> None:
    for _ in range(2):
        finding = watch.look(after(FIRST, waiting={ENCODER: 2}, **slowest), TIMES * 25 - 1)
    assert finding.health is Health.SLOW
    assert watch.decided, "a probe does not look on for what it cannot see in its time"


METRICS = """\
# TYPE masklet_beats_total counter
masklet_beats_total{stage="preprocess_0_1"} 7
masklet_beats_total{stage="memory_bank_nano_0_0"} 8
masklet_beats_total{stage="memory_bank_sam2.1_t_0_0"} 9
masklet_work_seconds{stage="memory_bank_nano_0_0"} 1.5
masklet_longest_work_seconds{stage="memory_bank_nano_0_0"} 3
masklet_faults_in_a_row{model="memory_bank_nano"} 2
masklet_faults_in_a_row{model="memory_bank_sam2.1_t"} 4
nv_inference_exec_count{model="tracker_nano",version="1"} 5
nv_inference_exec_count{model="tracker_sam2.1_t",version="1"} 5
nv_inference_exec_count{model="image_encoder_nano",version="1"} 6
nv_inference_pending_request_count{model="image_encoder_nano",version="1"} 2
nv_inference_request_success{model="image_encoder_nano",version="1"} 10
nv_inference_compute_infer_duration_us{model="image_encoder_nano",version="1"} 5000000
nv_inference_request_success{model="memory_bank_sam2.1_t",version="1"} 0
nv_inference_compute_infer_duration_us{model="memory_bank_sam2.1_t",version="1"} 0
masklet_videos{model="memory_bank_nano"} 2
"""


def test_the_numbers_of_a_server_and_of_one_of_its_trackers_are_read() -> None:
    whole, nano = read(METRICS), read(METRICS, "tracker_nano")
    assert whole.beats == {"preprocess_0_1": 7, "memory_bank_nano_0_0": 8, "memory_bank_sam2.1_t_0_0": 9}
    assert nano.beats == {"memory_bank_nano_0_0": 8}
    assert (nano.work, nano.longest) == ({"memory_bank_nano_0_0": 1.5}, {"memory_bank_nano_0_0": 3})
    assert (nano.ended, nano.waiting, nano.mean) == (
        {"tracker_nano": 5, "image_encoder_nano": 6},
        {"image_encoder_nano": 2},
        {"image_encoder_nano": 0.5},
    )
    assert (whole.faults, nano.faults, read("").faults) == (4, 2, 0)
    assert whole.trackers == nano.trackers == ["tracker_nano", "tracker_sam2.1_t"]


def test_a_bank_that_stands_alone_has_no_label_of_a_model() -> None:
    assert read("masklet_faults_in_a_row 3\n", "tracker").faults == 3
