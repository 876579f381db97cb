"""Bad requests through the real server: each gets a clear error, its video goes on as if nothing had come, and no other video notices."""

from __future__ import annotations

import itertools
import json
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from masklet import errors, rle
from masklet.mask_bytes import separated
from masklet_build.serve import Server
from tests.serving.bad_requests import ANYWHERE, BOMBS, BY_TRITON, FIRST, FRAME, LATE, LATER, NO_TENSOR, PARAMETERS, PROMPTS, TRUNCATED, Bad
from tests.serving.clips import clip
from tests.serving.wire import Answer, Wire

pytestmark = [pytest.mark.server, pytest.mark.torch]

COUNT = 4
_ids = itertools.count(1)


def same(one: Answer | errors.MaskletError, other: Answer) -> bool:
    """Whether two answers are equal to the last bit, but for TIMING."""
    assert not isinstance(one, errors.MaskletError), one
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in other if name != "TIMING")


@dataclass
class Film:
    """Frames and prompts of one video, sent one by one."""

    frames: list[np.ndarray]
    prompts: list[dict]
    wire: Wire
    answers: list[Answer]
    video_id: int

    def send(self, *, start: bool = False, end: bool = False, **parameters: object) -> Answer | errors.MaskletError:
        """The next frame; the first one carries the prompts."""
        index = len(self.answers)
        tensors = {"FRAME": self.frames[index], "PROMPTS": self.prompts if index == 0 else []}
        answer = self.wire.ask(self.video_id, tensors, start=start, end=end, logits=True, **parameters)
        if not isinstance(answer, errors.MaskletError):
            self.answers.append(answer)
        return answer


def film(wire: Wire, seed: int) -> Film:
    disc = np.zeros((48, 64), dtype=np.bool_)
    disc[10:30, 20:45] = True
    prompts = {
        1: [{"object": 1, "points": [[20, 15], [50, 40]], "labels": [1, 0]}, {"object": 5, "box": [8, 8, 40, 40]}],
        2: [{"object": 3, "mask": rle.encode(disc)}],
    }[seed]
    return Film(clip(COUNT, seed=seed), prompts, wire, [], next(_ids))


@pytest.fixture
def wire(small_server: Server) -> Iterator[Wire]:
    with Wire(small_server.grpc_url) as wire:
        yield wire


@pytest.fixture
def neighbour(small_server: Server) -> Iterator[Film]:
    """A second video on a stream of its own."""
    with Wire(small_server.grpc_url) as other:
        yield film(other, 2)


@pytest.fixture(scope="module")
def alone(small_server: Server) -> dict[int, list[Answer]]:
    """What films 1 and 2 get while there is nobody else."""
    answers = {}
    for seed in (1, 2):
        with Wire(small_server.grpc_url) as own:
            one = film(own, seed)
            for index in range(COUNT):
                assert same(one.send(start=index == 0, end=index == COUNT - 1), one.answers[-1])
            answers[seed] = one.answers
    assert all(answer["LOGITS"].any() for answer in [*answers[1], *answers[2]])
    return answers


def check(answer: Answer | errors.MaskletError, bad: Bad) -> None:
    assert type(answer) is bad.error, answer
    assert re.search(bad.says, str(answer)), answer


def ask(wire: Wire, video_id: int, bad: Bad, **flags: bool) -> Answer | errors.MaskletError:
    return wire.ask(video_id, bad.tensors, **flags, **bad.parameters)


@pytest.mark.parametrize("bad", [*ANYWHERE, *LATER, *BY_TRITON, NO_TENSOR], ids=str)
def test_in_the_middle_it_changes_nothing_for_anybody(wire: Wire, neighbour: Film, alone: dict[int, list[Answer]], bad: Bad) -> None:
    mine = film(wire, 1)
    for index in range(COUNT):
        if index == LATE:
            check(ask(wire, mine.video_id, bad), bad)
        for video, seed in ((mine, 1), (neighbour, 2)):
            answer = video.send(start=index == 0, end=index == COUNT - 1)
            assert same(answer, alone[seed][index])
            assert answer["FRAME_INDEX"] == index


@pytest.mark.parametrize("bad", [*ANYWHERE, *FIRST], ids=str)
def test_as_the_first_request_it_still_opens_the_video(wire: Wire, alone: dict[int, list[Answer]], bad: Bad) -> None:
    mine = film(wire, 1)
    check(ask(wire, mine.video_id, bad, start=True), bad)
    assert same(mine.send(), alone[1][0])
    assert same(mine.send(end=True), alone[1][1])


@pytest.mark.parametrize("bad", [*ANYWHERE, *(bad for bad in LATER if bad.name != "neither frame nor command")], ids=str)
def test_as_the_last_request_it_still_ends_the_video(wire: Wire, bad: Bad) -> None:
    mine = film(wire, 1)
    for index in range(LATE):
        mine.send(start=index == 0)
    check(ask(wire, mine.video_id, bad, end=True), bad)
    assert isinstance(mine.send(), errors.VideoLost)


@pytest.mark.parametrize("bad", BY_TRITON, ids=str)
def test_what_triton_refuses_itself_neither_opens_nor_ends_a_video(wire: Wire, alone: dict[int, list[Answer]], bad: Bad) -> None:
    mine = film(wire, 1)
    check(ask(wire, mine.video_id, bad, start=True), bad)
    assert isinstance(mine.send(), errors.VideoLost)
    mine.send(start=True)
    check(ask(wire, mine.video_id, bad, end=True), bad)
    assert same(mine.send(end=True), alone[1][1])


def test_a_start_without_any_tensor_opens_nothing_and_such_an_end_loses_the_video(wire: Wire, alone: dict[int, list[Answer]]) -> None:
    """It fails in the first stage, which has taken note of its flag; the stages behind it hear nothing. START begins anew."""
    mine = film(wire, 1)
    check(ask(wire, mine.video_id, NO_TENSOR, start=True), NO_TENSOR)
    assert isinstance(mine.send(), errors.VideoLost)
    mine.send(start=True)
    check(ask(wire, mine.video_id, NO_TENSOR, end=True), NO_TENSOR)
    assert isinstance(mine.send(), errors.VideoLost)
    mine.answers.clear()
    assert same(mine.send(start=True, end=True), alone[1][0])


def peaks_mib(server: Server, model: str, *, afresh: bool = False) -> list[float]:
    """The most memory that each process of a python model has held; from now on where `afresh`."""
    folders = [Path(f"/proc/{pid}") for pid, name in sorted(server.stubs().items()) if name.startswith(model)]
    for folder in folders if afresh else ():
        (folder / "clear_refs").write_text("5")
    return [int(re.findall(r"VmHWM:\s+(\d+) kB", (folder / "status").read_text())[0]) / 1024 for folder in folders]


@pytest.mark.parametrize("bad", BOMBS, ids=str)
def test_a_bomb_is_refused_by_its_header(small_server: Server, wire: Wire, bad: Bad) -> None:
    before = peaks_mib(small_server, "preprocess", afresh=True)
    check(ask(wire, next(_ids), bad, start=True, end=True), bad)
    after = peaks_mib(small_server, "preprocess")
    assert len(after) == 2
    assert max(np.subtract(after, before)) < 100, "900 million pixels are as many bytes and more; a header is none of them"


def test_a_bad_end_frees_the_video_in_the_memory_bank_too(wire: Wire) -> None:
    mine = film(wire, 1)
    mine.send(start=True, owner="me")
    check(wire.ask(mine.video_id, TRUNCATED.tensors, end=True, owner="me"), TRUNCATED)
    mine.answers.clear()
    assert "LOGITS" in mine.send(start=True, end=True, owner="somebody else")


def test_a_first_frame_without_prompts_has_an_empty_result(wire: Wire) -> None:
    video_id = next(_ids)
    answer = wire.ask(video_id, {"FRAME": FRAME}, start=True)
    assert {name: answer[name].tolist() for name in ("FRAME_INDEX", "OBJECT_IDS", "MASKS", "MASK_BYTES", "BOXES", "SCORES")} == {
        "FRAME_INDEX": [0],
        "OBJECT_IDS": [],
        "MASKS": [],
        "MASK_BYTES": [],
        "BOXES": [],
        "SCORES": [],
    }
    assert wire.ask(video_id, {"FRAME": FRAME}, end=True)["FRAME_INDEX"] == 1


def test_a_frame_of_one_pixel_is_tracked(wire: Wire) -> None:
    pixel = np.full((1, 1, 3), 90, np.uint8)
    answer = wire.ask(next(_ids), {"FRAME": pixel, "PROMPTS": [{"object": 1, "points": [[0.5, 0.5]], "labels": [1]}]}, start=True, end=True)
    assert json.loads(answer["MASKS"].tobytes())["size"] == [1, 1]


def test_coordinates_and_masks_are_those_of_the_frame_sent(wire: Wire) -> None:
    """The size may change at any frame. A frame of one colour looks the same at any size, so a click at the same place gives the same bits."""

    def asked(height: int, width: int, x: float, y: float, object_id: int, **flags: bool) -> Answer | errors.MaskletError:
        frame = np.full((height, width, 3), 120, np.uint8)
        prompts = [{"object": object_id, "points": [[x, y]], "labels": [1]}]
        return wire.ask(video_id, {"FRAME": frame, "PROMPTS": prompts}, logits=True, **flags)

    video_id = next(_ids)
    small = asked(32, 48, 12, 8, 1, start=True)
    large = asked(128, 96, 24, 32, 2)
    assert np.array_equal(small["LOGITS"][0], large["LOGITS"][1])
    assert [json.loads(mask.tobytes())["size"] for mask in separated(large)] == [[128, 96]] * 2
    assert isinstance(asked(32, 48, 24, 65, 2), errors.BadPrompt)  # y was fine in the frame before
    assert asked(32, 48, 24, 31, 2, end=True)["FRAME_INDEX"] == 2


def test_a_frame_index_has_an_end(wire: Wire) -> None:
    video_id = next(_ids)
    assert wire.ask(video_id, {"FRAME": FRAME}, start=True, frame_index=2**63 - 1)["FRAME_INDEX"] == 2**63 - 1
    assert isinstance(wire.ask(video_id, {"FRAME": FRAME}), errors.BadFrameIndex)
    wire.ask(video_id, {"PROMPTS": []}, end=True)


def test_a_video_in_reverse_ends_at_frame_0(wire: Wire) -> None:
    video_id = next(_ids)
    assert wire.ask(video_id, {"FRAME": FRAME}, start=True, frame_index=1, reverse=True)["FRAME_INDEX"] == 1
    assert wire.ask(video_id, {"FRAME": FRAME}, reverse=True)["FRAME_INDEX"] == 0
    error = wire.ask(video_id, {"FRAME": FRAME}, reverse=True, end=True)
    assert isinstance(error, errors.BadFrameIndex)
    assert "before frame 0" in str(error)


@pytest.fixture(scope="module")
def state(small_server: Server) -> np.ndarray:
    with Wire(small_server.grpc_url) as own:
        return film(own, 1).send(start=True, end=True, snapshot=True)["SNAPSHOT"]


def relabelled(state: np.ndarray, **identity: str) -> np.ndarray:
    """A snapshot that says it was taken by another server."""
    data = state.tobytes()
    (length,) = struct.unpack("<Q", data[8:16])
    header = json.loads(data[16 : 16 + length])
    header["identity"] |= identity
    text = json.dumps(header).encode()
    return np.frombuffer(data[:8] + struct.pack("<Q", len(text)) + text + data[16 + length :], np.uint8)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda state: state[:-1], "bytes of arrays, more were announced"),
        (lambda state: state[:100], "header is cut off"),
        (lambda state: np.append(state, np.uint8(0)), "1 bytes too many"),
        (lambda state: state[1:], "does not begin like one"),
        (lambda state: state[:0], r"shape \[0\]"),
        (lambda state: relabelled(state, checkpoint_sha256="0" * 64), "taken with checkpoint_sha256 '0000.*Restore it on a server of its own kind"),
        (lambda state: relabelled(state, variant="efficienttam_s_512"), "taken with variant 'efficienttam_s_512', this server has"),
        (lambda state: relabelled(state, contract_version="0"), "taken by a server of contract '0'"),
    ],
    ids=["cut", "header cut", "longer", "no magic", "empty", "other checkpoint", "other variant", "other contract"],
)
def test_a_bad_snapshot_opens_nothing(wire: Wire, state: np.ndarray, alone: dict[int, list[Answer]], damage, says) -> None:
    mine = film(wire, 1)
    refused = wire.ask(mine.video_id, {"STATE": damage(state)}, start=True)
    assert isinstance(refused, errors.BadState)
    assert re.search(says, str(refused)), refused
    assert isinstance(mine.send(), errors.VideoLost)
    assert same(mine.send(start=True, end=True), alone[1][0])
    assert "FRAME_INDEX" in wire.ask(next(_ids), {"STATE": state}, start=True, end=True), "undamaged it is fine"


@pytest.mark.parametrize("bad", [TRUNCATED, PARAMETERS[0], PROMPTS[0]], ids=str)
def test_a_good_snapshot_with_a_bad_request_opens_nothing(wire: Wire, state: np.ndarray, bad: Bad) -> None:
    """An empty video in its place would go on as if nothing had ever been prompted."""
    video_id = next(_ids)
    check(wire.ask(video_id, {**bad.tensors, "STATE": state}, start=True, **bad.parameters), bad)
    assert isinstance(wire.ask(video_id, {"FRAME": FRAME}), errors.VideoLost)


def test_a_video_must_begin_and_is_over_after_its_end(wire: Wire) -> None:
    video_id = next(_ids)
    assert isinstance(wire.ask(video_id, {"FRAME": FRAME}), errors.VideoLost)
    assert "FRAME_INDEX" in wire.ask(video_id, {"FRAME": FRAME}, start=True)
    assert "FRAME_INDEX" in wire.ask(video_id, {"PROMPTS": []}, end=True)
    assert isinstance(wire.ask(video_id, {"FRAME": FRAME}), errors.VideoLost)
    assert isinstance(wire.ask(video_id, {"PROMPTS": []}, end=True), errors.VideoLost)


@pytest.mark.parametrize("video_id", [0, "", "x" * 129])
def test_a_bad_video_id_is_named(wire: Wire, video_id: int | str) -> None:
    assert isinstance(wire.ask(video_id, {"FRAME": FRAME}, start=True), errors.BadVideoId)


def test_an_integer_and_a_text_are_two_videos(wire: Wire) -> None:
    number = next(_ids)
    for video_id in (number, str(number)):
        assert wire.ask(video_id, {"FRAME": FRAME}, start=True)["FRAME_INDEX"] == 0
    for video_id in (number, str(number)):
        assert wire.ask(video_id, {"FRAME": FRAME}, end=True)["FRAME_INDEX"] == 1


@pytest.mark.parametrize("owner", [{"owner": "a thief"}, {}], ids=["another", "none"])
def test_another_owners_frame_or_start_changes_nothing(wire: Wire, alone: dict[int, list[Answer]], owner: dict[str, str]) -> None:
    mine = film(wire, 1)
    mine.send(start=True, owner="me")
    assert isinstance(wire.ask(mine.video_id, {"FRAME": FRAME}, **owner), errors.NotOwner)
    assert same(mine.send(owner="me"), alone[1][1])
    assert isinstance(wire.ask(mine.video_id, {"FRAME": FRAME}, start=True, **owner), errors.NotOwner)
    assert same(mine.send(owner="me"), alone[1][2])
    assert same(mine.send(owner="me", end=True), alone[1][3])


def test_another_owners_end_is_refused_but_triton_has_ended_the_sequence(wire: Wire, alone: dict[int, list[Answer]]) -> None:
    """Triton does not know owners. Ids are random, so nobody hits one by chance; who guesses one can end a video, but not see or take it."""
    mine = film(wire, 1)
    mine.send(start=True, owner="me")
    assert isinstance(wire.ask(mine.video_id, {"PROMPTS": []}, end=True, owner="a thief"), errors.NotOwner)
    assert isinstance(mine.send(owner="me"), errors.VideoLost)
    assert isinstance(wire.ask(mine.video_id, {"FRAME": FRAME}, start=True, owner="a thief"), errors.NotOwner)
    mine.answers.clear()
    assert same(mine.send(start=True, end=True, owner="me"), alone[1][0])
