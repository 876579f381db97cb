"""Every shape that a server may call an engine with lies in a profile, of the narrow ones and of the wide: by enumeration, and by what the memory
bank really calls."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from masklet import families
from masklet.contract import Model, engines, resolve
from masklet.errors import MaskletError
from masklet.families import SAM3, Variant
from masklet_build.embedded.shapes import distance
from masklet_build.export.profiles import Limits, NoProfile, Profile, choose, profiles, steady
from masklet_build.repository.assemble import SOURCE, read_config
from tests.fakes.bank_driver import VARIANT, Client, RecordingStages, click, mask, request, service

SMALL = Limits(videos=3, objects=4, conditioning=3, points=6, objects_per_video=4)
SELECTIVE = replace(VARIANT, family=replace(SAM3, pointer_time=False, occlusion_embedding=False, soft_masks=False))
NAMES = ["nano", "efficienttam_ti_512", "efficienttam_s_1", "sam2.1_t", "sam3", "sam3_newest", "edgetam"]
WIDTHS = pytest.mark.parametrize("wide", [False, True], ids=["narrow", "wide"])


def shapes(model: Model, variant: Variant, sizes: dict[str, int]) -> dict[str, tuple[int, ...]]:
    """Input shapes of a call, made of the contract."""
    lead = ("V",) if model.batched else ()
    return {
        tensor.name: tuple(sizes[dim] if isinstance(dim, str) else dim for dim in (*lead, *resolve(tensor.dims, variant))) for tensor in model.inputs
    }


def calls(model: Model, variant: Variant, limits: Limits) -> Iterator[dict[str, int]]:
    """Sizes of all calls that the bank and Triton may make, as the bank's rules have them; batches of objects of one video, or of one each."""
    family = variant.family
    conditioning = min(limits.conditioning, family.max_conditioning) if family.max_conditioning else limits.conditioning
    points = min(limits.points, family.max_prompt_points) if family.max_prompt_points else limits.points
    batches = [(videos, objects) for objects in range(1, limits.objects + 1) for videos in {1, objects}]
    free: dict[str, list[dict[str, int]]] = {
        "image_encoder": [{"V": videos} for videos in range(1, limits.videos + 1)],
        "mask_prompt": [{}],
        "memory_attention": [{"F": F, "P": P} for F, P in product(range(1, conditioning + 7), range(1, conditioning + 16))],
        "mask_decoder": [{"N": max(given, 1) + 1} for given in range(points + 1)],
        "memory_encoder": [{"R": max(others, 1)} for others in range(limits.objects_per_video)],
    }
    for (videos, objects), sizes in product(batches, free[model.name]):
        yield {"V": videos, "B": objects, **sizes}


@pytest.mark.parametrize(("name", "objects"), [*((name, None) for name in NAMES), ("nano", 1), ("edgetam", 6), ("sam3", 17)])
@WIDTHS
def test_every_legal_call_lies_in_a_profile(name: str, objects: int | None, wide: bool) -> None:
    variant = families.variant(name)
    limits = Limits.of(variant, objects=objects)
    table = profiles(variant, limits, wide=wide)
    for model in engines(variant):
        for sizes in calls(model, variant, limits):
            choose(table[model.name], shapes(model, variant, sizes))


@pytest.mark.parametrize("name", NAMES)
@WIDTHS
def test_what_is_beyond_the_limits_lies_in_none(name: str, wide: bool) -> None:
    """Room that no call can use would still be paid for: a profile's memory is that of its largest shape."""
    variant = families.variant(name)
    limits = Limits.of(variant)
    table = profiles(variant, limits, wide=wide)
    for model in engines(variant):
        legal = list(calls(model, variant, limits))
        largest = {symbol: max(sizes[symbol] for sizes in legal) for symbol in legal[0]}
        free = {dim for tensor in model.inputs for dim in resolve(tensor.dims, variant) if isinstance(dim, str)}
        for symbol in free | ({"V"} if model.batched else set()):
            with pytest.raises(NoProfile, match="masklet-build engine"):
                choose(table[model.name], shapes(model, variant, largest | {symbol: largest[symbol] + 1}))


class Confident(RecordingStages):
    """Engines whose masks are good enough to be remembered by a family that selects, but for frames of a number that is not."""

    def __init__(self, bad: int = -1) -> None:
        super().__init__()
        self.bad = bad

    def mask_decoder(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        good = inputs["FEATURES"][:, 0, 0, 0] != self.bad
        return super().mask_decoder(inputs) | {"IOU": good.astype(np.float32), "SCORE": np.full(len(good), 9, np.float32)}


def played(variant: Variant, seed: int) -> RecordingStages:
    """Three videos whose frames share executions, played at random within the limits: prompts of all kinds, corrections, gaps, ways back."""
    random_ = random.Random(seed)
    stages = Confident(bad=8)
    bank = service(
        stages,
        variant=variant,
        max_conditioning=SMALL.conditioning,
        engine_limit=SMALL.objects,
        max_objects=SMALL.objects_per_video,
        max_points=SMALL.points,
    )
    began: set[int] = set()
    for _ in range(150):
        requests = []
        for video in range(3):
            requests.append(request(video, random_.randrange(9), prompts(random_), start=video not in began, **travel(random_)))
            began.add(video)
        answers = bank.answer(requests)
        assert all(isinstance(answer, (dict, MaskletError)) for answer in answers)
    return stages


def prompts(random_: random.Random) -> list[dict]:
    """For one frame of seven: objects, each with a mask, a box, or some points."""
    if random_.random() < 0.85:
        return []
    chosen = random_.sample(range(1, SMALL.objects_per_video + 1), random_.randint(1, SMALL.objects_per_video))
    points = [(float(place), 4.0) for place in range(SMALL.points)]
    return [mask(one) if random_.random() < 0.2 else click(one, *points[: random_.randint(1, SMALL.points)]) for one in chosen]


def travel(random_: random.Random) -> dict[str, object]:
    """Mostly the next frame; else again, ahead, without tracking, or the other way."""
    options: list[dict[str, object]] = [
        {"refine": True},
        {"track": False},
        {"frame_index": random_.randrange(400)},
        {"track": False, "reverse": True},
    ]
    return random_.choice(options) if random_.random() < 0.1 else {}


@pytest.mark.parametrize("variant", [VARIANT, SELECTIVE], ids=["remembers the newest", "selects, with rivals"])
@WIDTHS
def test_what_the_bank_really_calls_lies_in_profiles_and_fills_them(variant: Variant, wide: bool) -> None:
    table = profiles(variant, SMALL, wide=wide)
    recorded = [call for seed in range(3) for call in played(variant, seed).calls]
    for engine, inputs in recorded:
        choose(table[engine], {name: array.shape for name, array in inputs.items()})
    reads = [inputs["MEMORY"].shape[:2] for engine, inputs in recorded if engine == "memory_attention"]
    read = {
        "F": [frames for _, frames in reads],
        "P": [inputs["POINTERS"].shape[1] for engine, inputs in recorded if engine == "memory_attention"],
        "B": [objects for objects, _ in reads],
        "N": [inputs["LABELS"].shape[1] for engine, inputs in recorded if engine == "mask_decoder"],
        "R": [inputs["RIVALS"].shape[1] for engine, inputs in recorded if "RIVALS" in inputs] or [1],
    }
    for symbol, seen in read.items():
        ranges = [profile.sizes[symbol] for rows in table.values() for profile in rows if symbol in profile.sizes] or [(1, 1, 1)]
        assert (min(seen), max(seen)) == (min(least for least, _, _ in ranges), max(most for *_, most in ranges)), symbol


@pytest.mark.parametrize("variant", [VARIANT, SELECTIVE], ids=["remembers the newest", "selects, with rivals"])
def test_frames_of_a_video_with_one_object_have_the_steady_shapes_once_it_lives_for_a_while(variant: Variant) -> None:
    """So they can be CUDA graphs. Profiles are tuned for just these shapes, and nothing but the batch varies in the one that is chosen."""
    stages = Confident()
    video = Client(service(stages, variant=variant))
    video.send(click(1, (4, 4)))
    for _ in range(variant.family.num_pointers + 4):
        video.send()
    last = {engine: {name: array.shape for name, array in inputs.items()} for engine, inputs in stages.calls}
    image_encoder = engines(variant)[0]
    assert steady(variant) == last | {"image_encoder": shapes(image_encoder, variant, {"V": 1})}
    for engine, call in steady(variant).items():
        for wide in (False, True):
            rows = profiles(variant, Limits.of(variant), wide=wide)[engine]
            chosen = rows[choose(rows, call)]
            assert distance(chosen.inputs, call) == 0, (engine, chosen.name)
            assert wide or all(least == most for symbol, (least, _, most) in chosen.sizes.items() if symbol not in "VB"), (engine, chosen.name)


def test_memory_attention_of_one_object_may_have_two_where_the_compiler_would_not_fuse_it_alone() -> None:
    """A batch of always 1 with one head is fused from 2^24 pairs of queries and keys on, 4096 times 4096: not in images of 512 pixels, nor with the
    7 times 512 tokens of EdgeTAM's memories. So the limit of objects does not count, either."""
    for name, objects, first in [
        ("nano", 8, 2),
        ("nano", 2, 2),
        ("nano", 1, 2),
        ("efficienttam_ti_512", 8, 2),
        ("edgetam", 4, 2),
        ("efficienttam_ti", 1, 1),
        ("efficienttam_s_2", 4, 1),
        ("sam2.1_t", 1, 1),
        ("sam3", 1, 1),
    ]:
        variant = families.variant(name)
        for wide in (False, True):
            table = profiles(variant, Limits.of(variant, objects=objects), wide=wide)
            batches = [profile.sizes["B"] for profile in table["memory_attention"]]
            assert {batch for batch in batches if batch.min == 1} == {(1, 1, max(first, objects) if wide else first)}, name
            assert all(batch.max > 1 for batch in batches) or first == 1
            perceived = {profile.sizes["B"] for profile in table["memory_encoder"] if profile.sizes["B"].min == 1}
            assert wide or (1, 1, 2 if name == "edgetam" else 1) in perceived, "the perceiver's attention has one head, too"


def test_ranges_of_a_batch_meet_and_do_not_overlap() -> None:
    variant = families.variant("nano")
    for objects, expected in [(1, ["b1-2"]), (2, ["b1-2"]), (3, ["b1-2", "b3"]), (4, ["b1-2", "b3-4"]), (8, ["b1-2", "b3-4", "b5-8"])]:
        rows = profiles(variant, Limits.of(variant, objects=objects))["memory_attention"]
        assert [row.name for row in rows if row.name.startswith("steady")] == [f"steady {name}" for name in expected]
        decoder = profiles(variant, Limits.of(variant, objects=objects))["mask_decoder"]
        assert next(row.sizes["B"] for row in decoder if row.name.startswith("tracked")) == (1, 1, 1), "its attention has eight heads"


def test_wide_profiles_are_one_of_each_engine_and_two_of_memory_attention() -> None:
    """The second for more memories than a video with one prompted frame has, so that its working memory is not that of every call."""
    for variant in families.VARIANTS.values():
        table = profiles(variant, Limits.of(variant), wide=True)
        attention = {profile.name: profile.sizes["F"] for profile in table.pop("memory_attention")}
        memories = variant.family.num_memories
        assert list(attention) == ["tracked", "prompted"]
        assert attention["tracked"] == (1, memories, memories)
        assert attention["prompted"][:2] == (memories + 1, memories + 1)
        assert {name: [profile.name for profile in rows] for name, rows in table.items()} == {name: ["any"] for name in table}


def test_the_nearest_of_several_profiles_is_chosen_and_of_equal_ones_the_first() -> None:
    variant = families.variant("nano")
    attention = next(model for model in engines(variant) if model.name == "memory_attention")
    table = profiles(variant, Limits.of(variant))["memory_attention"]
    steady = shapes(attention, variant, {"V": 1, "B": 1, "F": 7, "P": 16})
    holding = [profile.name for profile in table if profile.holds(steady)]
    assert holding == ["steady b1-2", "start b1-2"]
    assert table[choose(table, steady)].name == "steady b1-2"
    assert choose(tuple(reversed(table)), steady) == len(table) - 1
    assert choose((table[0], table[0]), steady) == 0


@WIDTHS
def test_profiles_are_in_order_and_named_once(wide: bool) -> None:
    for variant in families.VARIANTS.values():
        for rows in profiles(variant, Limits.of(variant, objects=40), wide=wide).values():
            assert len({profile.name for profile in rows}) == len(rows)
            for profile in rows:
                _ordered(profile)


def _ordered(profile: Profile) -> None:
    for least, tuned, most in profile.sizes.values():
        assert 1 <= least <= tuned <= most, profile
    for shape in profile.inputs.values():
        assert all(0 < least <= tuned <= most for least, tuned, most in zip(*shape, strict=True)), profile


def test_default_limits_are_those_of_the_configs() -> None:
    def parameter(name: str) -> int:
        return int(read_config(Path(SOURCE) / "memory_bank").parameters[name].string_value)

    limits = Limits()
    assert limits.videos == read_config(Path(SOURCE) / "image_encoder").max_batch_size
    assert limits.objects == parameter("max_engine_batch")
    assert limits.conditioning == parameter("max_conditioning")
    assert limits.points == parameter("max_points")
    assert limits.objects_per_video == parameter("max_objects")


@pytest.mark.parametrize("wrong", [{"videos": 0}, {"objects": 0}, {"conditioning": 1}, {"points": 1}])
def test_limits_that_no_engine_can_have_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Limits(**wrong)
