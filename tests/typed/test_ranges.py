"""What would overflow fp16 is found on real frames, and keeps fp32."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from masklet.families import NANO
from masklet_build.export.precision.choice import Choice
from masklet_build.export.precision.film import show
from masklet_build.export.precision.plan import make_plan
from masklet_build.export.precision.ranges import SAFE, recording, vanishing
from masklet_build.export.precision.rewrite import CORE, cores, layers
from masklet_build.models.stages import TorchStages

pytestmark = pytest.mark.torch

FP16 = Choice("fp16", "fp16", "tensorrt")


def quiet(line: str) -> None:
    """Nobody listens."""


def planted(reference: TorchStages, engine: str, change) -> TorchStages:
    """The reference with something planted in a copy of one of its stages."""
    stage = copy.deepcopy(reference.stages[engine])
    change(stage)
    return reference.replaced({engine: stage})


@pytest.fixture(scope="module")
def seen(reference, film):
    with recording(reference.stages) as ranges:
        show(NANO, reference, film, quiet)
    return ranges


def test_the_film_lets_every_module_of_every_engine_run(reference, seen):
    for engine, stage in reference.stages.items():
        wanted = {name for name, _ in layers(stage)} | {name for name, _ in cores(stage)}
        assert set(seen.largest[engine]) == wanted
        for module, tensors in seen.largest[engine].items():
            through = {"queries", "keys", "values", "scores"} if module.endswith(CORE) else {"input", "output"}
            assert through <= set(tensors), (engine, module)


def test_nano_needs_no_fp32_modules(seen):
    assert seen.kept(FP16) == ()


def test_recording_changes_no_number_and_leaves_no_trace(reference, film):
    inputs = {"IMAGE": film[0][None]}
    before = reference.call("image_encoder", inputs)["EMBEDDING"]
    with recording(reference.stages):
        during = reference.call("image_encoder", inputs)["EMBEDDING"]
    after = reference.call("image_encoder", inputs)["EMBEDDING"]
    np.testing.assert_array_equal(before, during)
    np.testing.assert_array_equal(before, after)
    for stage in reference.stages.values():
        assert not [name for name, module in stage.named_modules() if {"forward", "product", "core"} & set(vars(module))]


def scaled_pair(first, second, factor: float) -> None:
    """Makes what lies between two linear layers larger, and nothing else: a ReLU stands between them."""
    for parameter in (first.weight, first.bias):
        parameter.data *= factor
    second.weight.data /= factor


def test_an_overflow_between_two_layers_is_found_and_both_keep_fp32(reference, film, seen):
    """The network computes the same in float32; in fp16 it would be infinite there."""
    name = "layers.0.linear1"
    factor = 2 * 65504 / seen.largest["memory_attention"][name]["output"]
    broken = planted(reference, "memory_attention", lambda stage: scaled_pair(stage.layers[0].linear1, stage.layers[0].linear2, factor))
    lines: list[str] = []
    plan = make_plan(broken, NANO, FP16, film, lines.append)
    assert {(kept.engine, kept.module) for kept in plan.kept} == {("memory_attention", "layers.0.linear1"), ("memory_attention", "layers.0.linear2")}
    assert all(kept.largest > 65504 and "fp16 ends at 65504" in kept.reason for kept in plan.kept)
    assert any("layers.0.linear1 keeps fp32: output up to" in line for line in lines)
    made = plan.stages(broken).stages["memory_attention"].layers[0]
    assert {made.linear1.weight.dtype, made.linear2.weight.dtype} == {torch.float32}
    assert made.self_attention.query.weight.dtype == torch.float16


def test_scores_that_overflow_are_found_and_attention_keeps_fp32(reference, film, seen):
    """Queries and keys are small enough each; their products are not."""
    module = "layers.1.cross_attention"
    known = seen.largest["memory_attention"][module + CORE]
    factor = (2 * 65504 / known["scores"]) ** 0.5
    assert factor * max(known["queries"], known["keys"]) < SAFE, "only the scores shall be too large"

    def sharpen(stage) -> None:
        for projection in (stage.layers[1].cross_attention.query, stage.layers[1].cross_attention.key):
            for parameter in projection.parameters():
                parameter.data *= factor

    plan = make_plan(planted(reference, "memory_attention", sharpen), NANO, FP16, film, quiet)
    found = {kept.module: kept.reason for kept in plan.kept if kept.engine == "memory_attention"}
    assert set(found) == {module + CORE}
    assert "scores up to" in found[module + CORE]
    assert "bf16 would have the range" in found[module + CORE]


def test_only_what_becomes_fp16_is_kept(reference, film, seen):
    wide = copy.deepcopy(seen)
    wide.largest["mask_decoder"]["pointer.layers.0"]["input"] = 1e5
    wide.largest["memory_attention"]["layers.0.cross_attention" + CORE]["values"] = 1e5
    names = {
        choice: {kept.module for kept in wide.kept(choice)} for choice in (FP16, replace(FP16, attention="bf16"), replace(FP16, precision="bf16"))
    }
    assert list(names.values()) == [
        {"pointer.layers.0", "layers.0.cross_attention.core"},
        {"pointer.layers.0"},
        {"layers.0.cross_attention.core"},
    ]


def test_a_module_that_never_ran_keeps_fp32(seen):
    partly = copy.deepcopy(seen)
    for tensor in ("input", "output"):
        del partly.largest["mask_prompt"]["downsample"][tensor]
    (kept,) = partly.kept(FP16)
    assert (kept.module, kept.largest) == ("downsample", None)
    assert "did not run" in kept.reason


def test_values_that_are_no_numbers_count_as_infinite():
    with recording({}) as ranges:
        ranges.see("engine", "module", "input", torch.tensor([1.0, float("nan")]))
        ranges.see("engine", "module", "input", torch.tensor([-3.0]))
    assert ranges.largest["engine"]["module"]["input"] == float("inf")


def test_weights_that_fp16_loses_are_counted(reference):
    assert vanishing(reference.stages) == {}

    def tiny(stage) -> None:
        stage.downsample.weight.data.flatten()[:3] = torch.tensor([0.0, 2.0**-26, 2.0**-24])

    assert vanishing(planted(reference, "mask_prompt", tiny).stages) == {"mask_prompt": {"downsample": 1}}


def test_bf16_is_not_scanned(reference):
    lines: list[str] = []
    plan = make_plan(reference, NANO, Choice("bf16", "bf16", "tensorrt"), None, lines.append)
    assert (plan.kept, plan.vanishing, lines) == ((), {}, [])
