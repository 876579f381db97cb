"""Triton's door to the memory bank: whatever a request looks like, it gets its own answer, START and END hold, and no other request notices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from masklet.contract import ENVELOPE, memory_bank
from masklet.envelope import MAX_BYTES, Envelope
from masklet_bank.request import Request
from tests.fakes.bank_driver import VARIANT, RecordingStages, click, mask, request
from tests.fakes.sealing import bank_request, opened, sealed
from tests.memory_bank.test_metrics_shell import started, triton

__all__ = ["triton"]  # the fixture

Send = Callable[..., list[Any]]


@pytest.fixture
def model(triton: Any) -> Any:
    return started(triton, RecordingStages())


def asked(video: int, number: float | None, *prompts: dict, **options: Any) -> Request:
    return request(video, number, prompts, token=f"t{video}", **options)


@pytest.fixture
def send(triton: Any, model: Any) -> Send:
    """Sends requests in one execution. A request is one of the bank, or one and what is to be different about its tensors."""

    def send(*items: Any) -> list[Any]:
        pairs = [item if isinstance(item, tuple) else (item, {}) for item in items]
        return model.execute([bank_request(triton, made, **changes) for made, changes in pairs])

    return send


def answer(response: Any) -> dict[str, np.ndarray]:
    """Its tensors, but for the envelope."""
    assert not response.has_error(), response.error().message()
    return {tensor.name(): tensor.as_numpy()[0] for tensor in response.output_tensors() if tensor.name() != "ENVELOPE"}


def same(one: Any, other: Any) -> bool:
    return all(np.array_equal(answer(one)[name], array) for name, array in answer(other).items())


def code(response: Any) -> str:
    return response.error().message().partition(":")[0].removeprefix("MASKLET_") if response.has_error() else ""


def begin(send: Send, *videos: int) -> None:
    for video in videos:
        answer(send(asked(video, 10 * video, click(1, (10, 20)), start=True))[0])


def sealed_as(**whose: Any) -> np.ndarray:
    return sealed(replace(FRAME.envelope, **whose))


FRAME = asked(2, 21)
G, M = VARIANT.grid, VARIANT.mask_size
# What is wrong with request t2 of video 2, and the code of its error.
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no envelope": ({"ENVELOPE": None}, "SERVER_FAULT"),
    "empty envelope": ({"ENVELOPE": np.zeros(0, np.uint8)}, "BAD_REQUEST"),
    "envelope of zeros": ({"ENVELOPE": np.zeros(300, np.uint8)}, "BAD_REQUEST"),
    "huge envelope": ({"ENVELOPE": np.zeros(MAX_BYTES + 1, np.uint8)}, "BAD_REQUEST"),
    "envelope of another rank": ({"ENVELOPE": sealed_as()[None]}, "BAD_REQUEST"),
    "unsigned envelope": ({"ENVELOPE": np.frombuffer(b'[{"token":"t2","video":2},{}]', np.uint8)}, "BAD_REQUEST"),
    "envelope of another token": ({"ENVELOPE": sealed_as(token="t1")}, "SERVER_FAULT"),
    "envelope of another video": ({"ENVELOPE": sealed_as(video=1)}, "SERVER_FAULT"),
    "envelope of a namesake": ({"ENVELOPE": sealed_as(video="2")}, "SERVER_FAULT"),
    "no features": ({"EMBEDDING": None}, "SERVER_FAULT"),
    "features of another shape": ({"EMBEDDING": np.zeros((3, 5), np.float32)}, "SERVER_FAULT"),
    "features that are no numbers": ({"EMBEDDING": np.full((VARIANT.hidden, G, G), np.nan, np.float32)}, "SERVER_FAULT"),
    "no masks": ({"PROMPT_MASKS": None}, "SERVER_FAULT"),
    "more masks than prompts": ({"PROMPT_MASKS": np.ones((1, M, M), np.uint8)}, "BAD_REQUEST"),
    "no state": ({"RESTORE": None}, "SERVER_FAULT"),
}
UNREADABLE = {name for name in WRONG if not name.startswith(("features", "more masks"))}


@pytest.fixture(params=WRONG)
def wrong(request: pytest.FixtureRequest) -> str:
    return request.param


def test_a_wrong_request_is_answered_alone_and_changes_nothing(send: Send, wrong: str) -> None:
    changes, expected = WRONG[wrong]
    begin(send, 1, 2, 3)
    first, bad, last = send(asked(1, 11), (FRAME, changes), asked(3, 31))
    assert code(bad) == expected
    assert bad.error().message().endswith("[request t2]")
    assert not first.has_error()
    assert not last.has_error()
    assert same(first, *send_twin(send, 1, [11]))
    assert same(last, *send_twin(send, 3, [31]))
    assert same(send(asked(2, 22))[0], *send_twin(send, 2, [22]))


def send_twin(send: Send, video: int, numbers: list[float]) -> list[Any]:
    """The answer of a new video to the frames of that one."""
    twin = 100
    responses = send(asked(twin, 10 * video, click(1, (10, 20)), start=True))
    for number in numbers:
        responses = send(asked(twin, number))
    return responses


def test_a_wrong_end_still_ends_its_video(send: Send, wrong: str) -> None:
    begin(send, 2)
    (bad,) = send((asked(2, 21, end=True), WRONG[wrong][0]))
    assert code(bad) == WRONG[wrong][1]
    assert code(send(asked(2, 22))[0]) == "VIDEO_LOST"


def test_a_wrong_start_on_ones_own_live_video_leaves_it(send: Send, wrong: str) -> None:
    begin(send, 2)
    (bad,) = send((asked(2, 21, click(1, (1, 1)), start=True), WRONG[wrong][0]))
    assert code(bad) == WRONG[wrong][1]
    assert same(send(asked(2, 22))[0], *send_twin(send, 2, [22]))


def test_where_nobody_knows_whether_a_snapshot_was_to_be_restored_no_empty_video_begins(send: Send, wrong: str) -> None:
    send((asked(2, 21, click(1, (1, 1)), start=True), WRONG[wrong][0]))
    assert code(send(asked(2, 22))[0]) == ("VIDEO_LOST" if wrong in UNREADABLE else "")


def test_nobody_ends_the_video_of_another_with_what_cannot_be_read(send: Send) -> None:
    answer(send(asked(2, 20, click(1, (10, 20)), start=True, owner="me"))[0])
    for flags in ({"end": True}, {"start": True}, {"start": True, "end": True}):
        (bad,) = send((asked(2, 21, owner="you", **flags), {"ENVELOPE": None}))
        assert bad.has_error()
    assert answer(send(asked(2, 21, owner="me"))[0])["FRAME_INDEX"] == 1


def test_the_answer_has_every_tensor_and_an_envelope_for_postprocess(send: Send) -> None:
    made = asked(2, 20, click(1, (10, 20)), mask(7), start=True, masks="png", logits=True)
    (response,) = send(replace(made, envelope=replace(made.envelope, received=1.0, preprocessed=3.0)))
    given = {tensor.name(): tensor.as_numpy() for tensor in response.output_tensors()}
    assert {name: (array.dtype, array.ndim) for name, array in given.items()} == {
        tensor.name: (tensor.numpy_dtype, 1 + len(tensor.dims)) for tensor in memory_bank(VARIANT).outputs
    }
    envelope = opened(given[ENVELOPE.name][0])
    wanted = Envelope("t2", 2, size=(48, 64), options=made.envelope.options, received=1.0, preprocessed=3.0, objects=2, times=envelope.times)
    assert envelope == wanted
    assert envelope.times[0] == 2000
    assert len(envelope.times) == 6


def test_a_snapshot_that_finds_no_room_is_refused_before_it_is_committed(send: Send, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(send, 1, 2)
    monkeypatch.setattr(model._room, "_free", lambda: 0)
    good, refused = send(asked(1, 11), asked(2, 21, snapshot=True))
    assert not good.has_error()
    assert code(refused) == "SERVER_BUSY"
    assert same(send(asked(2, 22))[0], *send_twin(send, 2, [22]))


def test_a_fault_of_the_bank_itself_answers_every_request_with_its_own_id(send: Send, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(send, 1, 2)
    with monkeypatch.context() as patch:
        patch.setattr(model._service, "answer", lambda *_: 1 / 0)
        responses = send(asked(1, 11), asked(2, 21))
    assert [code(response) for response in responses] == ["SERVER_FAULT"] * 2
    assert [response.error().message()[-12:] for response in responses] == ["[request t1]", "[request t2]"]
    assert [response.has_error() for response in send(asked(1, 11), asked(2, 21))] == [False, False]
