"""Prompted frames over the cap: those ahead are kept, those behind become ordinary; what is read is the official choice of all that ever were."""

import random
from dataclasses import replace

import numpy as np
import pytest

from masklet.errors import BadPrompt
from masklet.families import SAM3
from tests.fakes.bank_driver import VARIANT, Client, RecordingStages, click, service

CAP = 3
# Reads at most two conditioning frames, whatever the server keeps.
PICKY = replace(VARIANT, family=replace(VARIANT.family, max_conditioning=2))
# The same with the memories of good frames instead of the newest.
SELECTIVE = replace(VARIANT, family=replace(SAM3, max_conditioning=2, pointer_time=False, occlusion_embedding=False, soft_masks=False))


class Good(RecordingStages):
    """Every mask is good enough to be selected."""

    def mask_decoder(self, inputs):
        out = super().mask_decoder(inputs)
        return out | {"IOU": np.full_like(out["IOU"], 0.9)}


@pytest.fixture
def stages() -> RecordingStages:
    return RecordingStages()


def conditioning(client: Client, object_id: int = 1) -> list[int]:
    return list(client.service.videos.find(client.video).objects[object_id].conditioning)


def read(stages: RecordingStages) -> tuple[list[tuple[int, int]], list[int]]:
    """(frame, slot) of the memories and frames of the pointers that the newest tracked frame read; features were filled with frame numbers."""
    call = stages.named("memory_attention")[-1]
    frames = call["MEMORY"][0, :, 0, 0].astype(int).tolist()
    return list(zip(frames, call["SLOT"][0].tolist(), strict=True)), call["POINTERS"][0, :, 0].astype(int).tolist()


def selected(prompted: list[int], frame: int, most: int) -> list[int]:
    """select_closest_cond_frames, written plainly (modeling/efficienttam_utils.py:19-61)."""
    if len(prompted) <= most:
        return prompted
    chosen = []
    if before := [past for past in prompted if past < frame]:
        chosen.append(max(before))
    if after := [past for past in prompted if past >= frame]:
        chosen.append(min(after))
    rest = sorted((past for past in prompted if past not in chosen), key=lambda past: abs(past - frame))
    return chosen + rest[: most - len(chosen)]


def official(prompted: list[int], tracked: set[int], frame: int, direction: int, most: int, selective: bool) -> tuple[list, list]:
    """What a tracked frame reads of state that forgets nothing (efficienttam_base.py:524-652), conditioning frames in the order in which they were
    prompted; every tracked mask is good."""
    chosen = sorted(selected(prompted, frame, most), key=prompted.index)
    ordinary = tracked | (set(prompted) - set(chosen))
    if selective:  # frame_filter of sam3_tracker_base.py:517-557
        good = sorted((past for past in tracked if direction * (frame - past) > 0 and (past or direction < 0)), key=lambda past: abs(frame - past))
        ranked = [frame - direction, *(past for past in good[:15] if past != frame - direction)]
    else:
        ranked = [frame - direction * distance for distance in range(1, 16)]
    places = [(past, rank) for rank, past in enumerate(ranked) if past in ordinary]
    memories = [(past, 6) for past in chosen] + [(past, rank) for past, rank in reversed(places) if rank < 6]
    last = len(ranked) - 1 if selective else 15  # the farthest pointer of a selection is never read
    pointers = [past for past in chosen if direction * (frame - past) >= 0] + [past for past, rank in places if rank < min(last, 15)]
    return memories, pointers


@pytest.mark.parametrize("variant", [VARIANT, PICKY, SELECTIVE], ids=["all", "two", "selective"])
@pytest.mark.parametrize("seed", range(25))
def test_bounded_state_reads_what_the_official_rule_selects_of_everything(variant, seed):
    """Prompts ahead of tracking, on the way, and ahead again in the middle."""
    rng = random.Random(seed)
    direction = rng.choice((1, -1))
    frames = sorted(rng.sample(range(100), 60), reverse=direction < 0)
    most = min(CAP, variant.family.max_conditioning or CAP)
    stages = Good()
    held = service(stages, variant=variant, max_conditioning=CAP)
    client, prompted, tracked = Client(held), [], set()

    def prompt(frame: int, **options) -> None:
        client.send(click(1, (5 + frame, 5)), number=frame, frame_index=frame, **options)
        prompted.extend([frame] * (frame not in prompted))

    for frame in rng.sample(frames, rng.randrange(1, 9)):
        prompt(frame, track=False)
    for place, frame in enumerate(frames):
        if place == 30:
            for ahead in rng.sample(frames[place:], rng.randrange(6)):
                prompt(ahead, track=False)
        if rng.random() < 0.1:
            prompt(frame, reverse=direction < 0)
            continue
        calls = len(stages.named("memory_attention"))
        answer = client.send(number=frame, frame_index=frame, reverse=direction < 0)
        began = any(direction * (frame - past) >= 0 for past in prompted)
        assert answer["OBJECT_IDS"].tolist() == [1] * began
        if began and frame not in prompted:
            assert read(stages) == official(prompted, tracked, frame, direction, most, variant is SELECTIVE)
            tracked.add(frame)
        else:
            assert len(stages.named("memory_attention")) == calls


@pytest.mark.parametrize("variant", [VARIANT, SELECTIVE], ids=["all", "selective"])
def test_no_prompt_given_ahead_of_tracking_is_lost(stages, variant):
    client = Client(service(stages, variant=variant, max_conditioning=CAP))
    for frame in range(0, 90, 10):
        client.send(click(1, (5, 5)), number=frame, frame_index=frame, track=False)
    assert conditioning(client) == [*range(0, 90, 10)]
    for frame in range(90):
        answer = client.send(number=frame, frame_index=frame)
        assert answer["OBJECT_IDS"].tolist() == [1]
        ahead = [prompted for prompted in conditioning(client) if prompted > frame]
        assert ahead == [prompted for prompted in range(0, 90, 10) if prompted > frame]
        assert len(conditioning(client)) - len(ahead) <= CAP


def test_before_the_direction_is_known_nothing_is_behind(stages):
    """A prompt with track=false frees the direction again: the video may turn round, and then reads what was behind."""
    client = Client(service(stages, max_conditioning=2))
    for frame in (4, 5):
        client.send(click(1, (5, 5)), number=frame, frame_index=frame)
    for frame in (6, 1, 0):
        client.send(click(1, (5, 5)), number=frame, frame_index=frame, track=False)
    assert conditioning(client) == [4, 5, 6, 1, 0]
    client.send(number=3, frame_index=3, reverse=True)
    assert sorted(conditioning(client)) == [0, 1, 4, 5], "of the three behind the farthest is ordinary now"


def test_a_prompt_for_which_there_is_no_room_is_refused_and_changes_nothing(stages):
    client = Client(service(stages, max_objects=2, max_conditioning=2))
    for frame in (0, 10, 20):
        client.send(click(1, (5, 5)), number=frame, frame_index=frame, track=False)
    client.send(click(2, (5, 5)), number=5, frame_index=5, track=False)
    before = client.send(control=True, snapshot=True)["SNAPSHOT"]
    with pytest.raises(BadPrompt, match=r"prompted on 5 frames .* keeps 4 per video\. Track past some of them first, remove objects"):
        client.send(click(1, (5, 5)), number=30, frame_index=30, track=False)
    assert np.array_equal(client.send(control=True, snapshot=True)["SNAPSHOT"], before)
    client.send(click(1, (6, 6)), number=20, frame_index=20, track=False)  # prompted there before, so it takes no further room
    client.send(number=0, frame_index=0)
    with pytest.raises(BadPrompt):
        client.send(click(1, (5, 5)), number=1)
    for frame in (10, 20):
        client.send(number=frame, frame_index=frame)  # of three passed one makes room
    client.send(click(1, (5, 5)), number=21)
    assert conditioning(client) == [20, 21]


def test_tracking_on_with_a_prompt_on_every_frame_is_never_refused(stages):
    client = Client(service(stages, max_objects=2, max_conditioning=2))
    for frame in range(10):
        client.send(click(1, (5, 5)), click(2, (6, 6)), number=frame)
    assert conditioning(client, 1) == conditioning(client, 2) == [8, 9]


def test_without_a_cap_everything_is_kept(stages):
    client = Client(service(stages, max_conditioning=0))
    for frame in range(40):
        client.send(click(1, (5, 5)), number=frame)
    assert conditioning(client) == [*range(40)]
