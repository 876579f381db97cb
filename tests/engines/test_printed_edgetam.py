"""The stages of EdgeTAM give the numbers that the official modules printed for the same weights and inputs (tests/data/edgetam_stages)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from masklet.contract import KIND_TRACKED
from masklet_build.models.network import parameter_shapes
from masklet_build.models.stages import TorchStages
from masklet_build.models.variants import variant
from tests.reference import drawn

pytestmark = pytest.mark.torch

((NAME, PRINTED),) = json.loads((Path(__file__).parents[1] / "data" / "edgetam_stages" / "printed.json").read_text()).items()


@pytest.fixture(scope="module")
def stages() -> TorchStages:
    weights = drawn.weights(parameter_shapes(variant(NAME)))
    return TorchStages({name: torch.from_numpy(value) for name, value in weights.items()}, variant(NAME))


@pytest.fixture(scope="module")
def tensors() -> dict[str, np.ndarray]:
    """What the stages get, for one object of one video."""
    size = variant(NAME)
    given = {name: array[None] for name, array in drawn.inputs(size.grid, size.stride, size.memory_tokens).items()}
    given["FEATURES"], given["MASK_PROMPT"] = given["EMBEDDING"], given["LOW"][None]
    given["POINTS"] = np.pad(given["POINTS"], ((0, 0), (0, 1), (0, 0)))
    given["LABELS"] = np.pad(given["LABELS"], ((0, 0), (0, 1)), constant_values=-1)
    numbers = {"KIND": KIND_TRACKED, "VIDEO": 0, "HAS_MASK": 1, "PRESENT": 1}
    return {**given, **{name: np.int32([value]) for name, value in numbers.items()}}


def check(stages: TorchStages, engine: str, tensors: dict[str, np.ndarray], suffix: str = "") -> None:
    """Every number is within a ten-thousandth of its tensor's deviation, as engines must be."""
    got = stages.call(engine, {tensor.name: tensors[tensor.name] for tensor in stages.models[engine].inputs})
    for name, values in got.items():
        printed = PRINTED.get(f"{name}{suffix}", PRINTED.get(name))
        if name != "IOU":  # the official decoder gives all four
            bar = max(1e-4 * float(values.std()), 1e-5)
            np.testing.assert_allclose(drawn.sampled(values), printed, rtol=0, atol=bar, err_msg=name)


@pytest.mark.parametrize("engine", ["image_encoder", "memory_attention"])
def test_an_engine_gives_the_official_numbers(stages, tensors, engine):
    check(stages, engine, tensors)


@pytest.mark.parametrize(("several", "suffix"), [(0, " single"), (1, " best")])
def test_the_mask_decoder_gives_the_official_numbers(stages, tensors, several, suffix):
    check(stages, "mask_decoder", {**tensors, "MULTIMASK": np.int32([several])}, suffix)


@pytest.mark.parametrize(("binarise", "suffix"), [(0, " tracked"), (1, " prompted")])
def test_the_memory_encoder_gives_the_official_numbers(stages, tensors, binarise, suffix):
    check(stages, "memory_encoder", {**tensors, "BINARISE": np.int32([binarise])}, suffix)
