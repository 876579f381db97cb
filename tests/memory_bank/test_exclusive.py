"""Where prompts are exclusive, the masks of objects prompted on one frame do not overlap in the memories made of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.fakes.bank_driver import VARIANT, Client, RecordingStages, click, mask, on_host, service

EXCLUSIVE = replace(VARIANT, family=replace(VARIANT.family, exclusive_prompts=True))


class Numbered(RecordingStages):
    """The logits of an object are the x of its first point; a memory is the sum of its rivals' logits."""

    def mask_decoder(self, inputs):
        out = super().mask_decoder(inputs)
        return out | {"LOW": np.broadcast_to(inputs["POINTS"][:, 0, 0][:, None, None], out["LOW"].shape).astype(np.float32)}

    def memory_encoder(self, inputs):
        shape = super().memory_encoder(inputs)["MEMORY"].shape
        return {"MEMORY": np.broadcast_to(inputs["RIVALS"][:, :, 0, 0].sum(axis=1)[:, None, None], shape).astype(np.float32)}


@pytest.fixture
def stages() -> Numbered:
    return Numbered()


@pytest.fixture
def client(stages) -> Client:
    return Client(service(stages, variant=EXCLUSIVE))


def rivals(client: Client, object_id: int, frame: int = 0) -> float:
    """What the memory of a prompted frame was made of."""
    memory = client.service.videos.find(client.video).objects[object_id].conditioning[frame].result.memory
    return float(np.array([on_host(memory)[0, 0]], np.uint32).__lshift__(16).view(np.float32)[0])


def test_objects_prompted_together_are_rivals(client):
    client.send(click(1, (16, 0)), click(2, (32, 0)), click(3, (64, 0)))
    assert [rivals(client, object_id) for object_id in (1, 2, 3)] == [96, 80, 48]


def test_an_object_alone_and_a_tracked_one_have_no_rivals(client):
    client.send(click(1, (16, 0)))
    assert rivals(client, 1) == -1024
    client.send(click(2, (32, 0)))
    assert rivals(client, 2, 1) == -1024


@pytest.mark.parametrize("later", [{"track": False, "frame_index": 0}, {"refine": True}])
def test_an_object_prompted_later_on_the_frame_is_a_rival_of_those_before(stages, client, later):
    options = {"track": False, "frame_index": 0} if "track" in later else {}
    client.send(click(1, (16, 0)), **options)
    before = client.service.videos.find(client.video).objects[1].conditioning[0]
    answer = client.send(click(2, (32, 0)), number=0, **later)
    assert answer["OBJECT_IDS"].tolist() == ([2] if "track" in later else [1, 2])
    assert (rivals(client, 1), rivals(client, 2)) == (32, 16)
    after = client.service.videos.find(client.video).objects[1].conditioning[0]
    assert (after.result.low is before.result.low, after.result.pointer is before.result.pointer) == (True, True)
    assert np.array_equal(after.points, before.points)
    assert stages.named("memory_encoder")[-1]["BINARISE"].tolist() == [1, 1]


def test_a_correction_is_a_rival_of_the_masks_that_stay(client):
    client.send(click(1, (16, 0)), mask(2))
    client.send(click(1, (48, 0)), refine=True, number=0)
    assert (rivals(client, 1), rivals(client, 2)) == (7, 48)


def test_nothing_is_made_again_where_nobody_is_prompted(stages, client):
    client.send(click(1, (16, 0)), click(2, (32, 0)), track=False, frame_index=0)
    calls = len(stages.calls)
    client.send(number=0, frame_index=0)
    assert len(stages.calls) == calls
