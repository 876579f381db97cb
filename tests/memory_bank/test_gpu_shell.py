"""Triton's door to a bank on a GPU: what is large never leaves it, what leaves the bank is on the host, and masks are those of a bank on a CPU.

The GPU is a device without one (fakes/device_module.py); Triton is its utilities alone, as strict about tensors on a GPU as the real ones.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from masklet import contract
from masklet_bank.arrays import HOST, DeviceArrays
from tests.fakes import loading
from tests.fakes.bank_driver import IDENTITY, VARIANT, RecordingStages, click, mask, request
from tests.fakes.device_module import Module, ndarray
from tests.fakes.dlpack import unpacked
from tests.fakes.sealing import bank_request, opened

LIMITS = {"max_videos": 4, "max_objects": 4, "max_points": 8, "max_conditioning": 8, "max_bank_mib": 64, "idle_seconds": 60, "max_engine_batch": 8}
ENGINES = ("mask_prompt", "memory_attention", "mask_decoder", "memory_encoder")
LARGE = {"EMBEDDING", "MEMORY", "POINTERS", "FEATURES", "MASK_PROMPT", "MASK", "LOW"}
PLACES: dict[str, Callable[[Any, str, np.ndarray], Any]] = {
    "gpu": lambda utils, name, array: utils.Tensor.from_dlpack(name, ndarray(array)),
    "cpu": lambda utils, name, array: utils.Tensor(name, array),
}


@pytest.fixture
def utils():
    with loading.backend_utils() as made:
        yield made


class Bank:
    """The shell of the bank, on a GPU or not, with recording engines that answer with tensors on the GPU or not."""

    def __init__(self, utils, kind: str, outputs: str = "gpu", features: str = "gpu") -> None:
        self.utils, self.stages, self.outputs, self.features = utils, RecordingStages(), PLACES[outputs], PLACES[features]
        self.on_cpu: dict[str, set[str]] = {name: set() for name in ENGINES}
        self.given: list[weakref.ref] = []  # what the last engine gave, as long as it is there
        self.arrays = DeviceArrays(Module()) if kind == "GPU" else HOST
        for engine in ENGINES:
            utils.InferenceRequest.models[engine] = lambda asked, engine=engine: self._run(engine, asked)
        config = loading.config("memory_bank")
        for key, value in {**IDENTITY, **LIMITS, "image_size": VARIANT.image_size, "contract_version": contract.CONTRACT_VERSION}.items():
            config.parameters[key].string_value = str(value)
        module = loading.load(loading.MODELS / "memory_bank" / "1" / "model.py")
        module.on_gpu = lambda device: {3: self.arrays}[device]
        arguments = loading.arguments(config, loading.MODELS / "memory_bank")
        self.model = loading.started(module, {**arguments, "model_instance_kind": kind, "model_instance_device_id": "3"})

    def _run(self, engine: str, asked: Any) -> Any:
        assert not any(given() for given in self.given), "outputs are not held longer than until the next call"
        self.on_cpu[engine] |= {tensor.name() for tensor in asked.inputs() if tensor.is_cpu()}
        out = self.stages.call(engine, {tensor.name(): unpacked(tensor.to_dlpack()) for tensor in asked.inputs()})
        tensors = [self.outputs(self.utils, name, array) for name, array in out.items()]
        self.given = [weakref.ref(tensor) for tensor in tensors]
        return self.utils.InferenceResponse(tensors)

    def send(self, number: float | None, *prompts: dict, start: bool = False, **parameters: object) -> dict[str, np.ndarray]:
        place = {"EMBEDDING": self.features}
        made = request(1, number, prompts, start=start, **parameters)
        sent = bank_request(self.utils, made, lambda name, array: place.get(name, PLACES["cpu"])(self.utils, name, array))
        (response,) = self.model.execute([sent])
        assert not response.has_error(), response.error().message()
        return {tensor.name(): tensor.as_numpy()[0] for tensor in response.output_tensors()}

    def life(self) -> list[dict[str, np.ndarray]]:
        answers = [self.send(0, click(1, (10, 20)), mask(2), start=True), *[self.send(number) for number in range(1, 20)]]
        answers.append(self.send(19, click(1, (5, 5), append=True), refine=True))
        answers.append(self.send(None, snapshot=True))
        return answers


@pytest.mark.parametrize("features", PLACES)
@pytest.mark.parametrize("outputs", PLACES)
def test_masks_and_snapshots_are_those_of_a_bank_on_a_cpu_wherever_triton_lays_tensors(utils, outputs, features):
    expected = Bank(utils, "CPU", outputs="cpu", features="cpu").life()
    for here, there in zip(Bank(utils, "GPU", outputs, features).life(), expected, strict=True):
        for name in here.keys() - {"ENVELOPE"}:
            assert np.array_equal(here[name], there[name]), name
        assert opened(here["ENVELOPE"]).objects == opened(there["ENVELOPE"]).objects == len(here["OBJECT_IDS"])


def test_engines_get_what_is_large_on_the_gpu_and_what_describes_the_call_from_the_host(utils):
    bank = Bank(utils, "GPU")
    bank.life()
    for model in contract.engines(VARIANT):
        if model.name in ENGINES:
            assert bank.on_cpu[model.name] == {tensor.name for tensor in model.inputs} - LARGE


def test_a_bank_on_a_cpu_gives_engines_host_tensors(utils):
    bank = Bank(utils, "CPU", outputs="cpu", features="cpu")
    bank.life()
    assert all(bank.on_cpu[model.name] == {tensor.name for tensor in model.inputs} for model in contract.engines(VARIANT) if model.name in ENGINES)
    assert (bank.arrays.copied.to_device, bank.arrays.copied.to_host) == (0, 0)


def test_what_an_engine_gave_is_held_until_the_gpu_is_done_with_it(utils, monkeypatch):
    """Triton waits for the GPU when it takes an input; before that, copies of the outputs may not have begun."""
    bank, alive = Bank(utils, "GPU"), []
    take = utils.Tensor.from_dlpack

    def taken(name: str, array: ndarray) -> Any:
        alive.extend(given() is not None for given in bank.given)
        return take(name, array)

    bank.send(0, click(1, (10, 20)), start=True)
    bank.outputs = lambda utils, name, array: take(name, ndarray(array))
    monkeypatch.setattr(utils.Tensor, "from_dlpack", taken)
    bank.send(1)
    assert len(alive) > 10
    assert all(alive)


def test_what_crosses_per_frame_does_not_grow_with_what_is_remembered(utils):
    bank = Bank(utils, "GPU")
    bank.send(0, click(1, (10, 20)), start=True)
    crossed = []
    for number in range(1, 30):
        before = bank.arrays.module.to_device, bank.arrays.module.to_host
        bank.send(number)
        crossed.append((bank.arrays.module.to_device - before[0], bank.arrays.module.to_host - before[1]))
    assert set(crossed) == {(0, 4 + 4 + 1 + 4 * VARIANT.low_size**2)}
