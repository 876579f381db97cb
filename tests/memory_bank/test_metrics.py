"""What an operator sees of the memory bank: every gauge, counter and histogram at the events that it is there for."""

from __future__ import annotations

from collections import defaultdict, namedtuple
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from masklet.errors import BadParameter, MaskletError, ServerBusy, ServerFault, VideoLost
from masklet_bank import service as service_module
from masklet_bank import stages as stages_module
from masklet_bank.arrays import HostArrays
from masklet_bank.bank import ObjectBank
from masklet_bank.metrics import TABLE, Metric
from masklet_bank.service import Service
from tests.fakes.bank_driver import VARIANT, Client, RecordingStages, click, mask, request, service


class RecordingMeters:
    """Keeps every number, by name and label; as strict as Triton about kinds, labels and counters that would fall."""

    def __init__(self) -> None:
        self.numbers: dict[tuple[str, str], float] = defaultdict(float)
        self.observed: dict[tuple[str, str], list[float]] = defaultdict(list)
        self.sent: list[str] = []

    def increment(self, metric: Metric, by: int, label: str = "") -> None:
        assert by > 0
        self.numbers[self._series(metric, "COUNTER", label)] += by

    def set(self, metric: Metric, value: int, label: str = "") -> None:
        self.numbers[self._series(metric, "GAUGE", label)] = value

    def observe(self, metric: Metric, value: float, label: str = "") -> None:
        self.observed[self._series(metric, "HISTOGRAM", label)].append(value)

    def close(self) -> None:
        raise AssertionError("only the shell closes its meters")

    def __getitem__(self, series: str | tuple[str, str]) -> float:
        name, label = (series, "") if isinstance(series, str) else series
        return self.numbers[f"masklet_{name}", label]

    def seen(self, name: str, label: str = "") -> list[float]:
        return self.observed[f"masklet_{name}", label]

    def labels(self, name: str) -> dict[str, float]:
        """The series of a counter that are not 0, by label."""
        return {label: value for (metric, label), value in self.numbers.items() if metric == f"masklet_{name}" and value}

    def _series(self, metric: Metric, kind: str, label: str) -> tuple[str, str]:
        assert metric in TABLE
        assert (metric.kind, label in metric.values or not metric.values) == (kind, True)
        self.sent.append(metric.name)
        return metric.name, label


@pytest.fixture
def stages() -> RecordingStages:
    return RecordingStages()


@pytest.fixture
def meters() -> RecordingMeters:
    return RecordingMeters()


def metered(stages, meters, **options) -> Service:
    return service(stages, meters=meters, **options)


def held(meters) -> tuple[float, float, float]:
    """Videos, objects, and whether anything is remembered, by the gauges."""
    return meters["videos"], meters["objects"], meters["bank_bytes"] > 0


def test_gauges_rise_with_videos_and_objects_and_fall_at_end(stages, meters):
    bank = metered(stages, meters)
    one, two = Client(bank, 1), Client(bank, 2)
    one.send(click(1, (10, 20)), click(2, (5, 5)))
    two.send(mask(4))
    assert held(meters) == (2, 3, True)
    click_bytes = 2 * 4 + 4
    assert meters["bank_reserved_bytes"] == 3 * VARIANT.object_bytes() + 2 * click_bytes
    one.send(click(1, remove=True), control=True)
    assert held(meters) == (2, 2, True)
    one.send(end=True)
    two.send(end=True)
    assert held(meters) == (0, 0, False)
    assert (meters["videos_started_total"], meters.labels("videos_ended_total")) == (2, {"end": 2})


def test_capacity_is_a_metric_too(stages, meters):
    metered(stages, meters, max_videos=5, max_bytes=1 << 22)
    assert (meters["videos_limit"], meters["bank_limit_bytes"]) == (5, 1 << 22)


def test_byte_gauges_say_what_the_videos_hold_after_every_request(stages, meters):
    bank = metered(stages, meters, max_conditioning=2)
    one, two = Client(bank, 1), Client(bank, "two")

    def check(objects: int) -> None:
        footprints = [bank.videos.find(video_id).footprint(VARIANT.object_bytes) for video_id in (1, "two", 3) if bank.videos.find(video_id)]
        totals = tuple(map(sum, zip(*footprints, strict=True)))
        assert (meters["objects"], meters["bank_bytes"], meters["bank_reserved_bytes"]) == totals
        assert totals[0] == objects

    one.send(click(1, (10, 20)))
    check(1)
    two.send(mask(3), click(7, (1, 1)))
    for frame in range(20):
        one.send(*([click(1, (frame, 1))] if frame % 6 == 5 else []))
        check(3)
    state = one.send(control=True, snapshot=True)["SNAPSHOT"]
    Client(bank, 3).send(control=True, restore=state)
    check(4)
    one.send(click(1, clear=True), frame_index=30)
    check(4)
    two.send(click(3, remove=True), control=True)
    check(3)
    Client(bank, "two").send()
    check(2)


def test_draining_is_a_metric_from_the_next_request_on(stages, meters, tmp_path):
    bank = metered(stages, meters, drain_file=tmp_path / "draining")
    client = Client(bank)
    assert ("masklet_draining", "") in meters.numbers, "0 is said before anything happens"
    assert meters.labels("drain_file_info") == {str(tmp_path / "draining"): 1}
    for asked in (False, True, False):
        (tmp_path / "draining").touch() if asked else (tmp_path / "draining").unlink(missing_ok=True)
        client.send()
        assert meters["draining"] == asked


def test_shared_memory_is_looked_at_between_requests(stages, meters, tmp_path, monkeypatch):
    bank = metered(stages, meters)
    monkeypatch.setattr(service_module.os, "statvfs", lambda path: {"/dev/shm": Blocks(f_frsize=4096, f_blocks=1000, f_bavail=250)}[path])
    bank.idle()
    assert (meters["shm_bytes"], meters["shm_free_bytes"]) == (4096 * 1000, 4096 * 250)


Blocks = namedtuple("Blocks", "f_frsize f_blocks f_bavail")


def test_a_start_on_a_live_id_ends_the_video_before_it(stages, meters):
    bank = metered(stages, meters)
    Client(bank).send(click(1, (10, 20)))
    Client(bank).send()
    assert held(meters) == (1, 0, False)
    assert (meters["videos_started_total"], meters.labels("videos_ended_total")) == (2, {"replaced": 1})


def test_a_silent_video_leaves_the_gauges_with_the_next_request_even_a_refused_one(stages, meters):
    now = [0.0]
    bank = metered(stages, meters, clock=lambda: now[0], idle_seconds=60)
    Client(bank, 1).send(click(1, (10, 20)))
    now[0] = 61
    assert held(meters) == (1, 1, True)
    with pytest.raises(VideoLost):
        Client(bank, 2, began=True).send()
    assert held(meters) == (0, 0, False)
    assert meters.labels("videos_ended_total") == {"expired": 1}


def test_only_answered_frames_count_as_frames(stages, meters):
    bank = metered(stages, meters)
    client = Client(bank)
    client.send(control=True)
    client.send(click(1, (10, 20)))
    client.send()
    client.send(control=True, snapshot=True)
    with pytest.raises(MaskletError):
        client.send(error="MASKLET_BAD_PARAMETER: no.")
    client.send(control=True, end=True)
    assert (meters["frames_total"], len(meters.seen("frame_seconds"))) == (2, 2)


def test_masks_are_counted_by_what_the_model_says_of_them(stages, meters, monkeypatch):
    said = {"SCORE": [3, 3, 3, 0, -1], "IOU": [0.9, 0.5, 0.49, 0.9, 0.1]}
    answer = stages.mask_decoder
    monkeypatch.setattr(stages, "mask_decoder", lambda inputs: answer(inputs) | {name: np.array(each, np.float32) for name, each in said.items()})
    client = Client(metered(stages, meters))
    client.send(*(click(number, (number, 1)) for number in range(1, 6)))
    assert meters.labels("object_frames_total") == {"sure": 2, "unsure": 1, "away": 2}
    client.send()
    assert meters.labels("object_frames_total") == {"sure": 4, "unsure": 2, "away": 4}
    client.send(control=True, snapshot=True)
    with pytest.raises(MaskletError):
        client.send(error="MASKLET_BAD_PARAMETER: no.")
    assert meters.labels("object_frames_total") == {"sure": 4, "unsure": 2, "away": 4}


def test_every_error_is_counted_by_its_code(stages, meters):
    bank = metered(stages, meters, max_videos=1)
    client = Client(bank)
    client.send()
    for error, send in (
        (ServerBusy, lambda: Client(bank, 2).send()),
        (VideoLost, lambda: Client(bank, 2, began=True).send()),
        (VideoLost, lambda: Client(bank, 3, began=True).send(end=True)),
        (BadParameter, lambda: client.send(error="MASKLET_BAD_PARAMETER: no.")),
        (MaskletError, lambda: client.send(error="MASKLET_BAD_FRAME: not an image.")),
    ):
        with pytest.raises(error):
            send()
    assert meters.labels("refusals_total") == {"SERVER_BUSY": 1, "VIDEO_LOST": 2, "BAD_PARAMETER": 1, "BAD_FRAME": 1}
    assert (meters["videos"], meters["videos_started_total"]) == (1, 1)


def test_a_failed_engine_costs_a_refusal_and_no_frame_and_its_calls_are_counted(stages, meters):
    client = Client(metered(stages, meters))
    client.send(click(1, (10, 20)))
    before = held(meters), meters["bank_bytes"]
    stages.fail = "memory_attention"
    with pytest.raises(ServerFault):
        client.send()
    assert (held(meters), meters["bank_bytes"]) == before
    assert (meters.labels("refusals_total"), meters["frames_total"]) == ({"SERVER_FAULT": 1}, 1)
    assert meters.seen("engine_calls", "memory_attention") == [2], "together, and again object by object"
    assert len(meters.seen("engine_calls", "mask_decoder")) == 1, "of the first frame"


def test_faults_in_a_row_end_with_an_answered_frame_and_with_no_other_refusal(stages, meters):
    client = Client(metered(stages, meters))
    client.send(click(1, (10, 20)))
    stages.fail = "memory_attention"
    for faults in (1, 2):
        with pytest.raises(ServerFault):
            client.send()
        with pytest.raises(MaskletError):
            client.send(error="MASKLET_BAD_FRAME: not an image.")
        assert meters["faults_in_a_row"] == faults
    stages.fail = ""
    client.send()
    assert meters["faults_in_a_row"] == 0


def test_groups_and_their_sizes_are_counted_for_each_engine(stages, meters):
    bank = metered(stages, meters)
    young, old = Client(bank, 1), Client(bank, 2)
    young.send(click(1, (10, 20)))
    old.send(click(1, (10, 20)), click(2, (3, 3)))
    old.send()
    meters.observed.clear()
    bank.answer([request(1, 5), request(2, 6), request(3, 7, [mask(1)], start=True)])
    calls = {engine: meters.seen("engine_calls", engine) for engine in ("mask_prompt", "memory_attention", "mask_decoder", "memory_encoder")}
    assert calls == {"mask_prompt": [1], "memory_attention": [2], "mask_decoder": [1], "memory_encoder": [1]}
    assert meters.seen("engine_batch_objects", "memory_attention") == [1, 2]
    assert meters.seen("engine_batch_objects", "mask_prompt") == [1]
    assert meters.seen("engine_batch_objects", "memory_encoder") == [4]
    assert meters.seen("batch_requests") == [3]


def test_prompted_frames_over_the_cap_are_counted_as_evictions(stages, meters):
    client = Client(metered(stages, meters, max_conditioning=2))
    for frame in range(5):
        client.send(click(1, (frame, 1)), click(2, (frame, 2)))
        assert meters["conditioning_evictions_total"] == 2 * max(frame - 1, 0)


def test_times_are_split_between_the_engines_and_the_bank(stages, meters, monkeypatch):
    now = [100.0]
    for module in (service_module, stages_module):
        monkeypatch.setattr(module, "monotonic", lambda: now[0])
    answer = stages.mask_decoder

    def slow(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        now[0] += 0.25
        return answer(inputs)

    def expire(waiting: list[int | str]) -> list[int | str]:
        now[0] += 0.125
        return []

    monkeypatch.setattr(stages, "mask_decoder", slow)
    bank = metered(stages, meters)
    monkeypatch.setattr(bank.videos, "expire", expire)
    frame = request(1, 0, [click(1, (10, 20)), click(2, (1, 1), (2, 2))], start=True)
    (answer,) = bank.answer([replace(frame, envelope=replace(frame.envelope, received=90.0, preprocessed=91.0))])
    assert answer["ENVELOPE"].times == (1000, 9000, 0, 500, 0, 125)
    assert meters.seen("stage_seconds", "mask_decoder") == [0.5], "two groups"
    assert meters.seen("stage_seconds", "memory_encoder") == [0]
    assert meters.seen("stage_seconds", "memory_attention") == []
    assert meters.seen("stage_seconds", "memory_bank") == [0.125]
    assert meters.seen("frame_seconds") == [10.625]


def test_metering_looks_at_the_objects_of_the_requests_alone(stages, meters, monkeypatch):
    bank = metered(stages, meters)
    for video in range(5):
        Client(bank, video + 1).send(click(1, (10, 20)), click(2, (5, 5)))
    looked, nbytes = [], ObjectBank.nbytes
    monkeypatch.setattr(ObjectBank, "nbytes", lambda own: looked.append(own) or nbytes(own))
    bank.answer([request(2, 1), request(3, 1)])
    own = [held for video_id in bank.videos.live for held in bank.videos.find(video_id).objects.values()]
    assert len([bank for bank in looked if bank in own]) == 4  # banks of other tests look at their own now and then


def test_bytes_that_crossed_are_counted_where_arrays_live_on_a_device(stages, meters):
    bank = metered(stages, meters)
    client = Client(bank)
    client.send(click(1, (10, 20)), mask(2))
    for _ in range(3):
        client.send()
    client.send(control=True, snapshot=True)
    copied = {"to_device": bank.arrays.copied.to_device, "to_host": bank.arrays.copied.to_host}
    assert meters.labels("bank_copied_bytes_total") == {direction: count for direction, count in copied.items() if count}
    assert any(copied.values()) != isinstance(bank.arrays, HostArrays)


def test_a_gauge_that_did_not_change_is_not_sent(stages, meters):
    client = Client(metered(stages, meters))
    client.send(click(1, (10, 20)))
    for _ in range(20):
        client.send()
    meters.sent.clear()
    client.send()
    assert not {metric.name for metric in TABLE if metric.kind == "GAUGE"} & set(meters.sent)
    assert len(meters.sent) <= 16  # two of them where arrays live on a device
