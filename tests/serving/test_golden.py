"""The golden scenario through a real server: within the bars as built, outside them when the bank is broken on purpose."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from masklet import families
from masklet.tracker import Tracker
from masklet_build import golden
from masklet_build.assemble import assemble
from masklet_build.compare import Comparison
from masklet_build.replay import OTHER_OBJECTS, Planner, play
from masklet_build.serve import Server
from masklet_build.verify import export_golden, replay, table

pytestmark = [pytest.mark.server, pytest.mark.torch]

FOLDER = Path(__file__).parents[1] / "data" / "efficienttam_ti_512_synthetic"
VARIANT = families.variant("efficienttam_ti_512")
BROKEN_FRAMES = 9  # frames that show a broken bank


@pytest.fixture(scope="module")
def scenario() -> golden.Scenario:
    return golden.load(FOLDER, "p1")


@pytest.fixture(scope="module")
def repository(scenario, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("golden")
    engines = export_golden(VARIANT, FOLDER, scenario, folder, print)
    return assemble(VARIANT.name, engines, folder / "repository")


@pytest.fixture
def broken(repository, tmp_path, request) -> Path:
    """A repository whose memory bank has one line changed: (file, right, wrong)."""
    name, right, wrong = request.param
    copy = tmp_path / "repository"
    shutil.copytree(repository, copy)
    file = copy / "memory_bank" / "1" / "masklet_bank" / name
    source = file.read_text()
    assert source.count(right) == 1
    file.write_text(source.replace(right, wrong))
    return copy


def test_every_mask_is_the_official_predictors(repository, scenario, serving_python):
    with Server(repository, python=serving_python, grpc_port=0, http_port=0, metrics_port=0) as server:
        report = replay(server.grpc_url, scenario)
    print(table([report]))
    assert report.comparison.within, table([report])
    assert report.left_out == {OTHER_OBJECTS: 11}
    assert len(report.comparison.differences) + report.comparison.skipped + len(report.comparison.flipped) == 117


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(("bank.py", "(memory, distance - 1)", "(memory, conditioning_slot - distance)"), id="temporal index flipped"),
        pytest.param(("bank.py", "range(self.family.num_memories - 1, 0, -1)", "range(self.family.num_memories - 1, 1, -1)"), id="memory missing"),
        pytest.param(("step.py", "job.prompted and family.binarise_prompts", "False"), id="prompt mask not binarised"),
    ],
    indirect=True,
)
def test_a_broken_bank_is_seen(broken, scenario, serving_python):
    requests = [request for request in Planner(scenario).main if request.frame <= BROKEN_FRAMES]
    comparison = Comparison()
    with Server(broken, python=serving_python, grpc_port=0, http_port=0, metrics_port=0) as server, Tracker(server.grpc_url) as tracker:
        comparison.add(scenario, play(tracker, scenario, requests))
    assert not comparison.within
