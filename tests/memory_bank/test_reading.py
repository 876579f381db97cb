"""What a tracked frame reads of the bank, against the official rules written plainly over everything that ever happened."""

import random

import numpy as np
import pytest

from tests.fakes.bank_driver import VARIANT, Client, RecordingStages, click, service


def official_read(conditioning: list[int], tracked: set[int], frame: int, direction: int) -> tuple[list, list]:
    """(frame, slot) of memories and (frame, distance) of pointers, read from state that forgets nothing (efficienttam_base.py:524-652)."""
    memories = [(prompted, 6) for prompted in conditioning]
    pointers = [(prompted, direction * (frame - prompted)) for prompted in conditioning if direction * (frame - prompted) >= 0]
    for rel in (6, 5, 4, 3, 2, 1):
        if (past := frame - direction * rel) in tracked:
            memories.append((past, rel - 1))
    for delta in range(1, 16):
        if (past := frame - direction * delta) in tracked:
            pointers.append((past, delta))
    return memories, pointers


def recorded_read(call: dict) -> tuple[list, list]:
    """The same of a recorded call of memory_attention with one object; EMBEDDING was filled with frame numbers."""
    frames = call["MEMORY"][0, :, 0, 0].astype(int).tolist()
    pointers = call["POINTERS"][0, :, 0].astype(int).tolist()
    return list(zip(frames, call["SLOT"][0].tolist(), strict=True)), pointers


def run(prompted: list[int], frames: list[int], *, reverse: bool = False) -> None:
    """Tracks one object over `frames`, prompted on some of them, and compares every reading."""
    stages = RecordingStages()
    client = Client(service(stages))
    direction = -1 if reverse else 1
    conditioning, tracked = [], set()
    for frame in frames:
        before = len(stages.named("memory_attention"))
        prompts = [click(1, (10 + frame, 10))] if frame in prompted else []
        client.send(*prompts, number=frame, frame_index=frame, reverse=reverse)
        calls = stages.named("memory_attention")[before:]
        if frame in prompted:
            assert not calls
            conditioning.append(frame)
        elif conditioning:
            memories, pointers = official_read(conditioning, tracked, frame, direction)
            got_memories, got_pointers = recorded_read(calls[0])
            assert got_memories == memories
            assert got_pointers == [past for past, _ in pointers]
            tracked.add(frame)
        else:
            assert not calls


def test_forward_reads_what_the_official_predictor_reads():
    run([0], list(range(40)))


def test_reverse_reads_what_the_official_predictor_reads():
    run([60], list(range(60, 20, -1)), reverse=True)


def test_gaps_leave_slots_empty():
    run([3], [3, 4, 7, 8, 9, 30, 31, 33, 50])


@pytest.mark.parametrize("seed", range(20))
def test_bounded_state_reads_the_same_as_unbounded_state(seed):
    rng = random.Random(seed)
    frames = sorted(rng.sample(range(120), 60), reverse=(reverse := rng.random() < 0.5))
    prompted = [frames[rng.randrange(3)], *rng.sample(frames, rng.randrange(5))]
    run(prompted, frames, reverse=reverse)


def test_a_prompt_ahead_gives_its_memory_but_no_pointer():
    stages = RecordingStages()
    client = Client(service(stages))
    client.send(click(1, (10, 10)), number=8, frame_index=8, track=False)
    client.send(click(1, (20, 20)), number=12, frame_index=12, track=False)
    client.send(number=8, frame_index=8)
    client.send(number=9)
    memories, pointers = recorded_read(stages.named("memory_attention")[0])
    assert memories == [(8, 6), (12, 6)]
    assert pointers == [8]


def test_an_object_is_absent_before_its_first_prompt_in_the_direction_of_travel():
    client = Client(service(RecordingStages()))
    client.send(click(1, (10, 10)), number=5, frame_index=5, track=False)
    assert client.send(number=3, frame_index=3)["OBJECT_IDS"].tolist() == []
    assert client.send(number=5, frame_index=5)["OBJECT_IDS"].tolist() == [1]
    assert client.send(number=6)["OBJECT_IDS"].tolist() == [1]


def test_over_the_cap_the_farthest_prompted_frame_becomes_an_ordinary_one():
    stages = RecordingStages()
    client = Client(service(stages, max_conditioning=2))
    for frame in (0, 2, 4):
        client.send(click(1, (10 + frame, 10)), number=frame, frame_index=frame)
    client.send(number=5)
    memories, pointers = recorded_read(stages.named("memory_attention")[0])
    assert memories == [(2, 6), (4, 6), (0, 4)]
    assert pointers == [2, 4, 0]


def test_state_stops_growing_at_the_size_that_the_formula_gives():
    held = service(RecordingStages())
    client = Client(held)
    client.send(click(1, (10, 10)))
    click_bytes = 2 * 4 + 4
    sizes = []
    for _ in range(50):
        client.send(number=7)
        sizes.append(held.videos.ledger.held.nbytes)
    assert sizes[0] < sizes[14]
    assert set(sizes[15:]) == {VARIANT.object_bytes() + click_bytes}


def test_the_bank_stores_bfloat16_and_hands_it_out_unchanged():
    class Odd(RecordingStages):
        def memory_encoder(self, inputs):
            return {"MEMORY": super().memory_encoder(inputs)["MEMORY"] + np.float32(1.00390625 + 2**-9)}

    stages = Odd()
    client = Client(service(stages))
    client.send(click(1, (10, 10)), number=0)
    client.send(number=1)
    # 1.005859375 lies between the bfloat16 neighbours 1.0 and 1.0078125, nearer to the second
    assert stages.named("memory_attention")[0]["MEMORY"][0, 0, 0, 0] == np.float32(1.0078125)


def test_refining_the_newest_frame_reads_what_tracking_it_read():
    stages = RecordingStages()
    client = Client(service(stages))
    client.send(click(1, (10, 10)))
    for _ in range(20):
        client.send()
    client.send(click(1, (20, 20)), refine=True, number=20)
    tracked, refined = stages.named("memory_attention")[-2:]
    assert recorded_read(refined) == recorded_read(tracked)
    assert len(recorded_read(refined)[0]) == 7
    assert len(recorded_read(refined)[1]) == 16


def test_an_object_does_not_read_the_frames_on_which_only_another_one_was_prompted():
    """Objects of one official EdgeTAM state share conditioning frames (EdgeTAM, sam2_video_predictor.py:426-590). Here each object has its own, as
    if it were alone in an official state."""
    stages = RecordingStages()
    client = Client(service(stages))
    prompts = {0: [click(1, (10, 10))], 2: [click(2, (10, 10))]}
    for frame in range(4):
        before = len(stages.named("memory_attention"))
        client.send(*prompts.get(frame, []), number=frame, frame_index=frame)
    readings = sorted(recorded_read(call) for call in stages.named("memory_attention")[before:])
    assert readings == [([(0, 6), (1, 1), (2, 0)], [0, 2, 1]), ([(2, 6)], [2])]
