"""SAM 3's golden scenarios through a real server, with and without memory selection; the trunk has 4 of its 32 blocks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from masklet.tracker import Tracker
from masklet_build.manifest import Manifest, file_sha256
from masklet_build.models import variants
from masklet_build.repository.assemble import assemble
from masklet_build.serve import Server
from tests.golden import scenarios
from tests.golden.compare import Comparison
from tests.golden.replay import Planner, play
from tests.golden.verify import GoldenError, export_golden, verify

pytestmark = [pytest.mark.server, pytest.mark.torch]

FOLDER = Path(__file__).parents[1] / "data" / "sam3_synthetic"


@pytest.fixture(scope="module")
def engines(kept_engines) -> Path:
    scenario = scenarios.load(FOLDER, "p4")
    weights = f"sam3:4: {scenario.meta['weights_sha256']} of {file_sha256(FOLDER / 'recipe.json')} {file_sha256(FOLDER / 'calibrated.npz')}"
    return kept_engines(weights, lambda scratch: export_golden(variants.variant("sam3:4"), FOLDER, scenario, scratch, print))


@pytest.mark.parametrize(("name", "scenario", "frames"), [("sam3:4", "p4", 4), ("sam3_newest:4", "p3", 2)])
def test_every_mask_is_the_official_predictors(engines, tmp_path, serving_python, name, scenario, frames):
    """A click tracked with selection; a click and a box without. The first frames only: one takes seconds."""
    replace(Manifest.read(engines), variant=name).write(engines)  # the same network and weights
    repository = assemble(name, engines, tmp_path / "repository")
    recorded, comparison = scenarios.load(FOLDER, scenario), Comparison()
    requests = [request for request in Planner(recorded).main if request.frame < frames]
    with (
        Server(repository, python=serving_python, grpc_port=0, http_port=0, metrics_port=0) as server,
        Tracker(server.grpc_url, timeout_s=120) as tracker,
    ):
        comparison.add(recorded, play(tracker, recorded, requests))
    assert comparison.within, comparison
    assert len(comparison.differences) == sum(len(request.expected) for request in requests)


@pytest.mark.parametrize(("name", "scenario"), [("sam3_newest:4", "p4"), ("sam3:4", "p3")])
def test_a_variant_that_remembers_in_another_way_is_refused(name, scenario):
    with pytest.raises(GoldenError, match="memory selection"):
        verify(name, FOLDER, [scenario])
