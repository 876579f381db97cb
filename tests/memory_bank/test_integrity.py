"""The bank notices when what it holds is not what it must be: every kind of damage is named, and there is none without one."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest

from masklet_bank.integrity import check_video, check_videos
from masklet_bank.ledger import Footprint
from tests.fakes.bank_driver import VARIANT, Client, RecordingStages, click, mask, service
from tests.memory_bank.test_metrics import RecordingMeters
from tests.memory_bank.test_selection import SELECTIVE


def lived(variant=VARIANT, **options):
    """A bank with two videos in the middle of their lives; the first has three objects, and one of them was just corrected."""
    held = service(RecordingStages(), variant=variant, max_conditioning=3, **options)
    client = Client(held)
    client.send(click(1, (10, 20)), mask(2))
    for frame in range(20):
        client.send(*[click(3, (frame, 5))] * (frame % 6 == 0))
    client.send(click(1, (9, 9)), refine=True, number=20)
    Client(held, "other").send(click(1, (1, 1)))
    return held


def video_of(held):
    return held.videos.find(1)


def bank_of(held, object_id: int = 1):
    return video_of(held).objects[object_id]


@pytest.mark.parametrize("variant", [VARIANT, SELECTIVE], ids=["newest", "selective"])
def test_a_sound_bank_has_nothing_to_say(variant):
    held = lived(variant)
    assert check_videos(held.videos) == []
    assert [check_video(held.videos.find(video_id), variant) for video_id in (1, "other")] == [[], []]


def swap(bank, frame: int, **parts):
    bank.conditioning[frame] = replace(bank.conditioning[frame], **parts)
    bank.last = None


def with_result(bank, **parts):
    swap(bank, 0, result=replace(bank.conditioning[0].result, **parts))


def forget_pointer(bank):
    del bank.pointers[next(iter(bank.memories))]


DAMAGE = {
    "direction": (lambda video: setattr(video, "direction", 0), "travels 0"),
    "frame gone": (lambda video: setattr(video, "frame", None), "no frame was answered"),
    "frame out of range": (lambda video: setattr(video, "frame", 2**63), "stands at frame"),
    "too many objects": (lambda video: setattr(video, "limits", replace(video.limits, max_objects=2)), "3 objects, over 2"),
    "too many prompted frames": (
        lambda video: setattr(video, "limits", replace(video.limits, max_objects=3, max_conditioning=1)),
        "prompted frames, over 3",
    ),
    "over the cap": (lambda video: setattr(video.objects[3], "max_conditioning", 2), "over the cap"),
    "never prompted": (lambda video: video.objects[2].conditioning.clear(), "object 2: it was never prompted"),
    "kept as another": (lambda video: video.objects[2].conditioning.update({1: video.objects[2].conditioning[0]}), "kept as another"),
    "prompted and ordinary": (lambda video: video.objects[1].pointers.update({0: video.objects[1].pointers[20]}), "a prompted one and an ordinary"),
    "memory without pointer": (lambda video: forget_pointer(video.objects[1]), "a memory and no pointer"),
    "trusted": (lambda video: video.objects[1].trusted.add(19), "does not select"),
    "no index": (lambda video: video.objects[1].pointers.update({-4: video.objects[1].pointers[20]}), "has no index"),
    "too many pointers": (
        lambda video: video.objects[1].pointers.update({frame: video.objects[1].pointers[20].copy() for frame in range(1, 5)}),
        "20 pointers, over 16",
    ),
    "ahead": (lambda video: video.objects[1].pointers.update({21: video.objects[1].pointers.pop(20)}), "lie ahead of frame 20"),
    "newest answer of another": (lambda video: setattr(video.objects[1], "last", video.objects[3].conditioning[13]), "newest answer"),
    "newest answer not remembered": (lambda video: video.objects[1].memories.update({20: video.objects[1].memories[20].copy()}), "newest answer"),
    "shape": (lambda video: with_result(video.objects[2], low=np.zeros((3, 3), np.float32)), "logits of shape (3, 3)"),
    "type": (lambda video: with_result(video.objects[2], memory=np.zeros((VARIANT.memory_tokens, 64), np.float32)), "memory of shape"),
    "points": (lambda video: swap(video.objects[1], 0, points=np.zeros((2, 2), np.float32)), "points of shape (2, 2)"),
    "score": (lambda video: with_result(video.objects[2], score=float("nan")), "a score is nan"),
    "shared between frames": (lambda video: video.objects[1].pointers.update({18: video.objects[1].pointers[19]}), "also that of object 1"),
    "shared between objects": (lambda video: video.objects[2].memories.update({20: video.objects[3].memories[20]}), "also that of object"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_to_a_video_is_named(name):
    held = lived()
    damage, says = DAMAGE[name]
    damage(video_of(held))
    found = check_video(video_of(held), VARIANT)
    assert any(says in problem for problem in found), found


LEDGER = {
    "a video that the ledger does not know": (lambda videos: videos.ledger.settle(1, None), "the ledger knows"),
    "bytes of a video that is gone": (lambda videos: videos.ledger.settle("gone", Footprint(1, 2, 3)), "the ledger knows"),
    "a time of a video that is gone": (lambda videos: videos._last_used.update(gone=1.0), "the clock knows"),
    "a video without a time": (lambda videos: videos._last_used.pop(1), "the clock knows"),
    "a reservation left over": (lambda videos: videos.ledger.reserve(1, 5), "under way"),
    "a request left over": (lambda videos: videos._working.add(1), "under way"),
    "a wrong sum": (lambda videos: setattr(videos.ledger, "taken", videos.ledger.taken + 1), "bytes taken"),
    "wrong totals": (lambda videos: setattr(videos.ledger, "held", Footprint(4, 0, videos.ledger.taken)), "its entries are"),
    "bytes that nobody settled": (lambda videos: videos.find(1).objects.pop(2), "and it is Footprint"),
}


@pytest.mark.parametrize("name", LEDGER)
def test_damage_to_the_ledger_is_named(name):
    held = lived()
    damage, says = LEDGER[name]
    damage(held.videos)
    found = [*held._inspector.look(held.videos), *held._inspector.look(held.videos)]
    assert any(says in problem for problem in found), found


def test_between_requests_every_video_has_its_turn_and_a_mistake_is_said_and_counted_once(caplog):
    meters = RecordingMeters()
    held = lived(meters=meters)
    with caplog.at_level(logging.ERROR, "masklet"):
        for _ in range(4):
            held.idle()
    assert not caplog.records
    bank_of(held).pointers[25] = bank_of(held).pointers.pop(20)
    with caplog.at_level(logging.ERROR, "masklet"):
        for _ in range(10):
            held.idle()
    said = [record.getMessage() for record in caplog.records]
    assert any("video 1: object 1: pointers of frames [25] lie ahead of frame 20" in line for line in said)
    assert len(said) == len(set(said)) == meters["integrity_errors_total"]


def test_one_look_reads_one_video(monkeypatch):
    held, looked = lived(), []
    footprint = type(video_of(held)).footprint
    monkeypatch.setattr(type(video_of(held)), "footprint", lambda own, object_bytes: looked.append(own) or footprint(own, object_bytes))
    for count in (1, 2):
        held.idle()
        # Banks of other tests look at their own videos now and then.
        assert len([own for own in looked if own in (held.videos.find(1), held.videos.find("other"))]) == count
    assert all(held.videos.find(video_id) in looked for video_id in (1, "other"))
