"""Typed layers compute in their type and nothing else; what is for TensorRT only changes no result."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from masklet.families import NANO
from masklet_build.export.precision.choice import Choice
from masklet_build.export.precision.layers import DTYPES, FusibleAttention, NodeNorm2d, typed
from masklet_build.export.precision.rewrite import cores, layers, typed_stage
from masklet_build.models.sam.layers import Conv1x1, Doubling, LayerNorm2d, Linear, attention
from masklet_build.models.samples import Sizes, sample_inputs

pytestmark = pytest.mark.torch

LAYERS = {  # the layer, the shape of an input, and the ways in which stages use it
    "linear": (nn.Linear(12, 20), (3, 5, 12), ("forward",)),
    "linear without bias": (nn.Linear(12, 20, bias=False), (3, 12), ("forward",)),
    "linear whose bias comes later": (Linear(12, 20), (3, 5, 12), ("forward", "product")),
    "convolution": (nn.Conv2d(4, 8, 3, 2, 1), (2, 4, 9, 9), ("forward",)),
    "depthwise": (nn.Conv2d(4, 4, 3, padding=1, groups=4), (2, 4, 6, 6), ("forward",)),
    "1x1": (Conv1x1(4, 8), (2, 25, 4), ("product",)),
    "transposed": (nn.ConvTranspose2d(4, 6, 2, 2), (2, 4, 5, 5), ("forward",)),
    "doubling": (Doubling(4, 6), (2, 25, 4), ("product",)),
}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", LAYERS)
def test_a_typed_layer_rounds_its_input_its_weights_and_its_output(name: str, dtype: torch.dtype) -> None:
    layer, shape, methods = LAYERS[name]
    made, x = typed(layer, dtype), torch.randn(shape)
    for method in methods:
        got, wanted = getattr(made, method)(x), getattr(layer, method)(x)
        assert got.dtype == torch.float32
        assert torch.equal(got, got.to(dtype).float()), "the output has passed through the type"
        torch.testing.assert_close(got, wanted, rtol=0, atol=4 * torch.finfo(dtype).eps * float(wanted.abs().max()))
        assert not torch.equal(got, wanted)
    assert {parameter.dtype for parameter in layer.parameters()} == {torch.float32}, "the source stays as it is"


def test_a_bias_that_is_added_later_is_not_reduced() -> None:
    for source in (Linear(4, 4), Doubling(4, 4)):
        assert torch.equal(typed(source, torch.float16).bias, source.bias)


@pytest.mark.parametrize(("width", "values"), [(16, 16), (8, 8), (256, 64), (20, 12)])
@pytest.mark.parametrize("bias", [False, True])
def test_attention_in_the_form_that_fuses_gives_the_same_numbers(width: int, values: int, bias: bool) -> None:
    q, k, v = (torch.randn(2, 3, 7, size) for size in (width, width, values))
    mask = torch.randn(7) if bias else None
    torch.testing.assert_close(FusibleAttention(torch.float32)(q, k, v, mask), attention(q, k, v, mask), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["fp16", "bf16"])
def test_attention_runs_in_its_type(name: str) -> None:
    q, k, v = torch.randn(3, 2, 4, 9, 32).unbind(0)
    got = FusibleAttention(DTYPES[name])(q, k, v)
    assert got.dtype == torch.float32
    assert torch.equal(got, got.to(DTYPES[name]).float())


def test_a_norm_of_maps_as_one_node_gives_the_same_numbers() -> None:
    norm = LayerNorm2d(6)
    norm.weight.data, norm.bias.data = torch.randn(6), torch.randn(6)
    x = 100 * torch.randn(2, 6, 5, 5) + 30
    torch.testing.assert_close(NodeNorm2d.of(norm)(x), norm(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("engine", ["image_encoder", "mask_prompt", "memory_attention", "mask_decoder", "memory_encoder"])
def test_the_forms_for_tensorrt_change_no_result(reference, engine: str) -> None:
    inputs = sample_inputs(engine, NANO, Sizes(V=2) if engine == "image_encoder" else Sizes(V=2, B=3, F=2, P=3, N=3), seed=3)
    made = reference.replaced({engine: typed_stage(reference.stages[engine], Choice("fp32", "fp32", "tensorrt"))})
    for name, wanted in reference.call(engine, inputs).items():
        got = made.call(engine, inputs)[name]
        assert abs(got - wanted).max() <= 1e-4 * max(1.0, float(abs(wanted).max())), name


def test_every_layer_and_core_is_typed_but_those_that_are_kept(reference) -> None:
    choice = Choice("fp16", "bf16", "tensorrt")
    for engine, stage in reference.stages.items():
        names, attending = [name for name, _ in layers(stage)], [name for name, _ in cores(stage)]
        kept = {*names[:1], *attending[:1]}
        made = typed_stage(stage, choice, kept)
        dtypes = {name: made.get_submodule(name).weight.dtype for name in names}
        assert dtypes == {name: torch.float32 if name in kept else torch.float16 for name in names}, engine
        of_cores = {name: module.core.dtype for name, module in cores(made)}
        assert of_cores == {name: torch.float32 if name in kept else torch.bfloat16 for name in attending}, engine
        assert {module.weight.dtype for module in made.modules() if isinstance(module, nn.LayerNorm)} <= {torch.float32}
        assert not [module for module in made.modules() if type(module) is LayerNorm2d], "all of them are one node now"


def test_a_stage_stays_as_it_is_when_a_typed_one_is_made_of_it(reference) -> None:
    stage = reference.stages["memory_encoder"]
    before = {name: tensor.clone() for name, tensor in stage.state_dict().items()}
    typed_stage(stage, Choice("fp16", "fp16", "tensorrt"))
    assert all(torch.equal(before[name], tensor) for name, tensor in stage.state_dict().items())
