"""What prompts do: first ones, corrections, refine, append, clear, remove, prompts ahead of tracking, and where a video may go."""

from dataclasses import replace

import numpy as np
import pytest

from masklet.contract import KIND_CLICK, KIND_MASK, KIND_TRACKED
from masklet.errors import BadFrameIndex, TooManyObjects, TooManyPoints, UnknownObject
from tests.fakes.bank_driver import VARIANT, Client, RecordingStages, click, mask, request, service


@pytest.fixture
def stages() -> RecordingStages:
    return RecordingStages()


@pytest.fixture
def client(stages) -> Client:
    return Client(service(stages))


def decoded(stages: RecordingStages) -> dict:
    return stages.named("mask_decoder")[-1]


def encoded(stages: RecordingStages) -> dict:
    return stages.named("memory_encoder")[-1]


def conditioning(client: Client, object_id: int = 1) -> list[int]:
    return list(client.service.videos.find(client.video).objects[object_id].conditioning)


def test_a_click_is_decoded_without_memory_and_binarised(stages, client):
    client.send(click(1, (10, 20)))
    assert not stages.named("memory_attention")
    assert decoded(stages)["KIND"].tolist() == [KIND_CLICK]
    assert decoded(stages)["POINTS"].tolist() == [[[10, 20], [0, 0]]]
    assert decoded(stages)["LABELS"].tolist() == [[1, -1]]
    assert decoded(stages)["HAS_MASK"].tolist() == [0]
    assert decoded(stages)["MULTIMASK"].tolist() == [1]
    assert encoded(stages)["BINARISE"].tolist() == [1]


def test_a_tracked_frame_has_two_padding_tokens_and_is_not_binarised(stages, client):
    client.send(click(1, (10, 20)))
    client.send()
    assert decoded(stages)["KIND"].tolist() == [KIND_TRACKED]
    assert decoded(stages)["LABELS"].tolist() == [[-1, -1]]
    assert decoded(stages)["MULTIMASK"].tolist() == [1]
    assert encoded(stages)["BINARISE"].tolist() == [0]


def test_two_points_ask_for_the_single_mask(stages, client):
    client.send(click(1, (10, 20), (30, 40), labels=[2, 3]))
    assert decoded(stages)["LABELS"].tolist() == [[2, 3, -1]]
    assert decoded(stages)["MULTIMASK"].tolist() == [0]


def test_a_mask_is_its_own_answer(stages, client):
    answer = client.send(mask(1))
    assert decoded(stages)["KIND"].tolist() == [KIND_MASK]
    assert decoded(stages)["MASK_PROMPT"][0, 0, 0, 0] == 99
    assert (decoded(stages)["HAS_MASK"].tolist(), decoded(stages)["MULTIMASK"].tolist(), decoded(stages)["PRESENT"].tolist()) == ([1], [0], [1])
    assert answer["LOW"][0, 0, 0] == 7
    assert encoded(stages)["LOW"][0, 0, 0] == 7
    assert encoded(stages)["BINARISE"].tolist() == [1]


def test_an_empty_mask_says_so_to_the_decoder(stages, client):
    client.send(mask(1, empty=True))
    assert decoded(stages)["PRESENT"].tolist() == [0]


def test_refining_a_first_prompt_sees_the_last_logits_without_memory_and_takes_its_place(stages, client):
    first = client.send(click(1, (10, 20)))
    second = client.send(click(1, (30, 40)), refine=True, number=0)
    assert not stages.named("memory_attention")
    assert decoded(stages)["KIND"].tolist() == [KIND_CLICK]
    assert np.array_equal(decoded(stages)["MASK_PROMPT"][0, 0], first["LOW"][0])
    assert decoded(stages)["POINTS"].tolist() == [[[30, 40], [0, 0]]]
    assert second["FRAME_INDEX"] == first["FRAME_INDEX"]
    assert conditioning(client) == [0]


def test_the_logits_that_a_correction_sees_are_bounded(client, stages):
    client.send(click(1, (10, 20)), number=200)
    client.send(click(1, (30, 40)), refine=True, number=200)
    assert decoded(stages)["MASK_PROMPT"].max() == VARIANT.family.previous_logits_limit


def test_append_keeps_the_points_of_this_frame(stages, client):
    client.send(click(1, (10, 20)))
    client.send(click(1, (30, 40), labels=[0], append=True), refine=True, number=0)
    assert decoded(stages)["POINTS"].tolist() == [[[10, 20], [30, 40], [0, 0]]]
    assert decoded(stages)["LABELS"].tolist() == [[1, 0, -1]]
    assert decoded(stages)["MULTIMASK"].tolist() == [0]


def test_clear_forgets_the_first_prompt_and_its_logits(stages, client):
    client.send(click(1, (10, 20)))
    client.send(click(1, (30, 40), append=True, clear=True), refine=True, number=0)
    assert decoded(stages)["HAS_MASK"].tolist() == [0]
    assert decoded(stages)["POINTS"].tolist() == [[[30, 40], [0, 0]]]


def test_clear_alone_takes_the_object_out(client):
    client.send(click(1, (10, 20)), click(2, (5, 5)))
    assert client.send(click(1, clear=True), refine=True, number=0)["OBJECT_IDS"].tolist() == [2]
    assert client.send()["OBJECT_IDS"].tolist() == [2]


def test_clear_alone_lets_a_tracked_object_be_tracked_again(stages, client):
    client.send(click(1, (10, 20)))
    client.send(click(1, (30, 40)), number=1)
    answer = client.send(click(1, clear=True), refine=True, number=1)
    assert answer["OBJECT_IDS"].tolist() == [1]
    assert conditioning(client) == [0]
    assert stages.named("memory_attention")[-1]["MEMORY"][0, :, 0, 0].tolist() == [0]


def test_refining_a_tracked_frame_reads_memory_and_stays_an_ordinary_frame(stages, client):
    client.send(click(1, (10, 20)))
    tracked = client.send()
    client.send(click(1, (30, 40)), refine=True, number=1)
    assert decoded(stages)["KIND"].tolist() == [KIND_TRACKED]
    assert np.array_equal(decoded(stages)["MASK_PROMPT"][0, 0], tracked["LOW"][0])
    assert stages.named("memory_attention")[-1]["MEMORY"][0, :, 0, 0].tolist() == [0]
    assert encoded(stages)["BINARISE"].tolist() == [1]
    assert conditioning(client) == [0]
    client.send()
    assert stages.named("memory_attention")[-1]["MEMORY"][0, :, 0, 0].tolist() == [0, 1]


def test_clearing_a_refined_frame_brings_the_tracked_answer_back(client):
    client.send(click(1, (10, 20)))
    tracked = client.send()
    refined = client.send(click(1, (300, 400)), refine=True, number=1)
    assert refined["LOW"][0, 0, 0] != tracked["LOW"][0, 0, 0]
    cleared = client.send(click(1, clear=True), refine=True, number=1)
    assert np.array_equal(cleared["LOW"], tracked["LOW"])


def test_refine_repeats_the_answers_of_objects_that_are_not_prompted(stages, client):
    client.send(click(1, (10, 20)), click(2, (5, 5)))
    tracked = client.send()
    calls = len(stages.named("mask_decoder"))
    refined = client.send(click(1, (30, 40)), refine=True, number=1)
    assert refined["OBJECT_IDS"].tolist() == [1, 2]
    assert np.array_equal(refined["LOW"][1], tracked["LOW"][1])
    assert len(stages.named("mask_decoder")) == calls + 1
    assert len(decoded(stages)["KIND"]) == 1


def test_an_object_can_be_added_by_refine(client):
    client.send(click(1, (10, 20)))
    client.send()
    assert client.send(click(2, (30, 40)), refine=True, number=1)["OBJECT_IDS"].tolist() == [1, 2]
    assert conditioning(client, 2) == [1]
    assert client.send()["OBJECT_IDS"].tolist() == [1, 2]


def test_a_prompt_on_a_later_frame_conditions_and_takes_the_place_of_tracking(stages, client):
    client.send(click(1, (10, 20)))
    client.send()
    client.send(click(1, (30, 40)), number=2)
    assert conditioning(client) == [0, 2]
    client.send(number=3)
    read = stages.named("memory_attention")[-1]
    assert read["MEMORY"][0, :, 0, 0].tolist() == [0, 2, 1]
    assert read["SLOT"][0].tolist() == [6, 6, 1]


def test_prompts_ahead_of_tracking_change_nobody_else(stages, client):
    client.send(click(1, (10, 20)), number=8, frame_index=8, track=False)
    answer = client.send(click(2, (5, 5)), number=12, frame_index=12, track=False)
    assert answer["OBJECT_IDS"].tolist() == [2]
    assert client.send(number=8, frame_index=8)["OBJECT_IDS"].tolist() == [1]
    assert len(stages.named("mask_decoder")) == 2  # the stored answer of frame 8 was given, nothing was computed


def test_a_second_prompt_ahead_of_tracking_sees_the_first(stages, client):
    first = client.send(click(1, (10, 20)), number=8, frame_index=8, track=False)
    client.send(click(1, (30, 40), append=True), number=8, frame_index=8, track=False)
    assert np.array_equal(decoded(stages)["MASK_PROMPT"][0, 0], first["LOW"][0])
    assert decoded(stages)["POINTS"].tolist() == [[[10, 20], [30, 40], [0, 0]]]


def test_a_removed_object_is_gone_and_its_id_is_free_again(stages, client):
    client.send(click(1, (10, 20)), click(2, (5, 5)))
    assert client.send(click(1, remove=True))["OBJECT_IDS"].tolist() == [2]
    assert client.send(click(1, (7, 7)))["OBJECT_IDS"].tolist() == [2, 1]
    assert conditioning(client, 1) == [2]


def test_remove_works_without_a_frame_and_does_not_advance(client):
    client.send(click(1, (10, 20)))
    answer = client.send(click(1, remove=True), control=True)
    assert (answer["FRAME_INDEX"].tolist(), answer["OBJECT_IDS"].tolist()) == ([0], [])
    assert client.send()["FRAME_INDEX"].tolist() == [1]


@pytest.mark.parametrize("prompt", [click(3, remove=True), click(3, clear=True)], ids=["remove", "clear"])
def test_an_unknown_object_is_refused_and_nothing_changes(client, prompt):
    client.send(click(1, (10, 20)))
    with pytest.raises(UnknownObject, match="object 3"):
        client.send(click(1, remove=True), prompt)
    assert client.send()["OBJECT_IDS"].tolist() == [1]


def test_the_first_frame_may_come_without_prompts(client):
    answer = client.send()
    assert (answer["FRAME_INDEX"].tolist(), answer["OBJECT_IDS"].tolist(), answer["LOW"].shape) == ([0], [], (0, 8, 8))


def test_too_many_objects_are_refused_and_nothing_changes(stages):
    client = Client(service(stages, max_objects=2))
    client.send(click(1, (10, 20)), click(2, (5, 5)))
    with pytest.raises(TooManyObjects, match="3 objects"):
        client.send(click(3, (1, 1)))
    assert client.send(click(1, remove=True), click(3, (1, 1)))["OBJECT_IDS"].tolist() == [2, 3]


def test_appended_points_count(stages):
    client = Client(service(stages, max_points=3))
    client.send(click(1, (10, 20), (1, 2)))
    with pytest.raises(TooManyPoints, match="4 points"):
        client.send(click(1, (3, 4), (5, 6), append=True), refine=True, number=0)
    client.send(click(1, (3, 4), append=True), refine=True, number=0)


@pytest.mark.parametrize(
    "options",
    [{"frame_index": 2}, {"frame_index": 1}, {"reverse": True}, {"refine": True, "frame_index": 1}],
    ids=["same", "back", "turn", "refine another"],
)
def test_a_video_travels_one_way(client, options):
    client.send(click(1, (10, 20)))
    client.send()
    client.send()
    with pytest.raises(BadFrameIndex):
        client.send(number=9, **options)
    assert client.send()["FRAME_INDEX"].tolist() == [3]


def test_refine_needs_an_answered_frame(client):
    with pytest.raises(BadFrameIndex, match="no frame was answered"):
        client.send(click(1, (10, 20)), refine=True)


def test_reverse_needs_an_index_to_begin_with_and_ends_at_zero(client):
    with pytest.raises(BadFrameIndex, match="frame_index"):
        client.send(click(1, (10, 20)), reverse=True)
    client.send(click(1, (10, 20)), reverse=True, frame_index=1)
    assert client.send(reverse=True)["FRAME_INDEX"].tolist() == [0]
    with pytest.raises(BadFrameIndex, match="frame 0"):
        client.send(reverse=True)


def test_the_last_index_is_the_last_that_fits_the_wire(client):
    assert client.send(frame_index=2**63 - 1)["FRAME_INDEX"].tolist() == [2**63 - 1]
    with pytest.raises(BadFrameIndex, match="last index"):
        client.send()


def test_prompts_ahead_free_the_direction(client):
    client.send(click(1, (10, 20)), number=8, frame_index=8)
    client.send(number=9)
    client.send(number=9, frame_index=9, track=False)
    assert client.send(number=7, frame_index=7, reverse=True)["OBJECT_IDS"].tolist() == [1]
    client.send(number=7, frame_index=7, track=False)
    assert client.send(number=9, frame_index=9)["OBJECT_IDS"].tolist() == [1]


def test_the_logits_of_a_soft_mask_are_those_that_came_with_it(stages):
    """Where masks are soft the engine gives no logits."""
    stages.mask_prompt = lambda inputs: {name: array for name, array in RecordingStages.mask_prompt(stages, inputs).items() if name != "LOW"}
    held = service(stages)
    sent = request(1, 0, [mask(1), mask(2)], start=True)
    low = np.stack([np.full((VARIANT.low_size,) * 2, value, np.float32) for value in (3, 4)])
    (answer,) = held.answer([replace(sent, lows=low)])
    assert answer["LOW"][:, 0, 0].tolist() == [3, 4]
    assert encoded(stages)["LOW"][:, 0, 0].tolist() == [3, 4]
