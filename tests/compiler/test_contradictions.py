"""Profiles that contradict the graph, or themselves: the error names the profile, with its shapes, and what the compiler says of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from masklet import families
from masklet.contract import memory_attention
from masklet_build import nano
from masklet_build.engines.builder import build
from masklet_build.engines.compilers import compiler_of
from masklet_build.engines.plans import RTX, BuildError, Settings
from masklet_build.export.profiles import Limits, Profile, profiles

pytest.importorskip("tensorrt_rtx_bindings")

pytestmark = pytest.mark.engines

NANO, ENGINE = families.NANO, nano.ENGINES / "memory_attention.onnx"
TRACKED, PROMPTED = profiles(NANO, Limits.of(NANO), wide=True)["memory_attention"]


def changed(name: str, change: Callable[[tuple[int, ...]], tuple[int, ...]], *parts: str) -> Profile:
    """The second profile with an input's min, opt or max changed."""
    shapes = PROMPTED.inputs[name]
    return replace(PROMPTED, inputs={**PROMPTED.inputs, name: shapes._replace(**{part: change(getattr(shapes, part)) for part in parts})})


@pytest.mark.parametrize(
    ("profile", "reason"),
    [
        (changed("MEMORY", lambda shape: (0, *shape[1:]), "max"), "MIN<=OPT<=MAX"),
        (replace(PROMPTED, inputs={name: shapes for name, shapes in PROMPTED.inputs.items() if name != "SLOT"}), "SLOT"),
        (changed("MEMORY", lambda shape: (*shape[:3], 63), "min", "opt", "max"), "Dimension mismatch for tensor MEMORY"),
        (changed("SLOT", lambda shape: (shape[0], 3), "min", "opt", "max"), "F: Input dimensions with this name"),
    ],
    ids=["the largest is smaller than the smallest", "an input without shapes", "another static size", "two ranges of one dimension"],
)
def test_the_error_names_the_profile_and_the_reason(profile: Profile, reason: str, tmp_path: Path) -> None:
    with pytest.raises(BuildError) as caught:
        build(compiler_of(RTX), memory_attention(NANO), NANO, ENGINE, (TRACKED, profile), Settings(), b"", tmp_path / "log")
    said = str(caught.value)
    assert "'prompted'" in said
    assert reason in said
    for name, shapes in profile.inputs.items():
        assert f"{name} {list(shapes.min)} to {list(shapes.max)}" in said, "what contradicts what"
    assert "report this" in said.lower(), "what to do next"
    assert "--objects" not in said, "no advice for other failures"
