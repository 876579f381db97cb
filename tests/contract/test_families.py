"""Every number of a family or official variant names the official line that it was read from."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest

from masklet.families import VARIANTS, Family, Variant, scaled_down, variant

NOT_READ_FROM_A_LINE = {"name", "official", "root", "licence", "weights", "family", "checkpoint", "sources"}
FAMILIES = {variant.family.name: variant.family for variant in VARIANTS.values()}
OFFICIAL = [*FAMILIES.values(), *(variant for variant in VARIANTS.values() if variant.official)]


@pytest.mark.parametrize("thing", OFFICIAL, ids=lambda thing: f"{type(thing).__name__}-{thing.name}")
def test_every_number_names_its_source(thing: Family | Variant) -> None:
    numbers = {field.name for field in fields(thing)} - NOT_READ_FROM_A_LINE
    assert set(thing.sources) == numbers
    not_lines = {name: source for name, source in thing.sources.items() if not re.fullmatch(r"[\w./+-]+\.(py|yaml):[1-9]\d*", source)}
    assert not_lines == {}


def test_eight_variants_are_official_and_nano_is_ours() -> None:
    assert len([name for name, variant in VARIANTS.items() if variant.official]) == 8
    assert [name for name, variant in VARIANTS.items() if not variant.official] == ["nano"]


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_the_official_code_is_pinned_to_a_commit(family: Family) -> None:
    assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", family.official)


def test_variants_are_listed_under_their_names() -> None:
    assert {name: variant.name for name, variant in VARIANTS.items()} == {name: name for name in VARIANTS}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_scaled_down_variant_is_found_by_the_name_that_it_has(name: str) -> None:
    small = scaled_down(VARIANTS[name], 64)
    assert variant(small.name) == small
    assert (small.image_size, small.grid) == (64, 4)


@pytest.mark.parametrize("name", ["", "nobody", "nobody@64", "efficienttam_ti@", "efficienttam_ti@-64", "efficienttam_ti@64@64"])
def test_an_unknown_name_lists_the_known_ones(name: str) -> None:
    with pytest.raises(ValueError, match=r"unknown variant .* Known: efficienttam_ti_512, "):
        variant(name)


@pytest.mark.parametrize("side", [0, 8, 100])
def test_a_side_without_a_whole_grid_is_refused(side: int) -> None:
    with pytest.raises(ValueError, match=f"image size {side} .* stride, 16"):
        variant(f"efficienttam_ti_512@{side}")
