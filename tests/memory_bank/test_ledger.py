"""max_bank_mib is a limit: what live videos grow to is set aside before anything is computed, within one execution too, and given back."""

import random

import numpy as np
import pytest

from masklet.errors import MaskletError, ServerBusy, ServerFault
from masklet_bank.ledger import NOTHING, Footprint, Ledger
from masklet_bank.video import Video
from tests.fakes.bank_driver import VARIANT, Client, RecordingStages, click, mask, request, service
from tests.memory_bank.test_selection import SELECTIVE

OBJECT = VARIANT.object_bytes()
PROMPTED = VARIANT.object_bytes(2) - OBJECT  # what a further prompted frame adds
CLICK = 2 * 4 + 4


@pytest.fixture
def stages() -> RecordingStages:
    return RecordingStages()


def busy(answers: list) -> int:
    return sum(isinstance(answer, ServerBusy) for answer in answers)


def start(video: int, *objects: int):
    return request(video, video, [click(object_id, (5, 5)) for object_id in objects], start=True)


def test_what_is_reserved_counts_at_once_and_what_is_settled_takes_its_place():
    ledger = Ledger(100)
    ledger.reserve("a", 60)
    with pytest.raises(ServerBusy, match=r"grow by 0\.1 KiB, and memories fill 0\.1 KiB of the 0\.1 KiB"):
        ledger.reserve("b", 52)
    assert (ledger.taken, ledger.held, ledger.has_room(40), ledger.has_room(41)) == (60, NOTHING, True, False)
    ledger.settle("a", Footprint(1, 10, 50))
    ledger.settle("b", None)
    assert (ledger.taken, ledger.held) == (50, Footprint(1, 10, 50))
    ledger.reserve("a", 20)
    ledger.reserve("a", 30)
    assert ledger.taken == 100
    ledger.settle("a", None)
    assert (ledger.taken, ledger.held, dict(ledger.settled), dict(ledger.under_way)) == (0, NOTHING, {}, {})


def test_a_video_that_takes_the_place_of_another_may_use_its_bytes_and_no_one_else_may_before_it_is_settled():
    ledger = Ledger(100)
    ledger.settle("a", Footprint(1, 80, 80))
    ledger.begin("a")
    ledger.reserve("a", 90)
    assert ledger.taken == 90
    ledger.begin("a")  # refused: the one before is back
    with pytest.raises(ServerBusy):
        ledger.reserve("b", 30)
    ledger.settle("a", Footprint(1, 80, 80))
    assert ledger.taken == 80


def test_a_video_that_is_gone_keeps_what_its_last_request_was_promised_until_that_is_settled():
    ledger = Ledger(100)
    ledger.settle("a", Footprint(1, 30, 40))
    ledger.reserve("a", 20)
    ledger.release("a")
    assert (ledger.taken, ledger.held) == (60, NOTHING)
    ledger.settle("a", None)
    assert (ledger.taken, dict(ledger.under_way)) == (0, {})
    ledger.settle("a", Footprint(1, 30, 40))
    ledger.release("a")
    assert (ledger.taken, ledger.held) == (0, NOTHING)


def test_videos_that_begin_in_one_execution_count_for_one_another(stages):
    held = service(stages, max_bytes=2 * OBJECT + 2 * CLICK)
    answers = held.answer([start(video, 1) for video in range(1, 33)])
    assert busy(answers) == 30
    assert held.videos.ledger.held == Footprint(2, held.videos.ledger.held.nbytes, 2 * OBJECT + 2 * CLICK)


def test_objects_that_are_added_in_one_execution_count_for_one_another(stages):
    held = service(stages, max_bytes=5 * OBJECT)
    held.answer([start(1, 1), start(2, 1)])
    answers = held.answer([request(1, 1, [click(2, (5, 5)), click(3, (5, 5))]), request(2, 1, [click(2, (5, 5)), click(3, (5, 5))])])
    assert busy(answers) == 1
    assert held.videos.ledger.held.objects == 4


def test_a_prompt_on_a_further_frame_of_an_object_counts(stages):
    held = service(stages, max_bytes=OBJECT + 2 * PROMPTED + 3 * CLICK)
    client = Client(held)
    for _ in range(3):
        client.send(click(1, (5, 5)))
    before = client.send(control=True, snapshot=True)["SNAPSHOT"]
    with pytest.raises(ServerBusy, match="remove objects"):
        client.send(click(1, (5, 5)))
    assert np.array_equal(client.send(control=True, snapshot=True)["SNAPSHOT"], before)
    assert client.send()["OBJECT_IDS"].tolist() == [1]


def test_where_a_prompted_frame_makes_room_for_the_next_a_full_server_takes_it(stages):
    held = service(stages, max_bytes=OBJECT + PROMPTED + 4 * CLICK, max_conditioning=2)
    client = Client(held)
    for _ in range(9):
        client.send(click(1, (5, 5)))
    assert held.videos.ledger.held.reserved == OBJECT + PROMPTED + 2 * CLICK


def test_a_restored_video_counts_with_all_that_it_grows_to(stages):
    client = Client(service(stages))
    client.send(click(1, (5, 5)), click(2, (5, 5)))
    state = client.send(control=True, snapshot=True)["SNAPSHOT"]
    assert len(state) < OBJECT
    held = service(stages, max_bytes=3 * OBJECT)
    answers = held.answer([request(video, None, start=True, restore=state) for video in (1, 2)])
    assert busy(answers) == 1
    assert len(held.videos) == 1


def test_what_was_refused_or_failed_gives_its_bytes_back(stages):
    held = service(stages, max_bytes=3 * OBJECT)
    client = Client(held)
    client.send(click(1, (5, 5)))
    before = held.videos.ledger.taken
    stages.fail = "memory_encoder"
    for _ in range(5):
        with pytest.raises(ServerFault):
            client.send(click(2, (5, 5)))
    stages.fail = None
    with pytest.raises(MaskletError):
        client.send(click(2, (5, 5)), click(3, (5, 5)), frame_index=0)
    assert (held.videos.ledger.taken, dict(held.videos.ledger.under_way)) == (before, {})
    assert client.send(click(2, (5, 5)))["OBJECT_IDS"].tolist() == [1, 2]


def test_on_a_full_server_an_object_may_take_the_place_of_one_that_is_removed(stages):
    held = service(stages, max_bytes=OBJECT + CLICK)
    client = Client(held)
    client.send(click(1, (5, 5)))
    with pytest.raises(ServerBusy):
        client.send(click(2, (5, 5)))
    assert client.send(click(1, remove=True), click(2, (5, 5)))["OBJECT_IDS"].tolist() == [2]


def test_a_full_server_lets_a_video_begin_anew_in_its_own_place(stages):
    held = service(stages, max_bytes=OBJECT + CLICK)
    held.answer([start(1, 1)])
    (answer,) = held.answer([start(1, 7)])
    assert answer["OBJECT_IDS"].tolist() == [7]
    (answer,) = held.answer([request(1, 2, end=True)])
    assert (held.videos.ledger.taken, held.videos.ledger.held) == (0, NOTHING)


@pytest.mark.parametrize("variant", [VARIANT, SELECTIVE], ids=["newest", "selective"])
@pytest.mark.parametrize("seed", range(20))
def test_a_video_never_holds_more_than_was_reserved_when_it_was_last_prompted(variant, seed):
    """Whatever is prompted, corrected, cleared and tracked: only a request with prompts can raise what is reserved, and by what it said before."""
    rng = random.Random(seed)
    held = service(RecordingStages(), variant=variant, max_conditioning=3)
    client = Client(held)
    client.send(click(1, (5, 5)))
    for _ in range(80):
        reserved, promised = held.videos.ledger.taken, []
        reserve = held.videos.ledger.reserve
        held.videos.ledger.reserve = lambda video_id, nbytes, reserve=reserve, promised=promised: (promised.append(nbytes), reserve(video_id, nbytes))
        frame = client.service.videos.find(1).frame
        kind = rng.choice(["track"] * 6 + ["click", "mask", "refine", "clear", "ahead"])
        prompts = {"click": [click(1, (7, 7))], "mask": [mask(1)], "refine": [click(1, (8, 8), append=True)], "clear": [click(1, (9, 9), clear=True)]}
        ahead = {"number": frame + 9, "frame_index": frame + 9, "track": False} if kind == "ahead" else {}
        again = {"number": frame, "refine": True} if kind in ("refine", "clear") else {}
        client.send(*prompts.get(kind, [click(1, (3, 3))] * (kind == "ahead")), **ahead, **again)
        del held.videos.ledger.reserve
        assert held.videos.ledger.taken <= reserved + sum(promised)
        assert held.videos.ledger.taken == reserved + sum(promised) or kind == "track", (
            "what a prompt costs is known to the byte before it is computed"
        )
        assert held.videos.ledger.held.nbytes <= held.videos.ledger.taken


def test_whether_there_is_room_is_known_without_looking_at_the_objects(stages, monkeypatch):
    held = service(stages, max_points=63)
    for video in range(1, 6):
        held.answer([start(video, 1, 2, 3)])
    looked, footprint = [], Video.footprint
    monkeypatch.setattr(Video, "footprint", lambda own, object_bytes: looked.append(own) or footprint(own, object_bytes))
    held.answer([start(9, 1)])
    held.answer([request(1, 3, [click(4, (5, 5))])])
    # Banks of other tests look at their own videos now and then.
    objects = [len(own.objects) for own in looked if own.limits.max_points == 63]
    assert objects == [0, 1, 4], "the new one when it begins, empty, and each of the two when it is settled"
