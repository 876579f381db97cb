"""Fixtures are made for every family, and those in the package are what the network answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from masklet.contract import engines
from masklet.families import NANO, Variant
from masklet_build.check.calls import calls
from masklet_build.check.clip_check import check_clip
from masklet_build.check.engine_check import check_engines
from masklet_build.checkpoints.loading import load_checkpoint
from masklet_build.checkpoints.random_weights import random_checkpoint
from masklet_build.export.bars import BARS
from masklet_build.export.fixtures.compare import compare
from masklet_build.export.fixtures.fixtures import Fixtures, read, write
from masklet_build.export.fixtures.record import CLIP_FRAMES, record
from masklet_build.export.precision.choice import Choice
from masklet_build.export.precision.plan import Plan
from masklet_build.export.profiles import Limits, profiles
from masklet_build.models.stages import TorchStages
from masklet_build.models.variants import scaled_down, step_of, variant
from masklet_build.nano import CHECKPOINT
from tests.reference.narrow import narrow_sam3

pytestmark = pytest.mark.torch


def small(name: str) -> Variant:
    known = variant(name)
    return known if "@" in name else scaled_down(known, max(64, step_of(known)))


@pytest.fixture
def narrow() -> Iterator[None]:
    """SAM 3 is narrow."""
    with narrow_sam3():
        yield


EVERY = "image_encoder mask_prompt memory_attention mask_decoder memory_encoder"


@pytest.mark.parametrize(
    ("name", "asked"), [("efficienttam_ti_1", EVERY), ("sam2.1_t", EVERY), ("edgetam", EVERY), ("sam3:2@336", "mask_prompt memory_encoder")]
)
def test_fixtures_of_every_family_fill_every_profile_and_agree_with_their_network(narrow: None, name: str, asked: str, tmp_path: Path) -> None:
    """Of SAM 3, whose images are large, only the engines that have what no other family has, soft masks and rivals, are asked again."""
    made = small(name)
    stages = TorchStages(random_checkpoint(made, seed=1), made)
    write(record(made, stages, "1" * 64, 2, {}, lambda line: None), tmp_path / "fixtures.npz")
    fixtures = read(tmp_path / "fixtures.npz")
    assert len(fixtures.clip.answers) == 3
    table = profiles(made, Limits.of(made, objects=2))
    for model in engines(made):
        assert {call.profile for call in calls(fixtures, model, table[model.name])} == {profile.name for profile in table[model.name]}
    small_table = profiles(made, Limits.of(made, objects=1, videos=1))
    again = {engine: rows if engine in asked.split() else () for engine, rows in small_table.items()}
    report = check_engines(made, stages, fixtures, again, "fp32", lambda line: None)
    assert {call.engine for call in report.checked} == set(asked.split())
    assert report.problems == []
    if asked == EVERY:
        assert check_clip(made, stages, fixtures, "fp32", 2).problems == []


class Answering:
    """The float32 network of the package."""

    def __init__(self) -> None:
        self.stages = TorchStages(load_checkpoint(CHECKPOINT, NANO), NANO)

    def call(self, engine: str, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        return self.stages.call(engine, inputs)


def test_the_fixtures_in_the_package_are_what_the_command_makes(shipped: Fixtures) -> None:
    again = record(NANO, Answering(), shipped.checkpoint_sha256, CLIP_FRAMES, {}, lambda line: None)
    assert again.clip.frames == shipped.clip.frames
    assert again.clip.truth == shipped.clip.truth
    assert len(again.rows) == len(shipped.rows)
    for one, other in zip(again.rows, shipped.rows, strict=True):
        assert (one.engine, one.frame, one.sizes) == (other.engine, other.frame, other.sizes)
    report = check_engines(NANO, Answering(), shipped, profiles(NANO, Limits.of(NANO, videos=1, objects=1)), "fp32", lambda line: None)
    assert report.problems == []


def test_a_near_tie_is_left_out() -> None:
    """An object whose presence is undecided within bfloat16 says nothing about an engine."""

    class Undecided(Answering):
        """The mask is one or another by the last bits of the features."""

        def call(self, engine: str, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
            outputs = dict(super().call(engine, inputs))
            if engine == "mask_decoder":
                bit = int(inputs["FEATURES"].view(np.int32).sum()) & 1
                outputs["LOW"] = np.roll(outputs["LOW"], 20 * bit, axis=2)
            return outputs

    made = record(NANO, Undecided(), "1" * 64, 2, {}, lambda line: None)
    assert int(made.made["near_ties"]) > 0
    assert int(made.made["near_ties"]) + len(made.of("mask_decoder")) == len(
        record(NANO, Answering(), "1" * 64, 2, {}, lambda line: None).of("mask_decoder")
    )


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_reduced_precision_that_is_right_passes(precision: str, shipped: Fixtures) -> None:
    """The typed modules in PyTorch, which rounds as it is told; ONNX Runtime leaves casts to fp16 out on a CPU."""
    stages = Plan(Choice(precision, precision, "tensorrt")).stages(Answering().stages)
    report = check_engines(NANO, stages, shipped, profiles(NANO, Limits.of(NANO, videos=1, objects=1)), precision, lambda line: None)
    assert report.problems == []
    least = {"fp16": 1e-4, "bf16": 1e-3}[precision]  # it does round
    assert min(call.figures["CONDITIONED"].typical for call in report.checked if call.engine == "memory_attention") > least
    few = replace(shipped.clip, steps=shipped.clip.steps[:9], answers=shipped.clip.answers[:9])
    assert check_clip(NANO, stages, replace(shipped, clip=few), precision, 8).problems == []


def test_rounded_inputs_are_answered_not_the_inputs_before(shipped: Fixtures) -> None:
    """The expected output belongs to what is stored."""
    stages = Answering()
    row = shipped.of("memory_encoder")[0]
    assert row.frame is not None
    call = {name: array[np.newaxis] for name, array in row.inputs.items()}
    features = {"EMBEDDING": shipped.frames[row.frame]["EMBEDDING"][np.newaxis], "VIDEO": np.zeros(1, np.int32)}
    outputs = stages.call("memory_encoder", {**call, **features})
    assert compare("MEMORY", outputs["MEMORY"], [row], BARS["fp32"]).problem(BARS["fp32"]) is None
