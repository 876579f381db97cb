"""TensorRT for RTX as masklet's code meets it, on a machine without a GPU.

The real classes' names and arguments (strict.py), ONNX Runtime to compute, and the host's memory for the GPU's (device_module.py)."""

from __future__ import annotations

import ctypes
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import tensorrt_rtx_bindings as trt

from masklet_build.embedded import gpu, rtx_engine, rtx_machine
from masklet_build.embedded.shapes import Inputs, nearest
from tests.fakes.device_module import Module
from tests.fakes.strict import strict

if TYPE_CHECKING:
    from masklet_build.export.profiles import Limits

Valid, Why = trt.EngineValidity, trt.EngineInvalidityDiagnostics
DTYPES = {"tensor(float)": trt.DataType.FLOAT, "tensor(uint8)": trt.DataType.UINT8, "tensor(int32)": trt.DataType.INT32}
HEADER = 64


@dataclass
class World:
    """What the runner meets, to be changed by a test; and what it did, to be looked at.

    validity        of every engine, and why
    loads, runs     whether engines are loaded, whether contexts are made and agree to run
    takes_kernels   whether a cache of kernels is of this machine
    says            error that the logger gets before something is refused; empty: none
    on_cupy         whether memory and queue are cupy's
    cupy            the fake module
    calls           engine -> (profile, input shapes), of each run
    kernels         engine -> what is compiled: names of kernels, of the shapes that ran and of the general ones
    """

    tables: Mapping[str, Sequence[Inputs]]
    onnx: Path
    validity: tuple[Any, int] = (Valid.VALID, 0)
    loads: bool = True
    starts: bool = True
    runs: bool = True
    takes_kernels: bool = True
    says: str = "something was wrong"
    on_cupy: bool = True
    cupy: Module = field(default_factory=Module)
    calls: dict[str, list[tuple[int, dict[str, tuple[int, ...]]]]] = field(default_factory=dict)
    kernels: dict[str, list[str]] = field(default_factory=dict)
    configs: dict[str, Any] = field(default_factory=dict)
    contexts: dict[str, Any] = field(default_factory=dict)
    compiled: list[str] = field(default_factory=list)

    def install(self, monkeypatch: Any, driver: Path) -> None:
        """In the place of cupy, of TensorRT for RTX, and of the driver; `driver`: a library that stands in for it (tests/plans/libcuda.c)."""
        monkeypatch.setitem(sys.modules, "cupy", self.cupy)
        monkeypatch.delitem(sys.modules, "masklet_build.embedded.rtx_runner", raising=False)
        monkeypatch.setattr(gpu, "LIBRARY", str(driver))
        monkeypatch.setattr(rtx_machine, "version", lambda package: trt.__version__)
        monkeypatch.setattr(trt, "Runtime", self._runtime)
        rtx_engine._runtime.cache_clear()
        monkeypatch.setattr(rtx_engine, "_runtime", rtx_engine._runtime.__wrapped__)

    def _runtime(self, logger: Any) -> Any:
        assert isinstance(logger, trt.ILogger)
        self._log = logger
        made = strict(trt, RUNTIME, get_engine_validity=self._validity, deserialize_cuda_engine=self._deserialize)
        made.engine_header_size = HEADER
        return made

    def check_queue(self, stream_handle: int) -> None:
        """Work goes where the inputs' copies went before it, and never to the default queue."""
        assert stream_handle != 0
        assert stream_handle == self.cupy.cuda.current.ptr or not self.on_cupy

    def _refuse(self) -> None:
        if self.says:
            self._log.log(trt.ILogger.Severity.ERROR, self.says)

    def _validity(self, header: bytes) -> tuple[Any, int]:
        assert len(header) == HEADER
        return self.validity

    def _deserialize(self, plan: bytes) -> Any:
        if not self.loads:
            return self._refuse()
        return self._engine(plan[HEADER:].decode())

    def _engine(self, name: str) -> Any:
        session = onnxruntime.InferenceSession(str(self.onnx / f"{name}.onnx"), providers=["CPUExecutionProvider"])
        tensors = {one.name: one for one in (*session.get_inputs(), *session.get_outputs())}
        inputs = {one.name for one in session.get_inputs()}
        table = self.tables[name]
        made = strict(
            trt,
            trt.ICudaEngine,
            get_tensor_name=lambda index: list(tensors)[index],
            get_tensor_dtype=lambda tensor: DTYPES[tensors[tensor].type],
            get_tensor_mode=lambda tensor: trt.TensorIOMode.INPUT if tensor in inputs else trt.TensorIOMode.OUTPUT,
            get_tensor_profile_shape=lambda tensor, index: [trt.Dims(shape) for shape in table[index][tensor]],
            create_runtime_config=lambda: self._config(name),
            create_execution_context=lambda config: self._context(name, config, session, table),
        )
        made.num_io_tensors, made.num_optimization_profiles = len(tensors), len(table)
        return made

    def _config(self, name: str) -> Any:
        self.kernels[name] = []
        made = strict(
            trt,
            trt.IRuntimeConfig,
            create_runtime_cache=lambda: self._cache(name),
            set_runtime_cache=lambda cache: cache is self._caches[name],
            set_execution_context_allocation_strategy=lambda strategy: None,
        )
        self.configs[name] = made
        return made

    _caches: dict[str, Any] = field(default_factory=dict)

    def _cache(self, name: str) -> Any:
        def take(blob: bytes) -> bool:
            if self.takes_kernels:
                self.kernels[name] += json.loads(blob)
            return self.takes_kernels

        self._caches[name] = strict(trt, trt.IRuntimeCache, deserialize=take, serialize=lambda: json.dumps(self.kernels[name]).encode())
        return self._caches[name]

    def _compile(self, name: str, kernel: str) -> None:
        if kernel not in self.kernels[name]:
            self.kernels[name].append(kernel)
            self.compiled.append(f"{name} {kernel}")

    def _context(self, name: str, config: Any, session: Any, table: Sequence[Inputs]) -> Any:
        """Runs the graph over the memory that addresses point to."""
        assert config is self.configs[name]
        if not self.starts:
            return self._refuse()
        assert self.cupy.cuda.device is not None or not self.on_cupy, "a CUDA context must be current"
        self._compile(name, "general")
        run = _Run(self, name, session, table)
        self.contexts[name] = strict(
            trt,
            trt.IExecutionContext,
            set_optimization_profile_async=run.set_profile,
            set_input_shape=run.set_shape,
            set_tensor_address=run.set_address,
            get_tensor_shape=run.shape_of,
            execute_async_v3=run.execute,
        )
        return self.contexts[name]


RUNTIME = trt.Runtime


class _Run:
    def __init__(self, world: World, name: str, session: Any, table: Sequence[Inputs]) -> None:
        self._world, self._name, self._session, self._table = world, name, session, table
        self._inputs = {one.name: np.dtype(trt.nptype(DTYPES[one.type])) for one in session.get_inputs()}
        self._profile, self._shapes, self._addresses = 0, dict[str, tuple[int, ...]](), dict[str, int]()

    def set_profile(self, profile_index: int, stream_handle: int) -> bool:
        self._world.check_queue(stream_handle)
        self._profile = profile_index
        return True

    def set_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._shapes[name] = shape
        return name in self._inputs

    def set_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return True

    def shape_of(self, name: str) -> trt.Dims:
        """By symbols of the graph's dimensions, as the real one infers it."""
        sizes = {}
        for one in self._session.get_inputs():
            sizes.update({dim: size for dim, size in zip(one.shape, self._shapes[one.name], strict=True) if isinstance(dim, str)})
        (output,) = [one for one in self._session.get_outputs() if one.name == name]
        return trt.Dims(tuple(sizes.get(dim, dim) for dim in output.shape))

    def execute(self, stream_handle: int) -> bool:
        world = self._world
        world.check_queue(stream_handle)
        if not world.runs:
            world._refuse()
            return False
        assert nearest(self._table, self._shapes) == self._profile
        given = {name: _memory(self._addresses[name], self._shapes[name], dtype).copy() for name, dtype in self._inputs.items()}
        names = [one.name for one in self._session.get_outputs()]
        for name, array in zip(names, self._session.run(names, given), strict=True):
            assert tuple(self.shape_of(name)) == array.shape
            _memory(self._addresses[name], array.shape, array.dtype)[...] = array
        world.calls.setdefault(self._name, []).append((self._profile, dict(self._shapes)))
        world._compile(self._name, str(sorted(self._shapes.items())))
        return True


def _memory(address: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    count = int(np.prod(shape)) * dtype.itemsize
    return np.frombuffer((ctypes.c_uint8 * count).from_address(address), dtype).reshape(shape)


def plans_of_nano(folder: Path, limits: Limits) -> Path:
    """A folder as `masklet-build engine nano --rtx` leaves it, with plans that this world takes."""
    from masklet.contract import CONTRACT_VERSION, engines
    from masklet.families import NANO
    from masklet_build import nano
    from masklet_build.engines.kernels import Kernels
    from masklet_build.engines.plans import Machine, Plan, Plans, Settings
    from masklet_build.export.profiles import profiles
    from masklet_build.manifest import Manifest, file_sha256

    folder.mkdir()
    made, tables = {}, profiles(NANO, limits, wide=True)
    for model in engines(NANO):
        file, table = folder / f"{model.name}.plan", tables[model.name]
        file.write_bytes(b"h" * HEADER + model.name.encode())
        made[model.name] = Plan(file_sha256(file), {}, table, 1.0, (1,) * len(table), 0, (Kernels(1, 0, 0, 0, 0),) * len(table), ())
    machine = Machine("tensorrt-rtx", trt.__version__, "", ("8.6", "8.9"), "")
    rest = ("fp32", "fp32", limits, Settings(), machine, made, "2026-01-01T00:00:00+00:00")
    Plans("nano", Manifest.read(nano.ENGINES).checkpoint, CONTRACT_VERSION, *rest).write(folder)
    return folder
