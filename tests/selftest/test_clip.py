"""A whole clip: right engines keep its masks, wrong ones do not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from masklet_build.check.clip_check import ClipReport, check_clip
from masklet_build.check.engine_check import Checked, EngineReport
from masklet_build.check.report import Report, text
from masklet_build.check.subject import Subject
from masklet_build.export.fixtures.fixtures import Fixtures
from masklet_build.models.samples import Sizes

pytestmark = pytest.mark.engines

FEW = 9  # requests of the clip: enough for a fault to show


def check(subject: Subject, shipped: Fixtures, stages: Any) -> ClipReport:
    clip = replace(shipped.clip, steps=shipped.clip.steps[:FEW], answers=shipped.clip.answers[:FEW])
    return check_clip(subject.variant, stages, replace(shipped, clip=clip), "bf16", subject.objects_per_call)


def test_the_shipped_engines_keep_the_masks_to_the_bar_of_fp32(subject: Subject, shipped: Fixtures) -> None:
    report = check_clip(subject.variant, subject.stages, shipped, "fp32", subject.objects_per_call)
    assert report.problems == []
    assert (report.frames, report.objects) == (24, 3)
    assert report.jf_expected > 60  # the clip is one that nano can track: else lost objects would be compared with lost objects


class Changed:
    """Engines with one output changed."""

    def __init__(self, subject: Subject, engine: str, output: str, change: Any) -> None:
        self._subject, self._engine, self._output, self._change = subject, engine, output, change

    def call(self, engine: str, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        outputs = dict(self._subject.stages.call(engine, inputs))
        if engine == self._engine:
            outputs[self._output] = self._change(outputs[self._output], inputs)
        return outputs


@pytest.mark.parametrize(
    ("engine", "output", "change", "words"),
    [
        pytest.param("memory_attention", "CONDITIONED", lambda array, inputs: inputs["EMBEDDING"][inputs["VIDEO"]], "mean IoU", id="no-memory"),
        pytest.param("memory_attention", "CONDITIONED", lambda array, inputs: array[::-1].copy(), "mean IoU", id="objects-mixed"),
        pytest.param("memory_encoder", "MEMORY", lambda array, inputs: array * 0, "mean IoU", id="empty-memories"),
        pytest.param("mask_decoder", "SCORE", lambda array, inputs: -array, "present instead of absent", id="scores-turned"),
        pytest.param("memory_encoder", "MEMORY", lambda array, inputs: array * np.nan, "not tracked to its end", id="not-finite"),
    ],
)
def test_a_fault_shows_in_the_clip(engine: str, output: str, change: Any, words: str, subject: Subject, shipped: Fixtures) -> None:
    report = check(subject, shipped, Changed(subject, engine, output, change))
    assert any(words in problem for problem in report.problems), report


def test_an_engine_that_raises_is_a_finding(subject: Subject, shipped: Fixtures) -> None:
    class Raising:
        def call(self, engine: str, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
            raise RuntimeError("out of memory")

    assert check(subject, shipped, Raising()).problems == ["the clip was not tracked to its end: RuntimeError: out of memory"]


GOOD = ClipReport("fp16", 24, 3, 0.995, 0.9, 0, 80.0, 80.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mean_iou": 0.989}, "mean IoU 0.9890"),
        ({"mean_iou": float("nan")}, "mean IoU nan"),
        ({"flips": 1}, "1 answers say present"),
        ({"jf": 79.6}, "J&F 79.6 instead of 80.0"),
        ({"error": "RunError: no"}, "not tracked to its end: RunError: no"),
    ],
)
def test_each_bar_of_a_clip_counts(change: dict[str, Any], words: str) -> None:
    assert GOOD.problems == []
    assert words in replace(GOOD, **change).problems[0]


def test_a_bad_clip_alone_is_a_failure(subject: Subject) -> None:
    engines = EngineReport("fp16", [Checked("mask_prompt", "any", Sizes(), {}, None)], {"memory_encoder": ["rivals"]})
    said = text(Report(subject, engines, replace(GOOD, jf=70.0)))
    assert "FAIL: no engine by itself, but the masks of a whole clip" in said
    assert "not checked: memory_encoder, profiles rivals" in said
    assert "PASS" in text(Report(subject, engines, GOOD))
