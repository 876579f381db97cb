"""What is known of the official checkpoint files hangs together with the networks."""

from __future__ import annotations

import re

import pytest

from masklet.families import VARIANTS
from masklet_build.checkpoints.listing import PARAMETERS
from masklet_build.checkpoints.official_files import OFFICIAL_FILES, address

OFFICIAL = [variant for variant in VARIANTS.values() if variant.official]


@pytest.mark.parametrize("variant", OFFICIAL, ids=lambda variant: variant.name)
def test_every_official_variant_has_a_file_with_a_hash_and_an_address(variant):
    assert re.fullmatch(r"[0-9a-f]{64}", OFFICIAL_FILES[variant.checkpoint].sha256)
    assert re.fullmatch(r"https://[a-z./A-Z0-9_-]+\.pt", address(variant))


def test_no_two_files_have_the_same_hash():
    assert len({known.sha256 for known in OFFICIAL_FILES.values()}) == len(OFFICIAL_FILES)


@pytest.mark.parametrize("variant", OFFICIAL, ids=lambda variant: variant.name)
def test_a_file_is_as_large_as_its_float32_parameters(variant):
    """Names, buffers and the archive take less than half a percent and 300 kB; SAM 3's file holds the detector too."""
    known, floats = OFFICIAL_FILES[variant.checkpoint], 4 * PARAMETERS[variant.name]
    if known.size is not None:
        assert floats < known.size
        assert known.gated or known.size < 1.005 * floats + 300_000


@pytest.mark.torch
@pytest.mark.parametrize("variant", VARIANTS.values(), ids=lambda variant: variant.name)
def test_the_listed_number_of_parameters_is_that_of_the_network(variant):
    torch = pytest.importorskip("torch")
    from masklet_build.models.network import Network

    with torch.device("meta"):
        assert PARAMETERS[variant.name] == sum(parameter.numel() for parameter in Network(variant).parameters())
