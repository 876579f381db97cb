"""Engines in the process of memory_bank: the shell of the bank with real ones, as small as can be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from masklet.families import NANO
from masklet_bank.stages import EngineError
from tests.embedded.tiny_engines import attention_engine
from tests.fakes import loading

RUNTIMES = ("openvino", "onnxruntime", pytest.param("torch", marks=pytest.mark.torch))
ENGINES = {"mask_prompt": 3, "memory_attention": 1, "mask_decoder": 100, "memory_encoder": 7}  # and what each adds


@pytest.fixture
def utils() -> Iterator[ModuleType]:
    with loading.backend_utils() as utils:
        yield utils


@pytest.fixture(params=RUNTIMES)
def stages(utils: ModuleType, tmp_path: Path, request: pytest.FixtureRequest) -> Any:
    for name, added in ENGINES.items():
        attention_engine(tmp_path / name, added, request.param)
    module = loading.load(loading.MODELS / "memory_bank" / "1" / "model.py")
    made = module.EmbeddedStages(NANO, tmp_path, {"runtime": request.param, "precision": "fp32", "threads": "1", "device": "cpu"})
    assert utils.Logger.lines == [("INFO", f"engines of memory_bank: {request.param} on cpu")]
    utils.Logger.lines.clear()
    return made


def test_every_engine_is_called_by_the_name_of_its_file(stages: Any) -> None:
    memory = np.zeros((2, 1, 2, 3), np.float32)
    for engine, added in ENGINES.items():
        out = stages.call(engine, {"MEMORY": memory})
        np.testing.assert_array_equal(out["CONDITIONED"], memory + added)


def test_a_call_of_another_size_is_no_matter(stages: Any) -> None:
    for shape in ((1, 2, 2, 3), (3, 1, 2, 3), (1, 2, 2, 3)):
        out = stages.call("memory_attention", {"MEMORY": np.ones(shape, np.float32)})
        np.testing.assert_array_equal(out["CONDITIONED"], np.full(shape, 2, np.float32))


def test_a_failure_is_the_error_that_the_bank_expects_and_the_engine_goes_on(stages: Any, utils: ModuleType) -> None:
    with pytest.raises(EngineError, match="memory_attention failed: "):
        stages.call("memory_attention", {"MEMORY": np.zeros((1, 1, 9, 9), np.float32)})
    assert [level for level, _ in utils.Logger.lines] == ["ERROR"]
    out = stages.call("memory_attention", {"MEMORY": np.zeros((1, 1, 2, 3), np.float32)})
    np.testing.assert_array_equal(out["CONDITIONED"], np.ones((1, 1, 2, 3), np.float32))
