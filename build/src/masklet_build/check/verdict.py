"""Pass, or what to build instead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from masklet.families import Variant
from masklet_build.check.clip_check import ClipReport
from masklet_build.check.engine_check import EngineReport


@dataclass(frozen=True)
class Verdict:
    """passed: nothing is wrong. said: why, in words. commands: the next thing to do, to be typed. later: what remains if that fails, too."""

    passed: bool
    said: str
    commands: tuple[str, ...] = ()
    later: tuple[str, ...] = ()


@dataclass(frozen=True)
class Step:
    """A precision to fall back to, and why it may be right where the one before is wrong."""

    precision: str
    attention: str
    reason: str

    @property
    def told(self) -> str:
        """In words."""
        return self.precision if self.precision == self.attention else f"{self.precision} with attention in {self.attention}"


_SURER = ("fp16", "bf16", "fp32")  # from fast to sure
_ATTENTION = {
    "bf16": "fused attention in fp16 sums in fp16, in bf16 it sums in fp32",
    "fp32": "attention in fp32 is not fused, so no fused kernel can be wrong; slower, and more memory",
}
_PRECISION = {
    "bf16": "bf16 has the range of fp32, fp16 ends at 65504",
    "fp32": "everything in fp32, by which masklet's masks are defined",
}


def judge(variant: Variant, precision: str, attention: str, engines: EngineReport, clips: Sequence[ClipReport]) -> Verdict:
    """The verdict, with the fallback to take."""
    bad_clips = [clip for clip in clips if clip.problems]
    if not engines.failed and not bad_clips:
        gap = " Not every profile could be checked (above)." if engines.unchecked else ""
        return Verdict(True, f"PASS: every engine answers as the float32 network does, within the bars of {engines.precision}.{gap}")
    what = ", ".join(engines.failed) or "no engine by itself, but the masks of a whole clip"
    steps = fallbacks(variant, precision, attention, engines.failed)
    if not steps:
        return Verdict(
            False,
            f"FAIL: {what}. These engines are fp32 already, so there is nothing to fall back to. Do not serve them. Build again with another "
            "--level, or another TensorRT, and report this with selftest.json.",
        )
    first, *others = steps
    said = f"FAIL: {what}. Do not serve these engines. Next: {first.told} ({first.reason})."
    return Verdict(False, said, commands(variant, first), tuple(f"{step.told}: {step.reason}" for step in others))


def fallbacks(variant: Variant, precision: str, attention: str, failed: Sequence[str]) -> list[Step]:
    """From fast to sure. Another type of attention only where nothing fails that has none."""
    attends = {"image_encoder", "memory_attention", "mask_decoder"} | ({"memory_encoder"} if variant.perceiver else set())
    types = [surer for surer in _surer(attention) if set(failed) <= attends]
    return [
        *(Step(precision, surer, _ATTENTION[surer]) for surer in types),
        *(Step(surer, "fp32", _PRECISION[surer]) for surer in _surer(precision)),
    ]


def _surer(precision: str) -> tuple[str, ...]:
    return _SURER[_SURER.index(precision) + 1 :]


def commands(variant: Variant, step: Step) -> tuple[str, ...]:
    """How engines of that precision are made and tested."""
    name, precision, attention = variant.name, step.precision, step.attention
    tag = precision if precision == attention else f"{precision}-{attention}"
    checkpoint = "--checkpoint FILE " if variant.official else ""
    onnx, plans = Path(f"{name}-{tag}-onnx"), Path(f"{name}-{tag}-plans")
    return (
        f"masklet-build export {name} {checkpoint}--precision {precision} --attention {attention} --for tensorrt --out {onnx}",
        f"masklet-build engine {name} --onnx {onnx} --out {plans}",
        f"masklet-build selftest {plans}",
    )
