"""What fails, fails alone: one object's engine call, one answer, one START or END touches no other video, and leaves its own as it was."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from masklet.envelope import Envelope
from masklet.errors import BadFrame, BadState, MaskletError, NotOwner, ServerBusy, ServerFault, VideoLost
from masklet_bank import service as service_module
from masklet_bank.request import Request
from masklet_bank.room import AnswerRoom
from masklet_bank.service import Service
from tests.fakes.bank_driver import Client, RecordingStages, answered, click, mask, request, service
from tests.memory_bank.test_metrics import RecordingMeters

BAD_FRAME = "MASKLET_BAD_FRAME: no image."
Answer = dict[str, Any] | MaskletError


class Faulty(RecordingStages):
    """Engines of which one raises for the frame whose number is 21, and for masks without a pixel; nothing that it would announce."""

    broken = ""

    def call(self, engine: str, inputs: Any) -> dict[str, np.ndarray]:
        if engine == self.broken and _meets(engine, inputs):
            raise RuntimeError("CUDA error: an illegal memory access")
        return super().call(engine, inputs)


def _meets(engine: str, inputs: Any) -> bool:
    if engine == "mask_prompt":
        return not inputs["MASK"].any(axis=(1, 2)).all()
    frames = inputs["FEATURES"] if engine == "mask_decoder" else inputs["EMBEDDING"][inputs["VIDEO"]]
    return bool((frames[:, 0, 0, 0] == 21).any())


@pytest.fixture
def stages() -> Faulty:
    return Faulty()


@pytest.fixture
def bank(stages: Faulty) -> Iterator[Service]:
    """Its counters must agree with what it holds, whatever happened."""
    meters = RecordingMeters()
    bank = service(stages, meters=meters, max_conditioning=2)
    yield bank
    lived = meters["videos_started_total"] - sum(meters.labels("videos_ended_total").values())
    assert lived == len(bank.videos) == meters["videos"]


def alone() -> Service:
    return service(RecordingStages(), max_conditioning=2)


def begin(bank: Service, *videos: int) -> None:
    """Two objects in each, one with a corrected past; frames 10, 11 ... in video 1 and so on."""
    for video in videos:
        client = Client(bank, video)
        client.send(click(1, (10 * video, 20)), mask(2), number=10 * video - 5)
        client.send(number=10 * video - 4)
        client.send(click(1, (3, 4), append=True), number=10 * video - 3)


def state(bank: Service, video: int) -> bytes:
    """Everything that the bank knows of a video."""
    (answer,) = bank.answer([request(video, None, snapshot=True)])
    assert not isinstance(answer, MaskletError), answer
    return answer["SNAPSHOT"].tobytes()


def same(one: Answer, other: Answer) -> bool:
    assert not isinstance(one, MaskletError), one
    assert not isinstance(other, MaskletError), other
    return all(np.array_equal(one[name], other[name]) for name in other if name != "ENVELOPE")


def goes_on(bank: Service, video: int, twin: Service) -> None:
    """The video is, and answers, as in a bank where nothing went wrong."""
    assert state(bank, video) == state(twin, video)
    for number in (95, 96):
        (here,), (there,) = (held.answer([request(video, number)]) for held in (bank, twin))
        assert same(here, there)


def lost(bank: Service, video: int) -> bool:
    (answer,) = bank.answer([request(video, 99)])
    return isinstance(answer, VideoLost)


@pytest.mark.parametrize("engine", ["mask_prompt", "memory_attention", "mask_decoder", "memory_encoder"])
def test_an_exception_in_an_engine_call_fails_its_video_alone(bank: Service, stages: Faulty, engine: str) -> None:
    twin = alone()
    for held in (bank, twin):
        begin(held, 1, 2, 3, 4)
    requests = [request(video, 10 * video + 1, [mask(5, empty=video == 2)], end=video > 2) for video in (1, 2, 3)]
    stages.broken = engine
    answers = bank.answer([*requests, request(4, 21, [mask(5, empty=True)], end=True)])
    for index in (0, 2):
        assert same(answers[index], twin.answer([requests[index]])[0])
    for index in (1, 3):
        assert type(answers[index]) is ServerFault
        assert "RuntimeError: CUDA error: an illegal memory access. The frame changed nothing" in str(answers[index])
    stages.broken = ""
    assert lost(bank, 3)
    assert lost(bank, 4)
    goes_on(bank, 1, twin)
    goes_on(bank, 2, twin)


def test_an_exception_between_the_engines_changes_nothing_and_ends_what_was_to_end(bank: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    twin = alone()
    for held in (bank, twin):
        begin(held, 1, 2, 3)

    def fail(*_: object) -> None:
        raise IndexError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(service_module, "step", fail)
        answers = bank.answer([request(1, 11), request(2, 21, end=True), request(3, None, snapshot=True)])
    assert [type(answer) for answer in answers[:2]] == [ServerFault, ServerFault]
    assert isinstance(answers[2], dict), "it needs no engine"
    assert lost(bank, 2)
    goes_on(bank, 1, twin)
    goes_on(bank, 3, twin)


# What may be done to video 2 of `begin`.
ACTIONS: dict[str, Callable[..., Request]] = {
    "track": lambda **more: request(2, 21, **more),
    "prompt": lambda **more: request(2, 21, [click(1, (7, 7)), click(8, (1, 1)), mask(9)], **more),
    "evict": lambda **more: request(2, 21, [click(1, (7, 7)), mask(2)], **more),
    "correct": lambda **more: request(2, 17, [click(1, (7, 7), append=True)], refine=True, **more),
    "clear": lambda **more: request(2, 21, [click(1, clear=True)], **more),
    "clear everything": lambda **more: request(2, 17, [click(1, clear=True)], refine=True, **more),
    "look ahead": lambda **more: request(2, 21, [click(1, (7, 7))], track=False, frame_index=40, **more),
    "jump": lambda **more: request(2, 21, frame_index=40, **more),
    "remove": lambda **more: request(2, None, [click(2, remove=True)], **more),
    "replace": lambda **more: request(2, 21, [click(2, (5, 5))], start=True, **more),
    "replace by nothing": lambda **more: request(2, None, start=True, **more),
}


@pytest.mark.parametrize("error", [ValueError("no tensor"), ServerBusy("no room")], ids=["bug", "refusal"])
@pytest.mark.parametrize("action", ACTIONS)
def test_an_answer_that_cannot_be_given_is_not_committed(bank: Service, action: str, error: Exception) -> None:
    """Nor is the video replaced that a START of the same id would have replaced."""
    twin = alone()
    for held in (bank, twin):
        begin(held, 1, 2, 3)

    def respond(envelope: Envelope, tensors: dict[str, np.ndarray]) -> dict[str, Any]:
        if envelope.video == 2:
            raise error
        return answered(envelope, tensors)

    requests = [request(1, 11), ACTIONS[action](), request(3, 31)]
    answers = bank.answer(requests, respond)
    assert type(answers[1]) is (ServerBusy if isinstance(error, ServerBusy) else ServerFault)
    for index in (0, 2):
        assert same(answers[index], twin.answer([requests[index]])[0])
    for video in (1, 2, 3):
        goes_on(bank, video, twin)


@pytest.mark.parametrize("action", ACTIONS)
def test_a_snapshot_that_cannot_be_taken_undoes_its_request(bank: Service, action: str, monkeypatch: pytest.MonkeyPatch) -> None:
    twin = alone()
    for held in (bank, twin):
        begin(held, 1, 2)

    def fail(*_: object) -> None:
        raise MemoryError("1 GiB")

    with monkeypatch.context() as patch:
        patch.setattr(service_module.snapshot, "dump", fail)
        other, failed = bank.answer([request(1, 11), ACTIONS[action](snapshot=True)])
    assert type(failed) is ServerFault
    assert same(other, twin.answer([request(1, 11)])[0])
    goes_on(bank, 1, twin)
    goes_on(bank, 2, twin)


@pytest.mark.parametrize("action", ACTIONS)
def test_an_undone_action_can_be_done_again(bank: Service, action: str) -> None:
    """Its own plan was not spoilt by the first try either."""
    twin = alone()
    for held in (bank, twin):
        begin(held, 2)

    def refuse(*_: object) -> None:
        raise ServerBusy("no room")

    bank.answer([ACTIONS[action]()], refuse)
    (again,), (once,) = (held.answer([ACTIONS[action]()]) for held in (bank, twin))
    assert same(again, once)
    goes_on(bank, 2, twin)


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, int]:
    """Shared memory with so many "free" bytes."""
    facts, disk = os.statvfs(tmp_path), {"free": 0}

    def found(folder: Path) -> Any:
        assert folder == tmp_path
        return SimpleNamespace(f_frsize=facts.f_frsize, f_bavail=disk["free"] // facts.f_frsize)

    monkeypatch.setattr(os, "statvfs", found)
    return disk


SPARE = 8 << 20  # room for everything but snapshots


def crowd(bank: Service, room: AnswerRoom, requests: list[Request]) -> list[Answer]:
    """One execution whose answers must find room."""

    def respond(envelope: Envelope, tensors: dict[str, np.ndarray]) -> dict[str, Any]:
        room.take(tensors)
        return answered(envelope, tensors)

    room.begin()
    return bank.answer(requests, respond)


def test_a_snapshot_without_room_is_refused_and_changes_nothing(bank: Service, shared: dict[str, int], tmp_path: Path) -> None:
    twin = alone()
    for held in (bank, twin):
        begin(held, 1, 2)
    room = AnswerRoom(tmp_path)
    other, refused = crowd(bank, room, [request(1, 11), request(2, 21, [click(1, (7, 7))], snapshot=True)])
    assert type(refused) is ServerBusy
    assert f"0 MiB of {tmp_path} are free" in str(refused)
    assert same(other, twin.answer([request(1, 11)])[0])
    goes_on(bank, 1, twin)
    goes_on(bank, 2, twin)
    shared["free"] = SPARE
    (taken,) = crowd(bank, room, [request(2, None, snapshot=True)])
    assert isinstance(taken, dict)


def test_answers_without_snapshots_are_given_however_little_is_free(bank: Service, shared: dict[str, int], tmp_path: Path) -> None:
    begin(bank, 1)
    (answer,) = crowd(bank, AnswerRoom(tmp_path), [request(1, 11)])
    assert isinstance(answer, dict)


def snapshot_of(mib: int) -> dict[str, np.ndarray]:
    return {"SNAPSHOT": np.zeros(mib << 20, np.uint8)}


def test_the_snapshots_of_one_execution_count_together_since_they_are_copied_together(shared: dict[str, int], tmp_path: Path) -> None:
    room = AnswerRoom(tmp_path)
    shared["free"] = SPARE + (20 << 20)
    room.begin()
    room.take(snapshot_of(12))
    with pytest.raises(ServerBusy, match="a snapshot of 13 MiB"):
        room.take(snapshot_of(13))
    room.take(snapshot_of(3))


def test_what_was_answered_once_fits_again_since_shared_memory_is_kept(shared: dict[str, int], tmp_path: Path) -> None:
    room = AnswerRoom(tmp_path)
    shared["free"] = SPARE + (20 << 20)
    room.begin()
    room.take(snapshot_of(20))
    shared["free"] = SPARE  # now that it has been copied
    for _ in range(2):
        room.begin()
        room.take(snapshot_of(10))
        room.take(snapshot_of(10))
        with pytest.raises(ServerBusy):
            room.take(snapshot_of(10))


# A START that is refused, and with what.
REFUSED_STARTS: dict[str, tuple[Callable[..., Request], type[MaskletError]]] = {
    "bad frame": (lambda **more: request(2, None, start=True, error=BAD_FRAME, **more), BadFrame),
    "damaged snapshot": (lambda **more: request(2, 21, start=True, restore=np.arange(50, dtype=np.uint8), **more), BadState),
    "bad frame beside a snapshot": (lambda **more: request(2, None, start=True, restore=np.ones(9, np.uint8), error=BAD_FRAME, **more), BadFrame),
    "failing engine": (lambda **more: request(2, 21, [click(1, (1, 1))], start=True, **more), ServerFault),
}
RESTORING = {"damaged snapshot", "bad frame beside a snapshot"}


@pytest.mark.parametrize("kind", REFUSED_STARTS)
def test_a_refused_start_on_ones_own_live_video_leaves_it(bank: Service, stages: Faulty, kind: str) -> None:
    make, error = REFUSED_STARTS[kind]
    twin = alone()
    for held in (bank, twin):
        begin(held, 1, 2)
    stages.broken = "mask_decoder"
    refused, other = bank.answer([make(), request(1, 11)])
    stages.broken = ""
    assert type(refused) is error
    assert same(other, twin.answer([request(1, 11)])[0])
    goes_on(bank, 2, twin)


@pytest.mark.parametrize("kind", REFUSED_STARTS)
def test_a_refused_start_of_a_new_video_leaves_an_empty_one_but_none_in_the_place_of_a_snapshot(bank: Service, stages: Faulty, kind: str) -> None:
    make, error = REFUSED_STARTS[kind]
    stages.broken = "mask_decoder"
    (refused,) = bank.answer([make()])
    stages.broken = ""
    assert type(refused) is error
    if kind in RESTORING:
        assert lost(bank, 2)
        return
    (first,), (expected,) = (held.answer([request(2, 22, [click(1, (2, 2))], **more)]) for held, more in ((bank, {}), (alone(), {"start": True})))
    assert same(first, expected)


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("kind", REFUSED_STARTS)
def test_a_refused_video_of_one_request_is_gone_and_so_is_the_one_before_it(bank: Service, stages: Faulty, kind: str, live: bool) -> None:
    if live:
        begin(bank, 2)
    make, error = REFUSED_STARTS[kind]
    stages.broken = "mask_decoder"
    (refused,) = bank.answer([make(end=True)])
    stages.broken = ""
    assert type(refused) is error
    assert lost(bank, 2)
    assert len(bank.videos) == 0


# The last request of a video, and with what it is answered.
ENDS: dict[str, tuple[Callable[[], Request], type]] = {
    "frame": (lambda: request(2, 22, end=True), dict),
    "command": (lambda: request(2, None, end=True), dict),
    "bad frame": (lambda: request(2, None, end=True, error=BAD_FRAME), BadFrame),
    "failing engine": (lambda: request(2, 21, end=True), ServerFault),
    "snapshot without START": (lambda: request(2, 22, end=True, restore=np.ones(9, np.uint8)), MaskletError),
    "index of the past": (lambda: request(2, 22, end=True, frame_index=0), MaskletError),
}


@pytest.mark.parametrize("kind", ENDS)
def test_end_is_honoured_whatever_becomes_of_its_request(bank: Service, stages: Faulty, kind: str) -> None:
    make, outcome = ENDS[kind]
    twin = alone()
    begin(bank, 1, 2)
    begin(twin, 1)
    stages.broken = "memory_encoder"
    (answer,) = bank.answer([make()])
    stages.broken = ""
    assert isinstance(answer, outcome), answer
    assert lost(bank, 2)
    goes_on(bank, 1, twin)


def test_end_is_honoured_where_the_answer_cannot_be_given(bank: Service) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("no answer")

    begin(bank, 1, 2)
    assert [type(answer) for answer in bank.answer([request(video, None, end=True) for video in (1, 2)], refuse)] == [ServerFault] * 2
    assert len(bank.videos) == 0


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("start", ["frame", *REFUSED_STARTS])
def test_end_and_the_next_start_of_an_id_in_one_execution_are_as_one_after_the_other(bank: Service, stages: Faulty, end: str, start: str) -> None:
    """The old video is gone, the new one lives, as if the two requests had come in two executions."""
    last = ENDS[end][0]()
    first = request(2, 50, [click(1, (4, 4))], start=True) if start == "frame" else REFUSED_STARTS[start][0]()
    own = Faulty()
    twin = service(own, max_conditioning=2)
    for held in (bank, twin):
        begin(held, 2)
    stages.broken = own.broken = "memory_encoder" if end == "failing engine" else "mask_decoder"
    expected = [twin.answer([one])[0] for one in (last, first)]
    answers = bank.answer([last, first])
    stages.broken = own.broken = ""
    assert [type(answer) for answer in answers] == [type(answer) for answer in expected]
    gone = lost(twin, 2)
    assert lost(bank, 2) == gone == (start in RESTORING)
    if not gone:
        goes_on(bank, 2, twin)


@pytest.mark.parametrize("more", [{}, {"error": BAD_FRAME}, {"restore": np.ones(9, np.uint8)}], ids=["frame", "bad frame", "snapshot"])
@pytest.mark.parametrize("owner", [None, "you"])
def test_a_stranger_ends_and_replaces_nothing(bank: Service, more: dict[str, Any], owner: str | None) -> None:
    mine = Client(bank, 2)
    mine.send(click(1, (10, 20)), owner="me")
    for flags in ({"end": True}, {"start": True}, {"start": True, "end": True}):
        (answer,) = bank.answer([request(2, 21, owner=owner, **flags, **more)])
        assert type(answer) is NotOwner
    assert mine.send(owner="me")["OBJECT_IDS"].tolist() == [1]
