"""The plans, run by the Python runtime of TensorRT, or of TensorRT for RTX: for checks on a GPU, without a server."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from masklet import contract
from masklet_build.embedded.rtx_machine import Built, fitting
from masklet_build.engines.compilers import compiler_of
from masklet_build.engines.device import Device, DeviceError
from masklet_build.engines.network import sizes
from masklet_build.engines.plans import RTX, TENSORRT, Machine, Plan, Plans
from masklet_build.export.profiles import choose
from masklet_build.models import variants


class RunError(Exception):
    """TensorRT did not load or run an engine."""


Load = Callable[[str], tuple[Any, Any]]  # name of an engine -> it, and its execution context


class PlanStages:
    """Calls an engine by name with numpy arrays, as `masklet_bank.stages.Stages` does; image_encoder, too, with V in front.

    Everything runs on the first visible GPU, in the thread that made this. Inputs are copied there and outputs back with each call.

    machine   what runs them: this GPU, and the version of TensorRT or TensorRT for RTX
    """

    def __init__(self, folder: Path, *, general: bool = False) -> None:
        """Engines are loaded when they are first called.

        general   TensorRT for RTX compiles kernels that take all sizes, and kernels for the sizes of a call; a server runs both. Whether the former
                  run here, or the latter
        Raises PlansError for plans of something else, DeviceError, BuildError without TensorRT.
        """
        self.plans = Plans.read(folder)
        rtx = self.plans.machine.compiler == RTX
        self.machine = _rtx_machine(self.plans) if rtx else compiler_of(TENSORRT).machine()
        self.plans.check(folder, self.machine)
        self._load = _rtx(folder, general) if rtx else _tensorrt(self.plans, folder)
        self._models = {model.name: model for model in contract.engines(variants.variant(self.plans.variant))}
        self._device = Device()
        self._device.use()
        self._engines: dict[str, _Engine] = {}

    def call(self, engine: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name of one call, arrays of their own. Raises NoProfile for shapes that the plans do not have, RunError and DeviceError."""
        return self._loaded(engine).call(inputs)

    def _loaded(self, name: str) -> _Engine:
        if name not in self._engines:
            engine, context = self._load(name)
            self._engines[name] = _Engine(engine, context, self._models[name], self.plans.engines[name], self._device)
        return self._engines[name]


def _tensorrt(plans: Plans, folder: Path) -> Load:
    trt = compiler_of(TENSORRT).trt

    def load(name: str) -> tuple[Any, Any]:
        engine = runtime().deserialize_cuda_engine((folder / f"{name}.plan").read_bytes())
        if engine is None:
            raise RunError(f"TensorRT cannot load {folder / name}.plan; it says why above.")
        context = engine.create_execution_context()
        if context is None:
            memory = max(plans.engines[name].memory, default=0) >> 20
            raise RunError(f"{name}: TensorRT has no memory for it; {memory} MiB are needed on the GPU.")
        return engine, context

    runtime = cache(lambda: trt.Runtime(trt.Logger(trt.Logger.Severity.WARNING)))  # once the GPU is this thread's
    return load


def _rtx_machine(plans: Plans) -> Machine:
    """What is here, once it is known to run such plans. Raises DeviceError, and BuildError without TensorRT for RTX."""
    try:
        gpu = fitting(Built(plans.machine.version, plans.machine.targets), 0)
    except ValueError as error:
        raise DeviceError(str(error)) from error
    return Machine(RTX, compiler_of(RTX).trt.__version__, gpu.name, (gpu.compute_capability,), gpu.driver)


def _rtx(folder: Path, general: bool) -> Load:
    """As the server's runner loads them."""
    from masklet_build.embedded import rtx_engine

    def load(name: str) -> tuple[Any, Any]:
        try:
            engine = rtx_engine.load(folder / f"{name}.plan")
            kernels = rtx_engine.Specialised.NEVER if general else rtx_engine.Specialised.FIRST
            return engine, rtx_engine.ready(engine, name, kernels).context
        except rtx_engine.RtxError as error:
            raise RunError(str(error)) from error

    return load


class _Engine:
    """One engine, its execution context, its queue, and memory on the GPU for its tensors, which grows as calls need."""

    def __init__(self, engine: Any, context: Any, model: contract.Model, plan: Plan, device: Device) -> None:
        self._engine = engine  # lives as long as its context
        self._context = context
        self._model = model
        self._table = plan.profiles
        self._device = device
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
