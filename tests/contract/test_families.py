"""Every number of a family or official variant names the official line that it was read from."""

from __future__ import annotations

import re
from dataclasses import fields, replace

import pytest

from masklet import families
from masklet.families import VARIANTS, Cleaning, Family, Perceiver, Variant
from masklet_build.models.trunks import TRUNKS, Trunk
from masklet_build.models.variants import commanded_name, scaled_down, served_name, shallow, step_of, trunk_of, variant

NOT_READ_FROM_A_LINE = {"name", "official", "root", "licence", "weights", "family", "checkpoint", "sources"}
FAMILIES = {id(variant.family): variant.family for variant in VARIANTS.values()}
VARIANTS_OF_OTHERS = [variant for variant in VARIANTS.values() if variant.official]
RULES = [rule for family in FAMILIES.values() for rule in (family.selection, family.cleaning) if rule]
PARTS = [part for variant in VARIANTS_OF_OTHERS for part in (trunk_of(variant), variant.perceiver) if part is not None]
OFFICIAL = [*FAMILIES.values(), *RULES, *VARIANTS_OF_OTHERS, *PARTS]


@pytest.mark.parametrize("thing", OFFICIAL, ids=lambda thing: f"{type(thing).__name__}-{getattr(thing, 'name', '')}")
def test_every_number_names_its_source(thing: Family | Cleaning | Variant | Trunk | Perceiver) -> None:
    """A part that a thing lacks, None, needs none."""
    numbers = {field.name for field in fields(thing) if getattr(thing, field.name) is not None} - NOT_READ_FROM_A_LINE
    assert set(thing.sources) == numbers
    not_lines = {name: source for name, source in thing.sources.items() if not re.fullmatch(r"[\w./+-]+\.(py|yaml):[1-9]\d*", source)}
    assert not_lines == {}


# One object, one prompted frame, late in a video: 7 memories of 64 bfloat16 per token and 16 pointers of 256 float32 are what the official predictor
# reads; beside them masklet keeps the newest frame's memory and pointer, and the logits of the prompted and of the newest frame, for corrections.
STATES = {
    "efficienttam_ti_512": (933_888, 128),
    "efficienttam_s_512": (933_888, 128),
    "efficienttam_ti": (3_686_400, 256),
    "efficienttam_s_2": (3_686_400, 256),
    "sam2.1_t": (3_686_400, 256),
    "sam2.1_l": (3_686_400, 256),
    "sam2_b+": (3_686_400, 256),
    "sam3": (4_661_248, 288),
    "edgetam": (475_136, 256),
}


@pytest.mark.parametrize("name", STATES)
def test_the_state_of_an_object_is_a_formula(name: str) -> None:
    read, side = STATES[name]
    made = VARIANTS[name]
    assert made.slot_bytes(7, 16) == read
    assert made.object_bytes() == read + made.memory_tokens * 64 * 2 + 256 * 4 + 2 * side * side * 4
    assert made.object_bytes(3) - made.object_bytes() == 2 * (made.memory_tokens * 64 * 2 + 256 * 4 + side * side * 4)


def test_the_state_of_an_object_of_sam3_is_that_of_four_prompted_frames() -> None:
    """Four prompted frames, six trusted ones and the newest; pointers of four, fifteen and one (bfloat16 [5184, 64] and float32 [256] each)."""
    assert VARIANTS["sam3"].slot_bytes(11, 20) == 7_319_552
    assert VARIANTS["sam3"].object_bytes(4) == 7_319_552 + 5 * 288 * 288 * 4


def test_only_nano_is_ours() -> None:
    assert [name for name, variant in VARIANTS.items() if not variant.official] == ["nano"]


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_the_official_code_is_pinned_to_a_commit(family: Family) -> None:
    assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", family.official)


def test_variants_are_listed_under_their_names() -> None:
    assert {name: variant.name for name, variant in VARIANTS.items()} == {name: name for name in VARIANTS}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_scaled_down_variant_is_found_by_the_name_that_it_has(name: str) -> None:
    side = 2 * step_of(VARIANTS[name])
    small = scaled_down(VARIANTS[name], side)
    assert variant(small.name) == small
    assert (small.image_size, small.grid) == (side, side // small.stride)


def test_a_shallow_variant_is_found_by_the_name_that_it_has() -> None:
    small = scaled_down(shallow(VARIANTS["sam3"], 4), 672)
    assert (small.name, trunk_of(small).depth, trunk_of(small).global_blocks, small.grid) == ("sam3:4@672", 4, (1, 3), 48)
    assert variant(small.name) == small


@pytest.mark.parametrize("name", ["efficienttam_ti_512@64", "sam3:4", "sam3:2@336"])
def test_small_variants_are_the_builders_and_a_server_is_told_their_size(name: str) -> None:
    small = variant(name)
    with pytest.raises(ValueError, match="unknown variant"):
        families.variant(name)
    served = families.variant(served_name(small), small.image_size)
    assert replace(served, name=name) == small
    assert commanded_name(served.name, served.image_size) == re.sub(r":\d+", "", name)


def test_every_variant_has_a_trunk_and_no_other() -> None:
    assert set(TRUNKS) == set(VARIANTS)


@pytest.mark.parametrize("name", ["sam3:0", "sam3:3", "nano:4"])
def test_a_trunk_that_cannot_be_shallow_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be made of"):
        variant(name)


@pytest.mark.parametrize("name", ["", "nobody", "nobody@64", "efficienttam_ti@", "efficienttam_ti@-64", "efficienttam_ti@64@64", "nano:@64"])
def test_an_unknown_name_lists_the_known_ones(name: str) -> None:
    with pytest.raises(ValueError, match=r"unknown variant .* Known: efficienttam_ti_512, "):
        variant(name)


@pytest.mark.parametrize(
    ("name", "side", "step"),
    [("efficienttam_ti_512", side, 16) for side in (0, 8, 100)] + [("sam2.1_t", 48, 32), ("sam3", 1024, 336), ("edgetam", 320, 256)],
)
def test_a_side_that_the_trunk_cannot_take_is_refused(name: str, side: int, step: int) -> None:
    with pytest.raises(ValueError, match=f"image size {side} .* multiple of {step} pixels"):
        variant(f"{name}@{side}")
