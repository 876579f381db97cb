"""The fallback that is recommended."""

from __future__ import annotations

import shlex

import pytest

from masklet.families import variant
from masklet_build.check.clip_check import ClipReport
from masklet_build.check.engine_check import Checked, EngineReport
from masklet_build.check.verdict import fallbacks, judge
from masklet_build.models.samples import Sizes

SAM2 = variant("sam2.1_t")
ALL = ["image_encoder", "mask_prompt", "memory_attention", "mask_decoder", "memory_encoder"]


def ladder(precision: str, attention: str, *failed: str) -> list[tuple[str, str]]:
    return [(step.precision, step.attention) for step in fallbacks(SAM2, precision, attention, failed)]


def report(precision: str, *failed: str) -> EngineReport:
    return EngineReport(precision, [Checked(engine, "any", Sizes(), {}, "off" if engine in failed else None) for engine in ALL], {})


GOOD = ClipReport("nano", "fp16", 24, 3, 0.999, 0.99, 0, 80.0, 80.0)


def test_wrong_attention_falls_back_to_bf16_then_unfused_then_fp32() -> None:
    assert ladder("fp16", "fp16", "memory_attention") == [("fp16", "bf16"), ("fp16", "fp32"), ("bf16", "fp32"), ("fp32", "fp32")]


def test_steps_that_were_taken_are_not_recommended_again() -> None:
    assert ladder("fp16", "bf16", "image_encoder") == [("fp16", "fp32"), ("bf16", "fp32"), ("fp32", "fp32")]
    assert ladder("fp16", "fp32", "image_encoder") == [("bf16", "fp32"), ("fp32", "fp32")]
    assert ladder("bf16", "fp16", "image_encoder") == [("bf16", "bf16"), ("bf16", "fp32"), ("fp32", "fp32")]
    assert ladder("bf16", "fp32", "image_encoder") == [("fp32", "fp32")]
    assert ladder("fp32", "fp16", "memory_attention") == [("fp32", "bf16"), ("fp32", "fp32")]
    assert ladder("fp32", "fp32", "memory_attention") == []


def test_an_engine_without_attention_is_not_cured_by_other_attention() -> None:
    assert ladder("fp16", "fp16", "memory_attention", "memory_encoder") == [("bf16", "fp32"), ("fp32", "fp32")]


def test_a_perceiver_attends() -> None:
    """EdgeTAM's memory encoder has attention of its own."""
    assert fallbacks(variant("edgetam"), "fp16", "fp16", ["memory_encoder"])[0].attention == "bf16"


def test_everything_right_is_a_pass() -> None:
    verdict = judge(SAM2, "fp16", "fp16", report("fp16"), [GOOD])
    assert verdict.passed
    assert not verdict.commands


def test_profiles_that_could_not_be_checked_are_said_in_a_pass() -> None:
    unchecked = EngineReport("fp16", report("fp16").checked, {"memory_encoder": ["rivals"]})
    assert "Not every profile" in judge(SAM2, "fp16", "fp16", unchecked, [GOOD]).said


def test_a_bad_clip_alone_is_a_failure() -> None:
    bad = ClipReport("nano", "fp16", 24, 3, 0.95, 0.5, 0, 80.0, 80.0)
    verdict = judge(SAM2, "fp16", "fp16", report("fp16"), [bad])
    assert not verdict.passed
    assert verdict.commands


@pytest.mark.parametrize(
    ("clip", "words"),
    [
        (ClipReport("nano", "fp16", 24, 3, 0.989, 0.9, 0, 80.0, 80.0), "mean IoU 0.9890"),
        (ClipReport("nano", "fp16", 24, 3, 0.995, 0.9, 1, 80.0, 80.0), "1 answers say present"),
        (ClipReport("nano", "fp16", 24, 3, 0.995, 0.9, 0, 79.6, 80.0), "J&F 79.6 instead of 80.0"),
        (ClipReport("nano", "fp16", 24, 3, float("nan"), 0.9, 0, 80.0, 80.0), "mean IoU nan"),
        (ClipReport("nano", "fp16", 24, 3, error="RunError: no"), "not tracked to its end: RunError: no"),
    ],
)
def test_each_bar_of_a_clip_counts(clip: ClipReport, words: str) -> None:
    assert words in clip.problems[0]
    assert GOOD.problems == []


def test_commands_can_be_typed_and_lead_to_the_next_selftest() -> None:
    export, engine, selftest = (shlex.split(line) for line in judge(SAM2, "fp16", "fp16", report("fp16", "memory_attention"), [GOOD]).commands)
    assert export[:3] == ["masklet-build", "export", "sam2.1_t"]
    assert export[export.index("--attention") + 1] == "bf16"
    assert engine[engine.index("--onnx") + 1] == export[export.index("--out") + 1]
    assert selftest == ["masklet-build", "selftest", engine[engine.index("--out") + 1]]


def test_fp32_that_fails_has_no_fallback_and_says_so() -> None:
    verdict = judge(SAM2, "fp32", "fp32", report("fp32", "memory_attention"), [GOOD])
    assert not verdict.passed
    assert not verdict.commands
    assert "Do not serve" in verdict.said
