"""Engines that are right pass, and every kind of wrong is caught and named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from masklet.contract import engines
from masklet_build.check.engine_check import EngineReport, check_engines
from masklet_build.check.subject import Subject
from masklet_build.export.fixtures.fixtures import Fixtures
from tests.selftest.faults import MAPS, Fault, Faulty, damped, noise

pytestmark = pytest.mark.engines

OUTPUTS = {
    "image_encoder": "EMBEDDING",
    "mask_prompt": "MASK_PROMPT",
    "memory_attention": "CONDITIONED",
    "mask_decoder": "LOW",
    "memory_encoder": "MEMORY",
}


def check(subject: Subject, shipped: Fixtures, stages: Any, engine: str | None = None, precision: str = "bf16", profiles: str = "") -> EngineReport:
    """`engine`: the only one that is asked. `profiles`: whose name has that, the others take long."""
    table = {name: [one for one in rows if profiles in one.name and engine in (None, name)] for name, rows in subject.table.items()}
    return check_engines(subject.variant, stages, shipped, table, precision, lambda line: None)


def always(inputs: Mapping[str, np.ndarray]) -> bool:
    return True


def test_the_shipped_engines_are_right_to_the_bar_of_fp32(subject: Subject, shipped: Fixtures) -> None:
    report = check(subject, shipped, subject.stages, precision="fp32")
    assert report.problems == []
    assert report.unchecked == {}
    assert {call.engine for call in report.checked} == {model.name for model in engines(subject.variant)}


@pytest.mark.parametrize("engine", ["image_encoder", "memory_attention", "memory_encoder"])
@pytest.mark.parametrize("fault", MAPS, ids=lambda fault: fault.__name__)
def test_a_fault_is_caught_by_the_widest_bar_and_named(engine: str, fault: Fault, subject: Subject, shipped: Fixtures) -> None:
    """bf16 has the widest bar, so the others catch it too."""
    faulty = Faulty(subject.stages, engine, OUTPUTS[engine], fault, always)
    report = check(subject, shipped, faulty, engine, profiles="steady" if engine == "memory_attention" else "")
    assert report.failed == [engine]
    assert [call.problem is not None for call in report.checked] == faulty.changed  # a stale row may be right by chance
    if fault.__name__ == "rows_of_the_first":
        assert all("mixed up" in problem for problem in report.problems)


@pytest.mark.parametrize(
    ("engine", "output", "fault"), [("mask_prompt", "MASK_PROMPT", noise), ("mask_decoder", "LOW", damped), ("mask_decoder", "POINTER", noise)]
)
def test_small_engines_and_further_outputs_are_looked_at(engine: str, output: str, fault: Fault, subject: Subject, shipped: Fixtures) -> None:
    report = check(subject, shipped, Faulty(subject.stages, engine, output, fault, always), engine)
    assert report.failed == [engine]
    assert all(f"{output} row" in problem for problem in report.problems)


@pytest.mark.parametrize(
    ("name", "applies"),
    [
        ("start", lambda inputs: inputs["MEMORY"].shape[1] == 4),
        ("steady b1-2", lambda inputs: len(inputs["MEMORY"]) == 1 and inputs["POINTERS"].shape[1] == 16),
        ("prompted b3", lambda inputs: inputs["MEMORY"].shape[1] > 7 and len(inputs["MEMORY"]) > 2),
    ],
)
def test_a_fault_in_one_profile_is_named_by_it(name: str, applies: Any, subject: Subject, shipped: Fixtures) -> None:
    """Fused kernels are chosen profile by profile, so one may be wrong alone."""
    report = check(subject, shipped, Faulty(subject.stages, "memory_attention", "CONDITIONED", noise, applies), "memory_attention")
    wrong = {call.profile for call in report.checked if call.problem}
    assert wrong
    assert all(profile.startswith(name) for profile in wrong)
    assert all(f"memory_attention, profile '{name}" in problem for problem in report.problems)


def test_scores_of_the_wrong_sign_are_named(subject: Subject, shipped: Fixtures) -> None:
    faulty = Faulty(subject.stages, "mask_decoder", "SCORE", lambda output, before: -output, always)
    assert any("SCORE" in problem for problem in check(subject, shipped, faulty, "mask_decoder").problems)


def test_another_mask_than_the_best_is_seen(subject: Subject, shipped: Fixtures) -> None:
    """An argmax that falls to another mask: MULTIMASK turned round."""

    class OtherChoice:
        def call(self, engine: str, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
            return subject.stages.call(engine, {**inputs, "MULTIMASK": 1 - inputs["MULTIMASK"]})

    assert check(subject, shipped, OtherChoice(), "mask_decoder").failed == ["mask_decoder"]


@pytest.mark.parametrize("name", ["SLOT", "POINTERS", "VIDEO"])
def test_an_input_that_is_not_read_is_seen(name: str, subject: Subject, shipped: Fixtures) -> None:
    """As where a binding keeps the address of another call."""

    class Deaf:
        def call(self, engine: str, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
            return subject.stages.call(engine, {**inputs, name: np.zeros_like(inputs[name])})

    assert check(subject, shipped, Deaf(), "memory_attention", profiles="steady").failed == ["memory_attention"]


def test_an_engine_that_raises_is_a_finding(subject: Subject, shipped: Fixtures) -> None:
    class Raising:
        def call(self, engine: str, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
            raise RuntimeError("no tactic")

    report = check(subject, shipped, Raising(), "mask_prompt")
    assert all("mask_prompt, profile 'any', B " in problem and "RuntimeError: no tactic" in problem for problem in report.problems)
    assert report.failed == ["mask_prompt"]


def test_an_output_that_is_missing_is_a_finding(subject: Subject, shipped: Fixtures) -> None:
    class Mute:
        def call(self, engine: str, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
            return {name: array for name, array in subject.stages.call(engine, inputs).items() if name != "POINTER"}

    assert all("no output POINTER" in problem for problem in check(subject, shipped, Mute(), "mask_decoder").problems)


def test_a_profile_without_rows_is_said_not_passed_over(subject: Subject, shipped: Fixtures) -> None:
    from dataclasses import replace

    without = replace(shipped, rows=[row for row in shipped.rows if row.sizes.F <= 7])
    report = check(subject, without, subject.stages, "memory_attention")
    assert report.unchecked["memory_attention"]
    assert all(name.startswith("prompted") for name in report.unchecked["memory_attention"])
