"""The plans, run by TensorRT's own Python runtime: for checks on a GPU, without a server."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from masklet import contract
from masklet_build.engines.compilers import compiler_of
from masklet_build.engines.device import Device
from masklet_build.engines.network import sizes
from masklet_build.engines.plans import TENSORRT, Plan, Plans
from masklet_build.export.profiles import choose
from masklet_build.models import variants


class RunError(Exception):
    """TensorRT did not load or run an engine."""


class PlanStages:
    """Calls an engine by name with numpy arrays, as `masklet_bank.stages.Stages` does; image_encoder, too, with V in front.

    Everything runs on the first visible GPU, in the thread that made this. Inputs are copied there and outputs back with each call.
    """

    def __init__(self, folder: Path) -> None:
        """Engines are loaded when they are first called. Raises PlansError for plans of something else, DeviceError, BuildError without TensorRT."""
        compiler = compiler_of(TENSORRT)
        trt = compiler.trt
        self.plans = Plans.read(folder)
        self.plans.check(folder, compiler.machine())
        self._folder = folder
        self._models = {model.name: model for model in contract.engines(variants.variant(self.plans.variant))}
        self._device = Device()
        self._device.use()
        self._runtime = trt.Runtime(trt.Logger(trt.Logger.Severity.WARNING))
        self._engines: dict[str, _Engine] = {}

    def call(self, engine: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name of one call, arrays of their own. Raises NoProfile for shapes that the plans do not have, RunError and DeviceError."""
        return self._loaded(engine).call(inputs)

    def _loaded(self, name: str) -> _Engine:
        if name not in self._engines:
            engine = self._runtime.deserialize_cuda_engine((self._folder / f"{name}.plan").read_bytes())
            if engine is None:
                raise RunError(f"TensorRT cannot load {self._folder / name}.plan; it says why above.")
            self._engines[name] = _Engine(engine, self._models[name], self.plans.engines[name], self._device)
        return self._engines[name]


class _Engine:
    """One engine, its execution context, its queue, and memory on the GPU for its tensors, which grows as calls need."""

    def __init__(self, engine: Any, model: contract.Model, plan: Plan, device: Device) -> None:
        self._engine = engine
        self._model = model
        self._table = plan.profiles
        self._device = device
        self._context = engine.create_execution_context()
        if self._context is None:
            raise RunError(f"{model.name}: TensorRT has no memory for it; {max(plan.memory, default=0) >> 20} MiB are needed on the GPU.")
        self._stream = device.stream()
        self._profile: int | None = None
        self._memory: dict[str, tuple[int, int]] = {}  # tensor -> address, bytes

    def call(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        outputs = self._prepare(inputs)
        self._agreed(self._context.execute_async_v3(self._stream), "run it")
        for name, array in outputs.items():
            self._device.download(self._memory[name][0], array, self._stream)
        self._device.wait(self._stream)
        return outputs

    def _prepare(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Puts inputs on the GPU and tells the context where everything lies; returns arrays for the outputs."""
        arrays = {tensor.name: np.ascontiguousarray(inputs[tensor.name]) for tensor in self._model.inputs}
        for tensor in self._model.inputs:
            if arrays[tensor.name].dtype != tensor.numpy_dtype:
                raise RunError(f"{self._model.name}: {tensor.name} is {arrays[tensor.name].dtype}, not {tensor.numpy_dtype}.")
        profile = choose(self._table, {name: array.shape for name, array in arrays.items()})
        if profile != self._profile:
            self._agreed(self._context.set_optimization_profile_async(profile, self._stream), f"take profile {self._table[profile].name!r}")
            self._profile = profile
        for name, array in arrays.items():
            self._agreed(self._context.set_input_shape(name, array.shape), f"take {name} {array.shape}")
            self._place(name, array.nbytes)
            self._device.upload(array, self._memory[name][0], self._stream)
        outputs = {}
        for tensor in self._model.outputs:
            shape = sizes(self._context.get_tensor_shape(tensor.name))
            outputs[tensor.name] = np.empty(shape, tensor.numpy_dtype)
            self._place(tensor.name, outputs[tensor.name].nbytes)
        self._device.wait(self._stream)  # the inputs' copies here may vanish now
        return outputs

    def _place(self, name: str, nbytes: int) -> None:
        address, size = self._memory.get(name, (0, 0))
        if nbytes > size:
            if address:
                self._device.free(address)
            address, size = self._device.allocate(nbytes), nbytes
            self._memory[name] = address, size
        self._agreed(self._context.set_tensor_address(name, address), f"take an address for {name}")

    def _agreed(self, done: bool, what: str) -> None:
        if not done:
            raise RunError(f"{self._model.name}: TensorRT does not {what}; it says why above.")
