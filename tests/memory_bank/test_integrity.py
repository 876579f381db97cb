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


def with_bank(video, object_id: int, **parts):
    return replace(video, objects={**video.objects, object_id: replace(video.objects[object_id], **parts)})


def with_answer(video, object_id: int, on: int, **parts):
    bank = video.objects[object_id]
    return with_bank(video, object_id, conditioning={**bank.conditioning, on: replace(bank.conditioning[on], **parts)}, last=None)


def with_result(video, **parts):
    """Another result of object 2 on its prompted frame."""
    return with_answer(video, 2, 0, result=replace(video.objects[2].conditioning[0].result, **parts))


def with_pointers(video, pointers):
    """More, or other, pointers of object 1."""
    return with_bank(video, 1, pointers={**video.objects[1].pointers, **pointers})


@pytest.mark.parametrize("variant", [VARIANT, SELECTIVE], ids=["newest", "selective"])
def test_a_sound_bank_has_nothing_to_say(variant):
    held = lived(variant)
    assert check_videos(held.videos) == []
    assert [check_video(held.videos.find(video_id), variant) for video_id in (1, "other")] == [[], []]


def pointer(video, frame: int = 20):
    return video.objects[1].pointers[frame]


def without(held, frame: int):
    return {other: array for other, array in held.items() if other != frame}


def limited(video, **limits):
    return replace(video, limits=replace(video.limits, **limits))


DAMAGE = {
    "direction": (lambda video: replace(video, direction=0), "travels 0"),
    "frame gone": (lambda video: replace(video, frame=None), "no frame was answered"),
    "frame out of range": (lambda video: replace(video, frame=2**63), "stands at frame"),
    "too many objects": (lambda video: limited(video, max_objects=2), "3 objects, over 2"),
    "too many prompted frames": (lambda video: limited(video, max_objects=3, max_conditioning=1), "prompted frames, over 3"),
    "over the cap": (lambda video: replace(video, policy=replace(video.policy, max_conditioning=2)), "over the cap"),
    "never prompted": (lambda video: with_bank(video, 2, conditioning={}), "object 2: it was never prompted"),
    "kept as another": (lambda video: with_answer(video, 2, 0, frame=1), "kept as another"),
    "corrected and prompted": (lambda video: with_answer(video, 2, 0, tracked=video.objects[2].conditioning[0].result), "a corrected frame is kept"),
    "prompted and ordinary": (lambda video: with_pointers(video, {0: pointer(video)}), "a prompted one and an ordinary"),
    "memory without pointer": (
        lambda video: with_bank(video, 1, pointers=without(video.objects[1].pointers, next(iter(video.objects[1].memories)))),
        "a memory and no pointer",
    ),
    "trusted": (lambda video: with_bank(video, 1, trusted=frozenset({19})), "not judged"),
    "no index": (lambda video: with_pointers(video, {-4: pointer(video)}), "has no index"),
    "too many pointers": (lambda video: with_pointers(video, {frame: pointer(video).copy() for frame in range(1, 5)}), "20 pointers, over 16"),
    "ahead": (lambda video: with_bank(video, 1, pointers={**without(video.objects[1].pointers, 20), 21: pointer(video)}), "lie ahead of frame 20"),
    "newest answer of another": (lambda video: with_bank(video, 1, last=video.objects[3].conditioning[13]), "newest answer"),
    "newest answer not remembered": (
        lambda video: with_bank(video, 1, memories={**video.objects[1].memories, 20: video.objects[1].memories[20].copy()}),
        "newest answer",
    ),
    "shape": (lambda video: with_result(video, low=np.zeros((3, 3), np.float32)), "logits of shape (3, 3)"),
    "type": (lambda video: with_result(video, memory=np.zeros((VARIANT.memory_tokens, 64), np.float32)), "memory of shape"),
    "points": (lambda video: with_answer(video, 1, 0, points=np.zeros((2, 2), np.float32)), "points of shape (2, 2)"),
    "score": (lambda video: with_result(video, score=float("nan")), "a score is nan"),
    "shared between frames": (lambda video: with_pointers(video, {18: pointer(video, 19)}), "also that of object 1"),
    "shared between objects": (lambda video: with_bank(video, 2, memories={20: video.objects[3].memories[20]}), "also that of object"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_to_a_video_is_named(name):
    held = lived()
    damage, says = DAMAGE[name]
    found = check_video(damage(video_of(held)), VARIANT)
    assert any(says in problem for problem in found), found


LEDGER = {
    "a video that the ledger does not know": (lambda videos: videos.ledger.settle(1, None), "the ledger knows"),
    "bytes of a video that is gone": (lambda videos: videos.ledger.settle("gone", Footprint(1, 2, 3)), "the ledger knows"),
    "a time of a video that is gone": (lambda videos: videos.last_used.update(gone=1.0), "the clock knows"),
    "a video without a time": (lambda videos: videos.last_used.pop(1), "the clock knows"),
    "a reservation left over": (lambda videos: videos.ledger.reserve(1, 5), "under way"),
    "a request left over": (lambda videos: videos.working.add(1), "under way"),
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
    video = video_of(held)
    held.videos.change(1, video, with_bank(video, 1, pointers={**without(video.objects[1].pointers, 20), 25: pointer(video)}))
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
