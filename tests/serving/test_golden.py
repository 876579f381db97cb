"""The golden scenarios through a real server: within the bars. They are outside where the bank is broken on purpose, in this process."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from masklet import families
from masklet.tracker import Tracker
from masklet_build.in_process import InProcess
from masklet_build.models import variants
from masklet_build.models.stages import TorchStages
from masklet_build.repository.assemble import assemble
from masklet_build.serve import Server
from tests.golden import rebuilt, scenarios
from tests.golden.compare import Comparison
from tests.golden.replay import OTHER_OBJECTS, Planner, play
from tests.golden.verify import replay, table
from tests.serving.golden_engines import golden_engines

pytestmark = [pytest.mark.server, pytest.mark.torch]

DATA = Path(__file__).parents[1] / "data"
FOLDER, VARIANT = DATA / "efficienttam_ti_512_synthetic", variants.variant("efficienttam_ti_512")
# Frames that show a broken bank: those after a mask prompt, and as many as there are memories.
SHOWING = [("efficienttam_ti_512_synthetic", "efficienttam_ti_512", "p1", 2), ("sam2_t_small", "sam2_t@256", "q1", 9)]
BANK = "masklet_bank"

# Folder, variant, and per scenario the records that are compared, those of tracked frames with the object present among them, and those of prompt
# calls for other objects, which are repetitions.
OTHERS = [
    ("sam2.1_t_small", "sam2.1_t@256", {"q1": (117, 106, 11), "q2": (44, 40, 1)}),
    ("sam2.1_t_pointers", "sam2.1_t@128", {"q3": (31, 29, 0)}),
    ("sam2_t_small", "sam2_t@256", {"q1": (117, 106, 11)}),
    pytest.param("sam2.1_t_synthetic", "sam2.1_t", {"p2": (21, 16, 2)}, marks=pytest.mark.slow),  # the code of the first, at 1024 pixels
    ("edgetam_small", "edgetam@512", {"e1": (52, 30, 0)}),
]


@pytest.fixture(scope="module")
def scenario() -> scenarios.Scenario:
    return scenarios.load(FOLDER, "p1")


@pytest.fixture
def build(kept_engines, tmp_path):
    """Assembles the repository of a scenario's weights."""

    def made(folder: Path, variant: families.Variant, scenario: scenarios.Scenario) -> Path:
        engines = golden_engines(kept_engines, folder, variant.name, scenario)
        return assemble(variant.name, engines, tmp_path / "repository")

    return made


@pytest.fixture
def bank(request, tmp_path) -> Iterator[type[InProcess]]:
    """A server in this process. One line of its memory bank may be changed: (file, right, wrong)."""
    original = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == BANK or name == InProcess.__module__}
    shutil.copytree(Path(original[BANK].__file__).parent, tmp_path / BANK)
    if request.param:
        name, right, wrong = request.param
        source = (tmp_path / BANK / name).read_text()
        assert source.count(right) == 1
        (tmp_path / BANK / name).write_text(source.replace(right, wrong))
    for name in original:
        del sys.modules[name]
    sys.path.insert(0, str(tmp_path))
    try:
        yield importlib.import_module(InProcess.__module__).InProcess
    finally:
        sys.path.remove(str(tmp_path))
        for name in [name for name in sys.modules if name.partition(".")[0] == BANK]:
            del sys.modules[name]
        sys.modules.update(original)


def test_every_mask_is_the_official_predictors(build, scenario, serving_python):
    with Server(build(FOLDER, VARIANT, scenario), python=serving_python, grpc_port=0, http_port=0, metrics_port=0) as server:
        report = replay(server.grpc_url, scenario, at_least=60)  # of 90: an object may be left out after a near tie
    print(table([report]))
    assert report.comparison.within, table([report])
    assert report.left_out == {OTHER_OBJECTS: 11}
    assert len(report.comparison.differences) + report.comparison.skipped + len(report.comparison.flipped) == 117


@pytest.mark.parametrize(("folder", "name", "expected"), OTHERS, ids=lambda value: value if isinstance(value, str) else "")
def test_every_mask_is_the_official_predictors_in_other_families(folder, name, expected, build, serving_python):
    loaded = [scenarios.load(DATA / folder, scenario) for scenario in expected]
    made = build(DATA / folder, variants.variant(name), loaded[0])
    with Server(made, python=serving_python, grpc_port=0, http_port=0, metrics_port=0) as server:
        reports = [replay(server.grpc_url, scenario, at_least=expected[scenario.name][1]) for scenario in loaded]
    print(table(reports))
    for report in reports:
        compared, _, repeated = expected[report.scenario]
        assert report.comparison.within, table([report])
        assert report.left_out == Counter({OTHER_OBJECTS: repeated})
        assert len(report.comparison.differences) + report.comparison.skipped + len(report.comparison.flipped) == compared


@pytest.fixture(scope="module")
def stages() -> dict[str, TorchStages]:
    return {name: TorchStages(rebuilt.rebuild(DATA / folder), variants.variant(name)) for folder, name, _, _ in SHOWING}


def within(bank: type[InProcess], stages: dict[str, TorchStages]) -> Iterator[bool]:
    """Whether what a bank answers is within the bars, for each of SHOWING in turn."""
    for folder, name, play_of, last in SHOWING:
        scenario, comparison = scenarios.load(DATA / folder, play_of), Comparison()
        requests = [request for request in Planner(scenario).main if request.frame <= last]
        with Tracker("in this process", transport=bank(variants.variant(name), stages[name])) as tracker:
            comparison.add(scenario, play(tracker, scenario, requests))
        yield comparison.within


@pytest.mark.parametrize("bank", [()], ids=["as it is"], indirect=True)
def test_a_bank_is_seen_to_be_right(bank, stages):
    assert [*within(bank, stages)] == [True, True]


@pytest.mark.parametrize(
    "bank",
    [
        pytest.param(("policies/official.py", "(earlier, rank - 1)", "(earlier, last_row - rank)"), id="temporal index flipped"),
        pytest.param(("policies/official.py", "past[: self.family.num_memories - 1]", "past[: self.family.num_memories - 2]"), id="memory missing"),
        pytest.param(("calls.py", "item.job.prompted and family.binarise_prompts", "False"), id="prompt mask not binarised"),
    ],
    indirect=True,
)
def test_a_broken_bank_is_seen(bank, stages):
    assert False in within(bank, stages)
