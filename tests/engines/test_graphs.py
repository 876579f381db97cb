"""The exported graphs: names and dimensions of the contract, operators that every runtime knows, and the numbers of PyTorch."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest

from masklet.contract import engines, resolve
from masklet.families import VARIANTS, Variant
from masklet_build.embedded.runners import openvino_core
from masklet_build.export.bars import worst_excess
from masklet_build.export.onnx_export import OPSET
from masklet_build.models.samples import Sizes, sample_inputs
from masklet_build.models.trunks import Hiera, RepViT, Sam3Vit, Trunk
from masklet_build.models.variants import trunk_of

pytestmark = pytest.mark.torch

ENGINES = ("image_encoder", "mask_prompt", "memory_attention", "mask_decoder", "memory_encoder")
SIZES = (Sizes(), Sizes(V=2, B=4, F=2, P=3, N=3, R=2), Sizes(V=2, B=3, F=7, P=16, N=5), Sizes(V=1, B=2, F=1, P=2, N=2))

# Operators that ONNX Runtime, OpenVINO and TensorRT all run on the device: no branches, loops, data-dependent shapes or scatters.
OPERATORS = {
    "Add",
    "And",
    "ArgMax",
    "Cast",
    "Clip",
    "Concat",
    "ConstantOfShape",
    "Conv",
    "ConvTranspose",
    "Cos",
    "Div",
    "Equal",
    "Erf",
    "Expand",
    "Flatten",
    "Gather",
    "Gemm",
    "Greater",
    "GreaterOrEqual",
    "Identity",
    "LayerNormalization",
    "Less",
    "MatMul",
    "Mul",
    "Not",
    "Or",
    "Pad",
    "ReduceMax",
    "ReduceMean",
    "ReduceSum",
    "Relu",
    "Reshape",
    "Resize",
    "Shape",
    "Sigmoid",
    "Sin",
    "Slice",
    "Softmax",
    "Sqrt",
    "Split",
    "Squeeze",
    "Sub",
    "Transpose",
    "Unsqueeze",
    "Where",
}
TYPES = {"UINT8": onnx.TensorProto.UINT8, "INT32": onnx.TensorProto.INT32, "FP32": onnx.TensorProto.FLOAT}


# Every structure: a grid that is pooled by 1 and by 2, each family, each trunk. SAM 3 has few blocks here, and narrow ones.
KINDS = ("efficienttam_ti_512", "efficienttam_ti_1", "efficienttam_ti_2", "sam2.1_t", "sam2_t", "edgetam", "nano", "sam3:2@336")
# Variants that differ from one of those in widths only (at this size _ti and _ti_512 are one network). The other Hieras would take minutes.
WIDER = [name for name in VARIANTS if name not in KINDS and name.startswith("efficienttam")]


def test_what_is_slow_has_the_structure_of_what_is_not():
    def structure(name: str) -> tuple[Variant, Trunk]:
        made = VARIANTS[name]
        return replace(made, name="", checkpoint="", image_size=0, sources={}), replace(trunk_of(made), embed_dim=0, num_heads=0, sources={})

    assert len(WIDER) == 5
    kinds = [structure(name) for name in KINDS if name.startswith("efficienttam")]
    assert [name for name in WIDER if structure(name) not in kinds] == []


@pytest.fixture(scope="module", params=[*KINDS, *(pytest.param(name, marks=pytest.mark.slow) for name in WIDER)])
def small(narrow, request, exported):
    return exported(request.param)


@pytest.fixture(scope="module", params=ENGINES)
def engine(request) -> str:
    return request.param


def load(folder, engine) -> onnx.ModelProto:
    return onnx.load(folder / f"{engine}.onnx")


@pytest.fixture(scope="module")
def model(small, engine) -> onnx.ModelProto:
    return load(small[1], engine)


@pytest.fixture(scope="module")
def calls(small, engine) -> list[tuple[Sizes, dict[str, np.ndarray], dict[str, np.ndarray]]]:
    """Sizes, inputs and PyTorch's outputs."""
    inputs = [(sizes, sample_inputs(engine, small[0].variant, sizes, seed=7)) for sizes in SIZES]
    return [(sizes, given, small[0].stages.call(engine, given)) for sizes, given in inputs]


def test_inputs_and_outputs_are_the_contracts(small, engine, model):
    variant = small[0].variant
    wanted = next(wanted for wanted in engines(variant) if wanted.name == engine)
    lead = ("V",) if wanted.batched else ()
    for values, tensors in ((model.graph.input, wanted.inputs), (model.graph.output, wanted.outputs)):
        found = [(value.name, value.type.tensor_type.elem_type, _dims(value)) for value in values]
        assert found == [(tensor.name, TYPES[tensor.dtype], (*lead, *resolve(tensor.dims, variant))) for tensor in tensors]


def _dims(value: onnx.ValueInfoProto) -> tuple[int | str, ...]:
    return tuple(dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim)


def test_graphs_use_only_operators_that_every_runtime_has(model):
    assert {node.op_type for node in model.graph.node} <= OPERATORS
    assert {node.domain for node in model.graph.node} == {""}
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", OPSET)]


def norms_of_encoder(trunk: Trunk) -> tuple[int, int]:
    """Norms of tokens, and of maps; batch norms are folded away."""
    if isinstance(trunk, RepViT):
        return 0, 0
    if isinstance(trunk, Hiera):
        return 2 * sum(trunk.stages), 0
    if isinstance(trunk, Sam3Vit):
        return 2 * trunk.depth + 1, 0
    return 2 * trunk.depth + 1, 1 + (5 if trunk.stem == "conv" else 0)  # the neck has one of each


def norms_of_perceiver(layers: int) -> int:
    """In a layer one of the memory, and four of each of the two kinds of latents; but a window of one feature is the only key, whatever the query."""
    return layers * (1 + 4 + 3) + 1


def test_norms_of_tokens_are_one_node_and_norms_of_maps_turn_nothing_over(small, engine, model):
    variant = small[0].variant
    tokens_and_maps = {
        "image_encoder": norms_of_encoder(trunk_of(variant)),
        "mask_prompt": (0, 0),
        "memory_attention": (3 * variant.memory_layers + 1, 0),
        "mask_decoder": (2 * 4 + 1 + 1, 2),  # two blocks, the last look and upscaling; the mask prompt
        "memory_encoder": (2 + (norms_of_perceiver(variant.perceiver.layers) if variant.perceiver else 0), 4),
    }
    operators = [node.op_type for node in model.graph.node]
    assert (operators.count("LayerNormalization"), operators.count("Sqrt")) == tokens_and_maps[engine]


@pytest.mark.parametrize(("name", "blocks"), [("efficienttam_ti_1", 12), ("sam2.1_t", 12), ("sam3:2@336", 2)])
def test_attention_is_a_product_a_softmax_and_a_product_of_rank_4(narrow, exported, name, blocks):
    network, folder = exported(name)
    counts = {"image_encoder": blocks, "memory_attention": 2 * network.variant.memory_layers, "mask_decoder": 2 * 3 + 1}
    for engine, count in counts.items():
        model = load(folder, engine)
        users = {name: node for node in model.graph.node for name in node.input}
        makers = {name: node for node in model.graph.node for name in node.output}
        softmaxes = [node for node in model.graph.node if node.op_type == "Softmax"]
        products = [makers[node.input[0]] for node in softmaxes]
        # The pooled variant's compensation stands between product and softmax.
        products = [makers[node.input[0]] if node.op_type == "Add" else node for node in products]
        assert len(softmaxes) == count
        assert {node.op_type for node in products} | {users[node.output[0]].op_type for node in softmaxes} == {"MatMul"}
        values = [name for node in products for name in (*node.input, *node.output)]
        assert {value.ndim for value in _values(model, values, sample_inputs(engine, network.variant, Sizes(), seed=0))} == {4}


def _values(model: onnx.ModelProto, names: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Values inside a graph for the given inputs."""
    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    opened.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    session = onnxruntime.InferenceSession(opened.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(names, inputs)


def test_norms_of_tokens_are_of_rank_3(small, engine, model):
    """OpenVINO has a kernel for those. It takes a norm of rank 4 apart, and lays the map out anew before each. EdgeTAM's latents are few."""
    inputs = [node.input[0] for node in model.graph.node if node.op_type == "LayerNormalization"]
    values = _values(model, inputs, sample_inputs(engine, small[0].variant, Sizes(), seed=0)) if inputs else []
    latents = small[0].variant.perceiver is not None and engine == "memory_encoder"
    assert {value.ndim for value in values} <= ({3, 4} if latents else {3})


def test_no_table_is_stored_twice(model):
    tensors = [tensor for tensor in model.graph.initializer if math.prod(tensor.dims) > 1000]
    assert len({tensor.raw_data for tensor in tensors}) == len(tensors)


def run_onnxruntime(path, calls):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return [dict(zip(names, session.run(names, inputs), strict=True)) for inputs in calls]


def run_openvino(path, calls):
    compiled = openvino_core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return [{output.any_name: value.copy() for output, value in compiled(inputs).items()} for inputs in calls]


@pytest.mark.parametrize("run", [run_onnxruntime, run_openvino], ids=["onnxruntime", "openvino"])
def test_runtimes_compute_what_pytorch_does_for_every_number_of_videos_objects_and_memories(small, engine, calls, run):
    results = run(small[1] / f"{engine}.onnx", [inputs for _, inputs, _ in calls])
    for (sizes, _, wanted), got in zip(calls, results, strict=True):
        for name, value in wanted.items():
            assert worst_excess(got[name], value) <= 1, (name, sizes)
