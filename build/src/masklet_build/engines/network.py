"""From an ONNX file to a compiler's network that is checked against the contract."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from masklet.contract import Model, Tensor, resolve
from masklet.families import Variant
from masklet_build.engines.compilers import Compiler
from masklet_build.engines.plans import RTX, BuildError

_DTYPES = {"FP32": "FLOAT", "UINT8": "UINT8", "INT32": "INT32"}  # contract -> DataType


def parse(compiler: Compiler, builder: Any, logger: Any, path: Path, model: Model, variant: Variant) -> tuple[Any, Any]:
    """The network of an ONNX file, its types as the file says. The parser, too, holds the weights: keep it until the engine is built.

    Raises BuildError that names each node which the compiler cannot take, or the tensors that are not those of `masklet.contract`.
    """
    trt = compiler.trt
    # Types are the graph's own. TensorRT 11 has no other networks; in 10 this flag asks for it, and its number is another.
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(path)):  # from the file, not from bytes: weights may lie in a second one beside it
        raise BuildError(_refusal(compiler, parser, path))
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    outputs = [network.get_output(index) for index in range(network.num_outputs)]
    problems = [*_differences(inputs, model.inputs, model, variant), *_differences(outputs, model.outputs, model, variant)]
    if problems:
        raise BuildError(f"{path} is not the {model.name} of masklet.contract: {'; '.join(problems)}. Export again: masklet-build export --help")
    return network, parser


def _refusal(compiler: Compiler, parser: Any, path: Path) -> str:
    told = []
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        node = f"node {error.node_name() or error.node()} ({error.node_operator() or 'no operator'})" if error.node() >= 0 else "the model"
        code = str(error.code()).removeprefix("ErrorCode.")  # in 10.13 its `name` is not that of the enumerator
        told.append(f"{node}: {' '.join(reasons(compiler, error.desc().splitlines()))} [{code}]")
    return (
        f"{compiler.title} {compiler.trt.__version__} cannot read {path}:\n  " + "\n  ".join(told or ["it gives no reason; its log does"]) + "\n"
        "Export for TensorRT: masklet-build export --help. Where that was done, report this with the lines above."
    )


def reasons(compiler: Compiler, lines: Iterable[str]) -> list[str]:
    """Without what TensorRT for RTX says behind every error where it finds no GPU, and needs none: that there is no driver (35), an old one (36)."""
    lines = list(lines)
    return [line for line in lines if compiler.name != RTX or "(cudaError " not in line] or lines


def _differences(found: Sequence[Any], wanted: Sequence[Tensor], model: Model, variant: Variant) -> list[str]:
    """What differs between a network's tensors and the contract's. A compiler may leave a size of an output open that the contract knows."""
    names = [tensor.name for tensor in found]
    if names != [tensor.name for tensor in wanted]:
        return [f"it has {', '.join(names) or 'nothing'} instead of {', '.join(tensor.name for tensor in wanted)}"]
    problems = []
    for tensor, spec in zip(found, wanted, strict=True):
        if tensor.dtype.name != _DTYPES[spec.dtype]:
            problems.append(f"{spec.name} is {tensor.dtype.name}, not {_DTYPES[spec.dtype]}")
        shape = sizes(tensor.shape)
        dims = [-1 if isinstance(dim, str) else dim for dim in (*(("V",) if model.batched else ()), *resolve(spec.dims, variant))]
        if len(shape) != len(dims) or any(size not in (dim, -1) for size, dim in zip(shape, dims, strict=True)):
            problems.append(f"{spec.name} is {list(shape)}, not {dims}")
    return problems


def sizes(dims: Any) -> tuple[int, ...]:
    """Dimensions as numbers; -1 for those that differ from call to call."""
    return tuple(dims[axis] for axis in range(len(dims)))


def count_softmax(trt: Any, network: Any) -> int:
    """Softmax nodes: one for each attention."""
    return sum(network.get_layer(index).type == trt.LayerType.SOFTMAX for index in range(network.num_layers))
