"""SAM 3's golden scenarios through a real server, with and without memory selection; the trunk has 4 of its 32 blocks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from masklet.tracker import Tracker
from masklet_build.manifest import Manifest
from masklet_build.repository.assemble import assemble
from masklet_build.serve import Server
from tests.golden import scenarios
from tests.golden.compare import Comparison
from tests.golden.replay import Planner, play
from tests.golden.verify import GoldenError, replay, table, verify
from tests.serving.golden_engines import golden_engines

pytestmark = [pytest.mark.server, pytest.mark.torch]

DATA = Path(__file__).parents[1] / "data"
SMALL, LARGE = DATA / "sam3_small", DATA / "sam3_synthetic"  # images of 336 pixels, of 1008
SELECTING, NEWEST = "sam3:4@336", "sam3_newest:4@336"


@pytest.fixture
def small(kept_engines) -> Path:
    return golden_engines(kept_engines, SMALL, SELECTING, scenarios.load(SMALL, "s1"))


@pytest.fixture
def large(kept_engines) -> Path:
    return golden_engines(kept_engines, LARGE, "sam3:4", scenarios.load(LARGE, "p4"))


@pytest.fixture
def serve(tmp_path, serving_python):
    def start(engines: Path, name: str) -> Server:
        replace(Manifest.read(engines), variant=name).write(engines)  # the same network and weights
        return Server(assemble(name, engines, tmp_path / "repository"), python=serving_python, grpc_port=0, http_port=0, metrics_port=0)

    return start


def test_every_mask_is_the_official_predictors_where_selection_rejects_frames(small, serve):
    with serve(small, SELECTING) as server:
        report = replay(server.grpc_url, scenarios.load(SMALL, "s1"), at_least=24)
    print(table([report]))
    assert report.comparison.within, table([report])
    assert not report.left_out


def test_every_mask_is_the_official_predictors_without_selection_and_selection_decides_what_masks_are(small, serve):
    with serve(small, NEWEST) as server:
        newest = replay(server.grpc_url, scenarios.load(SMALL, "s2"), at_least=24)
        unselected = replay(server.grpc_url, scenarios.load(SMALL, "s1"))
    print(table([newest, unselected]))
    assert newest.comparison.within, table([newest])
    assert not newest.left_out
    assert not unselected.comparison.within  # the selecting scenario, answered by a bank that takes the newest frames


@pytest.mark.slow
@pytest.mark.parametrize(("name", "scenario", "frames"), [("sam3:4", "p4", 4), ("sam3_newest:4", "p3", 2)])
def test_the_first_masks_at_full_size_are_the_official_predictors(large, serve, name, scenario, frames):
    """A click tracked with selection; a click and a box without. The first frames only: one takes seconds."""
    recorded, comparison = scenarios.load(LARGE, scenario), Comparison()
    requests = [request for request in Planner(recorded).main if request.frame < frames]
    with serve(large, name) as server, Tracker(server.grpc_url, timeout_s=120) as tracker:
        comparison.add(recorded, play(tracker, recorded, requests))
    assert comparison.within, comparison
    assert len(comparison.differences) == sum(len(request.expected) for request in requests)


@pytest.mark.parametrize(("folder", "name", "scenario"), [(LARGE, "sam3_newest:4", "p4"), (LARGE, "sam3:4", "p3"), (SMALL, NEWEST, "s1")])
def test_a_variant_that_remembers_in_another_way_is_refused(folder, name, scenario):
    with pytest.raises(GoldenError, match="memory selection"):
        verify(name, folder, [scenario])
