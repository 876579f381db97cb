"""The golden scenario through a real server: within the bars as built, outside them when the bank is broken on purpose."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest
from tests.golden import scenarios
from tests.golden.compare import Comparison
from tests.golden.replay import OTHER_OBJECTS, Planner, play
from tests.golden.verify import export_golden, replay, table

from masklet import families
from masklet.tracker import Tracker
from masklet_build.repository.assemble import assemble
from masklet_build.serve import Server

pytestmark = [pytest.mark.server, pytest.mark.torch]

DATA = Path(__file__).parents[1] / "data"
FOLDER, VARIANT = DATA / "efficienttam_ti_512_synthetic", families.variant("efficienttam_ti_512")
BROKEN_FRAMES = 9  # frames that show a broken bank

# Folder, variant, and per scenario the records that are compared, those of tracked frames with the object present among them, and those of prompt
# calls for other objects, which are repetitions.
OTHERS = [
    ("sam2.1_t_small", "sam2.1_t@256", {"q1": (117, 106, 11), "q2": (44, 40, 1)}),
    ("sam2.1_t_pointers", "sam2.1_t@128", {"q3": (31, 29, 0)}),
    ("sam2_t_small", "sam2_t@256", {"q1": (117, 106, 11)}),
    pytest.param("sam2.1_t_synthetic", "sam2.1_t", {"p2": (21, 16, 2)}, marks=pytest.mark.slow),
    ("edgetam_small", "edgetam@512", {"e1": (52, 30, 0)}),
]


@pytest.fixture(scope="module")
def scenario() -> scenarios.Scenario:
    return scenarios.load(FOLDER, "p1")


def build(folder: Path, variant: families.Variant, scenario: scenarios.Scenario, scratch: Path) -> Path:
    engines = export_golden(variant, folder, scenario, scratch, print)
    return assemble(variant.name, engines, scratch / "repository")


@pytest.fixture(scope="module")
def repository(scenario, tmp_path_factory) -> Path:
    return build(FOLDER, VARIANT, scenario, tmp_path_factory.mktemp("golden"))


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
        report = replay(server.grpc_url, scenario, at_least=60)  # of 90: an object may be left out after a near tie
    print(table([report]))
    assert report.comparison.within, table([report])
    assert report.left_out == {OTHER_OBJECTS: 11}
    assert len(report.comparison.differences) + report.comparison.skipped + len(report.comparison.flipped) == 117


@pytest.mark.parametrize(("folder", "name", "expected"), OTHERS, ids=lambda value: value if isinstance(value, str) else "")
def test_every_mask_is_the_official_predictors_in_other_families(folder, name, expected, serving_python, tmp_path):
    loaded = [scenarios.load(DATA / folder, scenario) for scenario in expected]
    made = build(DATA / folder, families.variant(name), loaded[0], tmp_path)
    with Server(made, python=serving_python, grpc_port=0, http_port=0, metrics_port=0) as server:
        reports = [replay(server.grpc_url, scenario, at_least=expected[scenario.name][1]) for scenario in loaded]
    print(table(reports))
    for report in reports:
        compared, _, repeated = expected[report.scenario]
        assert report.comparison.within, table([report])
        assert report.left_out == Counter({OTHER_OBJECTS: repeated})
        assert len(report.comparison.differences) + report.comparison.skipped + len(report.comparison.flipped) == compared


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(("bank.py", "(memory, rank - 1)", "(memory, conditioning_slot - rank)"), id="temporal index flipped"),
        pytest.param(("bank.py", "past[: self.family.num_memories - 1]", "past[: self.family.num_memories - 2]"), id="memory missing"),
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
