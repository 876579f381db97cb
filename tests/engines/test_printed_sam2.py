"""The stages of SAM 2 and 2.1 give the numbers that the official modules printed for the same weights and inputs (tests/data/sam2_stages)."""

from __future__ import annotations

import json
from collections.abc import Mapping
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

PRINTED = json.loads((Path(__file__).parents[1] / "data" / "sam2_stages" / "printed.json").read_text())
WHOLE = [name for name in PRINTED if "CONDITIONED" in PRINTED[name]]


def stages_of(name: str) -> TorchStages:
    shapes = parameter_shapes(variant(name))
    return TorchStages({key: torch.from_numpy(value) for key, value in drawn.weights(shapes).items()}, variant(name))


@pytest.fixture(scope="module")
def given():
    return drawn.inputs(grid=4, stride=16)


def check(got: Mapping[str, np.ndarray], printed: Mapping[str, list[float]]) -> None:
    """Every number within a ten-thousandth of its tensor's deviation, as engines must be."""
    for name, values in got.items():
        bar = max(1e-4 * float(values.std()), 1e-5)
        np.testing.assert_allclose(drawn.sampled(values), printed[name], rtol=0, atol=bar, err_msg=name)


def call(stages: TorchStages, engine: str, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Only the inputs that the engine has."""
    return stages.call(engine, {tensor.name: tensors[tensor.name] for tensor in stages.models[engine].inputs})


@pytest.mark.parametrize("name", PRINTED)
def test_image_encoder(name, given):
    check(call(stages_of(name), "image_encoder", {"IMAGE": given["IMAGE"][None]}), PRINTED[name])


@pytest.fixture(scope="module", params=WHOLE)
def whole(request):
    return stages_of(request.param), PRINTED[request.param]


def test_memory_attention(whole, given):
    stages, printed = whole
    tensors = {name: array[None] for name, array in given.items()}
    check(call(stages, "memory_attention", {**tensors, "VIDEO": np.int32([0])}), printed)


@pytest.mark.parametrize("several", [False, True])
def test_mask_decoder(whole, given, several):
    stages, printed = whole
    tensors = {name: array[None] for name, array in given.items()}
    tensors |= {
        "FEATURES": tensors["EMBEDDING"],
        "POINTS": np.pad(tensors["POINTS"], ((0, 0), (0, 1), (0, 0))),
        "LABELS": np.pad(tensors["LABELS"], ((0, 0), (0, 1)), constant_values=-1),
        "MASK_PROMPT": tensors["LOW"][None],
    }
    numbers = {"KIND": KIND_TRACKED, "VIDEO": 0, "HAS_MASK": 1, "PRESENT": 1, "MULTIMASK": several}
    tensors |= {name: np.int32([value]) for name, value in numbers.items()}
    got = call(stages, "mask_decoder", tensors)
    name = "best" if several else "single"
    check({"SCORE": got["SCORE"], f"LOW {name}": got["LOW"], f"POINTER {name}": got["POINTER"]}, printed)


@pytest.mark.parametrize(("name", "score", "binarise"), [("present", 1.0, 0), ("absent", 0.0, 0), ("prompted", 1.0, 1)])
def test_memory_encoder(whole, given, name, score, binarise):
    stages, printed = whole
    tensors = {key: array[None] for key, array in given.items()}
    tensors |= {"VIDEO": np.int32([0]), "SCORE": np.float32([score]), "BINARISE": np.int32([binarise])}
    check({f"MEMORY {name}": call(stages, "memory_encoder", tensors)["MEMORY"]}, printed)
