"""Layers and attention cores that take float32, compute in another type, and give float32.

The cast in, the operator and the cast out are in the graph. What stands between stays float32: norms, rotary and position codes, residual sums,
activations, choices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from masklet_build.models.sam.layers import Conv1x1, Doubling, LayerNorm2d, Linear, attention

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}

# TensorRT fuses attention for queries, keys and values of one width: a multiple of 8 from 16 to 256 (shapes: "Fused Attention" in TensorRT's
# documentation; widths: NVIDIA/TensorRT issues 2981, 4167).
_LEAST_WIDTH, _WIDTH_STEP = 16, 8


def _reduced(weight: Tensor, dtype: torch.dtype) -> nn.Parameter:
    return nn.Parameter(weight.detach().to(dtype), requires_grad=False)


class TypedLinear(Linear):
    """A linear layer in another type. `bias` stays float32, for those who add it by themselves."""

    def __init__(self, source: nn.Linear, dtype: torch.dtype) -> None:
        super().__init__(source.in_features, source.out_features, bias=source.bias is not None, device="meta")
        self.dtype = dtype
        self.weight, self.bias = _reduced(source.weight, dtype), source.bias
        self.register_buffer("own_bias", None if source.bias is None else source.bias.detach().to(dtype), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out], float32."""
        return functional.linear(x.to(self.dtype), self.weight, self.own_bias).float()

    def product(self, x: Tensor) -> Tensor:
        """See `Linear.product`; float32."""
        return super().product(x.to(self.dtype)).float()


class TypedConv2d(nn.Conv2d):
    """A convolution in another type."""

    def __init__(self, source: nn.Conv2d, dtype: torch.dtype) -> None:
        like = (source.kernel_size, source.stride, source.padding, source.dilation, source.groups)
        super().__init__(source.in_channels, source.out_channels, *like, bias=source.bias is not None, device="meta")
        self.dtype = dtype
        self.weight = _reduced(source.weight, dtype)
        self.bias = None if source.bias is None else _reduced(source.bias, dtype)

    def forward(self, x: Tensor) -> Tensor:
        """[B, in, H, W] -> [B, out, h, w], float32."""
        return super().forward(x.to(self.dtype)).float()


class TypedConvTranspose2d(nn.Module):
    """A transposed convolution whose stride is its kernel, in another type: a 1x1 convolution, whose outputs are laid out as finer pixels.

    The same products and sums. TensorRT for RTX 1.7 refuses a transposed convolution in bf16.
    """

    def __init__(self, source: nn.ConvTranspose2d, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype, self.scale = dtype, source.stride[0]
        assert source.kernel_size == source.stride == (self.scale, self.scale)
        self.weight = _reduced(source.weight.permute(1, 2, 3, 0).flatten(0, 2)[:, :, None, None], dtype)  # [out scale scale, in, 1, 1]
        self.bias = _reduced(source.bias.repeat_interleave(self.scale**2), dtype)

    def forward(self, x: Tensor) -> Tensor:
        """[B, in, H, W] -> [B, out, scale H, scale W], float32."""
        return functional.pixel_shuffle(functional.conv2d(x.to(self.dtype), self.weight, self.bias), self.scale).float()


class TypedProduct(nn.Module):
    """`Conv1x1` or `Doubling` in another type, for maps whose channels come last. `bias` stays float32: it is added afterwards."""

    def __init__(self, source: Conv1x1 | Doubling, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype, self.out_channels, self.bias = dtype, source.out_channels, source.bias
        self.weight = _reduced(source.matrix(), dtype)

    def product(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., rows of the matrix], float32."""
        return functional.linear(x.to(self.dtype), self.weight).float()


# The more special ones first: each layer becomes what the first entry that fits says.
TYPED_LAYERS = (
    (Conv1x1, TypedProduct),
    (Doubling, TypedProduct),
    (nn.Linear, TypedLinear),
    (nn.Conv2d, TypedConv2d),
    (nn.ConvTranspose2d, TypedConvTranspose2d),
)


def typed(layer: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The layer in another type. The layer itself stays as it is."""
    return next(made for kind, made in TYPED_LAYERS if isinstance(layer, kind))(layer, dtype)


class NodeNorm2d(LayerNorm2d):
    """`LayerNorm2d` as one LayerNormalization node between two permutations: written out as means, TensorRT does not know it for a norm, and computes
    its sums in the type around them (roboflow/rf-detr, issue 176)."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> the same."""
        return nn.LayerNorm.forward(self, x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    @classmethod
    def of(cls, source: LayerNorm2d) -> NodeNorm2d:
        """With the source's parameters."""
        made = cls(source.normalized_shape[0])
        made.weight, made.bias = source.weight, source.bias
        return made


@dataclass(frozen=True)
class FusibleAttention:
    """`sam.layers.attention` in a type, and in the form that TensorRT can fuse: queries, keys and values of one width.

    Zeros behind queries and keys add nothing to their products, zeros behind values make columns that are cut off again. So values of 64 channels
    beside keys of 256, and the narrow heads of nano, give the same numbers.
    """

    dtype: torch.dtype

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        """float32 [B, heads, tokens, width] each, bias [keys] -> float32, as q with the width of v."""
        keys, values = int(k.shape[-1]), int(v.shape[-1])  # Python numbers, so that the graph pads and slices by constants
        width = max(_LEAST_WIDTH, -(-max(keys, values) // _WIDTH_STEP) * _WIDTH_STEP)
        q, k, v = (_widened(self._cast(x), width - own) for x, own in ((q, keys), (k, keys), (v, values)))
        out = attention(q, k, v, None if bias is None else self._cast(bias).reshape(1, 1, 1, -1))
        if values < width:
            out = out[..., :values]
        return out if self.dtype == torch.float32 else out.float()

    def _cast(self, x: Tensor) -> Tensor:
        return x if self.dtype == torch.float32 else x.to(self.dtype)  # a cast to the type that it has would be a node of the graph


@dataclass(frozen=True)
class TypedAttention:
    """`sam.layers.attention` in a type, for PyTorch, whose kernels take values of another width than keys."""

    dtype: torch.dtype

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        """As `FusibleAttention`."""
        q, k, v = (x.to(self.dtype) for x in (q, k, v))
        return attention(q, k, v, None if bias is None else bias.to(self.dtype)).float()


def _widened(x: Tensor, by: int) -> Tensor:
    widened: Tensor = _Widen.apply(x, by) if by else x
    return widened


class _Widen(torch.autograd.Function):
    """Zeros behind the last of four axes. For itself the tracer would compute what the graph pads by, from constants; here it is a constant."""

    @staticmethod
    def forward(context: Any, x: Tensor, by: int) -> Tensor:
        return functional.pad(x, (0, by))

    @staticmethod
    def symbolic(graph: Any, x: Any, by: int) -> Any:
        return graph.op("Pad", x, graph.op("Constant", value_t=torch.tensor([0, 0, 0, 0, 0, 0, 0, by])))
