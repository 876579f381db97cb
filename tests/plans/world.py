"""TensorRT as masklet's code meets it: mocks that have the names of the real classes and no others, and behave as a test wants."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import numpy as np
import tensorrt as trt

from masklet import contract, families

VARIANT = families.variant("nano")
MODELS = {model.name: model for model in contract.engines(VARIANT)}
DTYPES = {"FP32": trt.DataType.FLOAT, "UINT8": trt.DataType.UINT8, "INT32": trt.DataType.INT32}
REAL = {name: getattr(trt, name) for name in ("Builder", "OnnxParser", "Runtime")}


def like(cls: type) -> Any:
    """An instance of a real class without what it does: unknown names raise AttributeError, reading or writing."""
    return create_autospec(cls, instance=True, spec_set=True)


def dims(tensor: contract.Tensor, model: contract.Model, sizes: Mapping[str, int] | None = None) -> tuple[int, ...]:
    """Dimensions of an engine's tensor: -1 for free ones, or their sizes."""
    lead = ("V",) if model.batched else ()
    return tuple((sizes or {}).get(dim, -1) if isinstance(dim, str) else dim for dim in (*lead, *contract.resolve(tensor.dims, VARIANT)))


@dataclass
class ParserProblem:
    """What a parser says of a node."""

    node: int = 3
    name: str = "/attention/NonZero"
    operator: str = "NonZero"
    text: str = "not today"


@dataclass
class World:
    """The three classes that masklet makes objects of, in `tensorrt` itself; what they made is kept for the test to look at.

    parser_problems   what the parser says; nothing: it reads the file
    builds            what the builder does before it gives a plan, by the count of builds; False: it gives none
    takes_timings     whether a timing cache that is not empty fits
    runs              whether execution contexts agree to run
    loads             whether a plan can be loaded
    tags              whether the inspector says which profile a kernel belongs to
    """

    parser_problems: list[ParserProblem] = field(default_factory=list)
    builds: Callable[[int, Any], bool] = lambda count, config: True
    takes_timings: bool = True
    runs: bool = True
    loads: bool = True
    tags: bool = True
    built: list[str] = field(default_factory=list)
    configs: list[Any] = field(default_factory=list)
    builders: list[Any] = field(default_factory=list)
    profiles: list[Any] = field(default_factory=list)
    contexts: dict[str, Any] = field(default_factory=dict)
    timings: list[bytes] = field(default_factory=list)

    def install(self, monkeypatch: Any) -> None:
        """Puts it in the place of TensorRT."""
        monkeypatch.setattr(trt, "Builder", self._builder)
        monkeypatch.setattr(trt, "OnnxParser", self._parser)
        monkeypatch.setattr(trt, "Runtime", self._runtime)

    def _builder(self, logger: trt.ILogger) -> Any:
        assert isinstance(logger, trt.ILogger)
        self.builders.append(builder := like(REAL["Builder"]))
        builder.create_network.side_effect = lambda flags: like(trt.INetworkDefinition)
        builder.create_optimization_profile.side_effect = self._profile
        builder.create_builder_config.side_effect = self._config
        builder.build_serialized_network.side_effect = lambda network, config: self._build(network, config, logger)
        return builder

    def _profile(self) -> Any:
        self.profiles.append(like(trt.IOptimizationProfile))
        return self.profiles[-1]

    def _config(self) -> Any:
        self.configs.append(config := like(trt.IBuilderConfig))
        indices = iter(range(100))
        config.add_optimization_profile.side_effect = lambda profile: next(indices)
        config.create_timing_cache.side_effect = self._timing_cache
        config.set_timing_cache.side_effect = lambda cache, ignore_mismatch: self.takes_timings or not self.timings[-1]
        config.get_timing_cache.return_value.serialize.side_effect = lambda: f"timings of {len(self.built)}".encode()
        return config

    def _timing_cache(self, serialized: bytes) -> Any:
        self.timings.append(serialized)
        return like(trt.ITimingCache)

    def _parser(self, network: Any, logger: trt.ILogger) -> Any:
        assert isinstance(logger, trt.ILogger)
        parser = like(REAL["OnnxParser"])
        parser.num_errors = len(self.parser_problems)
        parser.get_error.side_effect = lambda index: self._parser_error(self.parser_problems[index])
        parser.parse_from_file.side_effect = lambda model: self._parse(network, Path(model))
        return parser

    def _parser_error(self, problem: ParserProblem) -> Any:
        error = like(trt.ParserError)
        error.node.return_value, error.node_name.return_value = problem.node, problem.name
        error.node_operator.return_value, error.desc.return_value = problem.operator, problem.text
        error.code.return_value = trt.ErrorCode.UNSUPPORTED_NODE
        return error

    def _parse(self, network: Any, path: Path) -> bool:
        assert path.is_file()
        if self.parser_problems:
            return False
        network.name = path.stem
        network.num_layers = 3
        network.get_layer.side_effect = [self._layer(kind) for kind in (trt.LayerType.SOFTMAX, trt.LayerType.CAST, trt.LayerType.SOFTMAX)].__getitem__
        model = MODELS[path.stem]
        for tensors, count, get in ((model.inputs, "num_inputs", network.get_input), (model.outputs, "num_outputs", network.get_output)):
            setattr(network, count, len(tensors))
            made = [self._tensor(tensor, model) for tensor in tensors]
            get.side_effect = made.__getitem__
        return True

    def _layer(self, kind: trt.LayerType) -> Any:
        layer = like(trt.ILayer)
        layer.type = kind
        return layer

    def _tensor(self, tensor: contract.Tensor, model: contract.Model) -> Any:
        made = like(trt.ITensor)
        made.name = tensor.name
        made.dtype, made.shape = DTYPES[tensor.dtype], trt.Dims(dims(tensor, model))
        return made

    def _build(self, network: Any, config: Any, logger: trt.ILogger) -> bytes | None:
        """A plan: the name of its engine. On the way it says what TensorRT says."""
        logger.log(trt.ILogger.Severity.VERBOSE, "a tactic was tried")
        logger.log(trt.ILogger.Severity.WARNING, "be careful")
        logger.log(trt.ILogger.Severity.WARNING, "be careful")
        self.built.append(network.name)
        if not self.builds(len(self.built), config):
            logger.log(trt.ILogger.Severity.ERROR, "no tactic for this node")
            return None
        return str(network.name).encode()

    def _runtime(self, logger: trt.ILogger) -> Any:
        assert isinstance(logger, trt.ILogger)
        runtime = like(REAL["Runtime"])
        runtime.deserialize_cuda_engine.side_effect = lambda plan: self._engine(MODELS[bytes(plan).decode()]) if self.loads else None
        return runtime

    def _engine(self, model: contract.Model) -> Any:
        engine = like(trt.ICudaEngine)
        engine.get_device_memory_size_for_profile_v2.side_effect = lambda index: (index + 1) << 20
        engine.create_engine_inspector.side_effect = self._inspector
        engine.create_execution_context.side_effect = lambda: self._context(model)
        return engine

    def _inspector(self) -> Any:
        inspector = like(trt.EngineInspector)
        profiles = self.configs[-1].add_optimization_profile.call_count
        inspector.get_engine_information.side_effect = lambda form: layers(profiles, self.tags) if form == trt.LayerInformationFormat.JSON else "text"
        return inspector

    def _context(self, model: contract.Model) -> Any:
        """Runs `computed` over the memory that addresses point to."""
        self.contexts[model.name] = context = like(trt.IExecutionContext)
        shapes: dict[str, tuple[int, ...]] = {}
        addresses: dict[str, int] = {}

        def shape_of(name: str) -> trt.Dims:
            return trt.Dims(next(dims(tensor, model, sizes_of(model, shapes)) for tensor in model.outputs if tensor.name == name))

        def execute(stream_handle: int) -> bool:
            assert stream_handle
            inputs = {tensor.name: memory(addresses[tensor.name], shapes[tensor.name], tensor.numpy_dtype) for tensor in model.inputs}
            for tensor in model.outputs:
                shape = tuple(shape_of(tensor.name))
                memory(addresses[tensor.name], shape, tensor.numpy_dtype)[...] = computed(inputs, tensor.name, shape)
            return self.runs

        def set_shape(name: str, shape: tuple[int, ...]) -> bool:
            shapes[name] = tuple(shape)
            return True

        def set_address(name: str, memory: int) -> bool:
            addresses[name] = memory
            return True

        context.set_optimization_profile_async.side_effect = lambda profile_index, stream_handle: bool(stream_handle)
        context.set_input_shape.side_effect = set_shape
        context.set_tensor_address.side_effect = set_address
        context.get_tensor_shape.side_effect = shape_of
        context.execute_async_v3.side_effect = execute
        return context


def layers(profiles: int, tagged: bool) -> str:
    """What an inspector says: in each profile one fused attention, one that is not fused, and a cast; the first profile has no tag."""
    tags = ["", *(f" [profile {index}]" * tagged for index in range(1, profiles))]
    kernels = (("_gemm_mha_v2", "kgen"), ("__myl_MaxrSubExpSumDiv", "kgen"), ("/Cast", "Cast"), ("__mye1", "signal"))
    return json.dumps(
        {
            "Layers": [
                {"Name": f"{name}_myl{index}_0", "LayerType": kind, "Inputs": [{"Name": f"x{tag}"}]}
                for index, tag in enumerate(tags)
                for name, kind in kernels
            ]
        }
    )


def memory(address: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """An array over memory of the stand-in for a GPU, which is the host's."""
    count = int(np.prod(shape)) * dtype.itemsize
    return np.frombuffer((ctypes.c_uint8 * count).from_address(address), dtype).reshape(shape)


def sizes_of(model: contract.Model, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """Sizes of the free symbols in input shapes."""
    sizes = {}
    for tensor in model.inputs:
        lead = ("V",) if model.batched else ()
        for dim, size in zip((*lead, *contract.resolve(tensor.dims, VARIANT)), shapes[tensor.name], strict=True):
            if isinstance(dim, str):
                sizes[dim] = size
    return sizes


def computed(inputs: Mapping[str, np.ndarray], output: str, shape: tuple[int, ...]) -> np.ndarray:
    """What an engine gives here: it depends on every input, on the output and on the row."""
    base = sum(place * float(array.astype(np.float64).sum()) for place, array in enumerate(inputs.values(), 1)) % 1000 + len(output)
    rows = base + np.arange(shape[0], dtype=np.float64)
    return np.broadcast_to(rows.reshape(-1, *[1] * (len(shape) - 1)), shape)
