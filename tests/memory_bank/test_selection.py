"""Which frames are remembered where a family selects by quality, against the official rule written plainly over everything that ever happened."""

import math
import random
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from masklet.families import SAM3
from tests.fakes.bank_driver import VARIANT, Client, RecordingStages, click, on_host, service

SELECTIVE = replace(VARIANT, family=replace(SAM3, pointer_time=False, occlusion_embedding=False, soft_masks=False))
LIMIT = 4  # conditioning frames


class Scored(RecordingStages):
    """Masks of given presence and IoU, by the number of their frame."""

    def __init__(self, scores: dict[int, tuple[float, float]]) -> None:
        super().__init__()
        self.scores = scores

    def mask_decoder(self, inputs):
        presence, iou = self.scores.get(int(inputs["FEATURES"][0, 0, 0, 0]), (5.0, 0.9))
        return super().mask_decoder(inputs) | {"SCORE": np.array([presence], np.float32), "IOU": np.array([iou], np.float32)}


@dataclass
class Unbounded:
    """Everything that ever happened to one object, and the official rules (sam3_tracker_base.py:508-731, sam3_tracker_utils.py:271-325)."""

    conditioning: list[int] = field(default_factory=list)
    quality: dict[int, float] = field(default_factory=dict)  # of tracked frames

    def track(self, frame: int, presence: float, iou: float) -> None:
        self.quality[frame] = (2 / (1 + math.exp(-presence)) - 1) * iou if presence > 0 else 0.0

    def prompt(self, frame: int) -> None:
        self.quality.pop(frame, None)
        self.conditioning = [*(other for other in self.conditioning if other != frame), frame]

    def selected(self, frame: int) -> list[int]:
        if len(self.conditioning) <= LIMIT:
            return self.conditioning
        chosen = [max((past for past in self.conditioning if past < frame), default=None)]
        chosen.append(min((past for past in self.conditioning if past >= frame), default=None))
        chosen = [past for past in chosen if past is not None]
        others = sorted((past for past in self.conditioning if past not in chosen), key=lambda past: abs(past - frame))
        return chosen + others[: LIMIT - len(chosen)]

    def valid(self, frame: int, direction: int) -> list[int]:
        """frame_filter; reverse travel has no end of the clip here."""
        found: list[int] = []
        candidates = range(frame - 1, 0, -1) if direction > 0 else range(frame + 1, frame + 1000)
        for past in candidates:
            if past in self.quality and self.quality[past] > 0.01:
                found.insert(0, past)
            if len(found) >= 15:
                break
        if frame - direction not in found:
            found.append(frame - direction)
        return found

    def read(self, frame: int, direction: int) -> tuple[set, set]:
        """(frame, slot) of memories and (frame, distance) of pointers."""
        valid, selected = self.valid(frame, direction), self.selected(frame)
        memories = {(past, 6) for past in selected}
        for rank in range(1, 7):
            if rank <= len(valid) and valid[-rank] in self.quality:
                memories.add((valid[-rank], rank - 1))
        pointers = {(past, direction * (frame - past)) for past in selected if direction * (frame - past) >= 0}
        for rank in range(1, 16):
            if -rank <= -len(valid):
                break
            if valid[-rank] in self.quality:
                pointers.add((valid[-rank], rank))
        return memories, pointers


def recorded(held, frame: int, direction: int) -> tuple[set, set]:
    """The same of the bank; memories and pointers are filled with the numbers of their frames."""
    video = held.videos.find(1)
    bank = video.objects[1]
    reading = bank.read(video.policy.reads(bank.frames, frame, direction))
    memories = {(_number(on_host(memory)[0, 0]), slot) for memory, slot in zip(reading.memories, reading.slots, strict=True)}
    return memories, {(int(on_host(pointer)[0]), distance) for pointer, distance in zip(reading.pointers, reading.distances, strict=True)}


def _number(bits: np.uint16) -> int:
    return int(np.array([bits], np.uint32).__lshift__(16).view(np.float32)[0])


def schedule(seed: int) -> tuple[list[int], dict[int, tuple[float, float]], set[int], set[int], bool]:
    """Frames, scores, prompted frames, corrected frames, and whether they are travelled in reverse. Frame numbers fit bfloat16."""
    rng = random.Random(seed)
    reverse = rng.random() < 0.4
    frames = sorted(rng.sample(range(120), rng.randrange(30, 90)), reverse=reverse)
    good = rng.choice([0.2, 0.6, 0.95])
    scores = {frame: (rng.uniform(0.1, 6) if rng.random() < good else rng.choice([-3.0, 0.001]), rng.uniform(0.3, 1)) for frame in frames}
    prompted = {frames[0], *rng.sample(frames[1:], rng.randrange(8))}
    return frames, scores, prompted, set(rng.sample(frames[1:], 4)) - prompted, reverse


@pytest.mark.parametrize("seed", range(40))
def test_bounded_state_reads_what_the_official_rule_reads_of_everything(seed):
    frames, scores, prompted, corrected, reverse = schedule(seed)
    direction = -1 if reverse else 1
    held = service(Scored(scores), variant=SELECTIVE, max_conditioning=LIMIT)
    client, official = Client(held), Unbounded()
    for frame in frames:
        client.send(*[click(1, (10, 10))] * (frame in prompted), number=frame, frame_index=frame, reverse=reverse)
        if frame in prompted:
            official.prompt(frame)
        else:
            assert recorded(held, frame, direction) == official.read(frame, direction)
            official.track(frame, *scores[frame])
        if frame in corrected:
            client.send(click(1, (20, 20)), number=frame, refine=True)
            official.prompt(frame)


def test_state_stops_growing_at_the_size_that_the_formula_gives():
    """Frame 16 and 17 are the first to be read late; bad frames cost nothing beyond the newest."""
    rng = random.Random(1)
    held = service(Scored({frame: (rng.choice([-1.0, 3.0]), 0.9) for frame in range(200)}), variant=SELECTIVE, max_conditioning=LIMIT)
    client = Client(held)
    sizes = []
    for frame in range(200):
        client.send(*[click(1, (10, 10))] * (frame < LIMIT), number=frame)
        sizes.append(held.videos.ledger.held.nbytes)
    click_bytes = LIMIT * (2 * 4 + 4)
    assert max(sizes) == sizes[-1] == SELECTIVE.object_bytes(LIMIT) + click_bytes
    assert set(sizes[60:]) == {sizes[-1]}


def test_a_correction_does_not_see_memories_and_becomes_a_conditioning_frame():
    stages = RecordingStages()
    client = Client(service(stages, variant=SELECTIVE))
    client.send(click(1, (10, 10)))
    tracked = client.send()
    calls = len(stages.named("memory_attention"))
    client.send(click(1, (20, 20)), number=1, refine=True)
    assert len(stages.named("memory_attention")) == calls
    assert np.array_equal(stages.named("mask_decoder")[-1]["MASK_PROMPT"][0, 0], np.clip(tracked["LOW"][0], -32, 32))
    assert list(client.service.videos.find(1).objects[1].conditioning) == [0, 1]


def test_a_cleared_correction_is_tracked_again_and_judged_by_its_first_score():
    held = service(Scored({1: (3.0, 0.9)}), variant=SELECTIVE)
    client = Client(held)
    client.send(click(1, (10, 10)))
    client.send()
    client.send(click(1, (20, 20)), number=1, refine=True)
    assert held.videos.find(1).objects[1].trusted == set()
    client.send(click(1, clear=True), number=1, refine=True)
    bank = held.videos.find(1).objects[1]
    assert (list(bank.conditioning), bank.trusted) == ([0], {1})


def test_of_many_points_the_first_and_the_last_eight_are_taken():
    stages = RecordingStages()
    client = Client(service(stages, variant=SELECTIVE))
    client.send(click(1, *((x, 0) for x in range(30))))
    assert stages.named("mask_decoder")[-1]["POINTS"][0, :, 0].tolist() == [*range(8), *range(22, 30), 0]


def test_a_snapshot_carries_which_frames_are_trusted():
    rng = random.Random(2)
    scores = {frame: (rng.choice([-1.0, 3.0]), 0.9) for frame in range(60)}
    client = Client(service(Scored(scores), variant=SELECTIVE, max_conditioning=LIMIT))
    for frame in range(30):
        client.send(*[click(1, (10, 10))] * (frame == 0), number=frame)
    other = service(Scored(scores), variant=SELECTIVE, max_conditioning=LIMIT)
    restored = Client(other, sent=client.sent)
    restored.send(control=True, restore=client.send(control=True, snapshot=True)["SNAPSHOT"])
    for frame in range(30, 60):
        assert recorded(client.service, frame, 1) == recorded(other, frame, 1)
        assert np.array_equal(client.send(number=frame)["LOW"], restored.send(number=frame)["LOW"])


def test_frame_0_is_never_selected_on_the_way_forward():
    held = service(Scored({}), variant=SELECTIVE, max_conditioning=LIMIT)
    client = Client(held)
    client.send(click(1, (10, 10)), number=3, frame_index=3, track=False)
    for frame in (2, 1, 0):
        client.send(number=frame, frame_index=frame, reverse=True)
    assert held.videos.find(1).objects[1].trusted == {0, 1, 2}
    client.send(number=3, frame_index=3, track=False)
    assert recorded(held, 4, 1) == ({(3, 6), (2, 1), (1, 2)}, {(3, 1), (2, 2)})
