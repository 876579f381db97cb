"""Layers that several stages share. Parameter names are the official ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional


class Mlp(nn.Module):
    """Linear layers with an activation between them (modeling/efficienttam_utils.py, class MLP)."""

    def __init__(self, widths: Sequence[int], activation: Callable[[Tensor], Tensor] = torch.relu) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """[..., widths[0]] -> [..., widths[-1]]."""
        *inner, last = self.layers
        for layer in inner:
            x = self.activation(layer(x))
        out: Tensor = last(x)
        return out


class Linear(nn.Linear):
    """A linear layer whose bias a caller may add later, by itself."""

    def product(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out], without the bias."""
        return functional.linear(x, self.weight)


class Conv1x1(nn.Conv2d):
    """A 1x1 convolution without bias, which is a linear layer where the channels of a map come last."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__(width, out, 1, bias=False)

    def matrix(self) -> Tensor:
        """[out, in]."""
        return self.weight.flatten(1)

    def product(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        return functional.linear(x, self.matrix())


class Doubling(nn.ConvTranspose2d):
    """A transposed convolution of kernel and stride 2, which is a linear layer to four finer pixels where the channels of a map come last."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__(width, out, 2, 2)

    def matrix(self) -> Tensor:
        """[4 out, in]."""
        return self.weight.permute(2, 3, 1, 0).flatten(0, 2)

    def product(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., 4 out], without the bias: the finer pixels row by row, each with its channels."""
        return functional.linear(x, self.matrix())


def linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    """A linear layer of weights that were computed from others, [out, in] and [out]."""
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight, layer.bias = (nn.Parameter(x.detach().clone(), requires_grad=False) for x in (weight, bias))
    return layer


def one_after_another(first: nn.Conv2d, second: nn.Conv2d) -> nn.Conv2d:
    """The convolution that does what `first` and then the 1x1 convolution `second` do, up to rounding: both have a bias, `first` has stride 1."""
    assert first.bias is not None
    assert second.bias is not None
    outer = second.weight.detach().double().flatten(1)
    made = nn.Conv2d(first.in_channels, second.out_channels, first.kernel_size, padding=first.padding)
    made.weight.data = (outer @ first.weight.detach().double().flatten(1)).reshape(made.weight.shape).float()
    made.bias = nn.Parameter((outer @ first.bias.detach().double() + second.bias.detach().double()).float())
    return made.requires_grad_(False)


class LayerNorm2d(nn.LayerNorm):
    """LayerNorm over the channels of an NCHW map, eps 1e-6, as the official class writes it (modeling/efficienttam_utils.py, LayerNorm2d).

    Means over the channels leave the map as the convolutions beside it want it, which in OpenVINO is channels last. As a LayerNormalization node
    between two permutes, which turn the whole map over, nano's image encoder takes a fifth longer. Fewer channels than a vector unit takes at once
    are the exception: with pixels last, as rank 3, OpenVINO takes a tenth of the time for the four channels at the memory encoder's start.
    """

    _NARROW = 16  # float32 numbers in a vector of AVX-512

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> the same."""
        channels, height, width = (int(size) for size in x.shape[1:])
        if channels < self._NARROW:
            return self._norm(x.reshape(-1, channels, height * width)).reshape(-1, channels, height, width)
        return self._norm(x)

    def _norm(self, x: Tensor) -> Tensor:
        centred = x - x.mean(dim=1, keepdim=True)
        deviation = torch.sqrt(centred.square().mean(dim=1, keepdim=True) + self.eps)
        weight, bias = (values.reshape(-1, *[1] * (x.dim() - 2)) for values in (self.weight, self.bias))
        return centred / deviation * weight + bias


class Attending(nn.Module):
    """A module with an attention core: `attention`, or what `masklet_build.export.precision` puts in its place in the instance."""

    @staticmethod
    def core(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        """See `attention`."""
        return attention(q, k, v, bias)


class Projections(nn.Module):
    """The four projections of an attention: queries and output of `width`, keys and values of `key_width`, `inner` between."""

    def __init__(self, width: int, inner: int, key_width: int) -> None:
        super().__init__()
        self.q_proj = nn.Linear(width, inner)
        self.k_proj = nn.Linear(key_width, inner)
        self.v_proj = nn.Linear(key_width, inner)
        self.out_proj = nn.Linear(inner, width)


def attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """softmax(q k^T + bias) v for rank 4 [B, heads, tokens, width]; bias is [keys].

    Written with primitive operators because runtimes that read ONNX fuse this form; PyTorch fuses its own operator, so that is what its programs
    have (`masklet_build.export.programs`). The caller scales q: the fused kernels of TensorRT want the scale before the product.
    """
    if torch.compiler.is_exporting():
        mask = None if bias is None else bias.reshape(1, 1, 1, -1)
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0)
    logits = q @ k.transpose(-2, -1)
    if bias is not None:
        logits = logits + bias
    return torch.softmax(logits, dim=-1) @ v


# The sizes below are given as Python numbers, although the tensors know them: so the exported graph reshapes by constants.


def tokens_of(image: Tensor, grid: int, channels: int) -> Tensor:
    """[B, channels, grid, grid] -> [B, grid * grid, channels], row-major."""
    return image.reshape(-1, channels, grid * grid).transpose(1, 2)


def image_of(tokens: Tensor, grid: int, channels: int) -> Tensor:
    """[B, grid * grid, channels] -> [B, channels, grid, grid]."""
    return tokens.transpose(1, 2).reshape(-1, channels, grid, grid)
