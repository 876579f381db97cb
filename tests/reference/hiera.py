"""SAM 2's image encoder written plainly from its definition, window by window and head by head."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from masklet.families import Variant
from masklet_build.models.trunks import Hiera
from masklet_build.models.variants import trunk_of
from tests.reference.plain import State, gelu, linear, norm, part


def image_encoder(state: State, variant: Variant, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """uint8 [S, S, 3] -> [hidden, G, G], [32, 4 G, 4 G], [64, 2 G, 2 G]."""
    levels = [level.permute(2, 0, 1)[None] for level in trunk(part(state, "image_encoder.trunk"), variant, image)]
    laterals = [_conv(level, state, f"image_encoder.neck.convs.{3 - index}.conv") for index, level in enumerate(levels)]
    doubled = functional.interpolate(laterals[3], scale_factor=2.0, mode="nearest")
    fine = [_conv(lateral, state, f"sam_mask_decoder.conv_s{index}") for index, lateral in enumerate(laterals[:2])]
    return (laterals[2] + doubled)[0], fine[0][0], fine[1][0]


def _conv(x: Tensor, state: State, name: str) -> Tensor:
    return functional.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"])


def trunk(own: State, variant: Variant, image: Tensor) -> list[Tensor]:
    """The four stages' maps [n, n, C], the finest first."""
    shape = trunk_of(variant)
    assert isinstance(shape, Hiera)
    mean, std = torch.tensor(variant.family.pixel_mean), torch.tensor(variant.family.pixel_std)
    pixels = ((image.double() / 255).float() - mean) / std
    x = functional.conv2d(pixels.permute(2, 0, 1)[None], own["patch_embed.proj.weight"], own["patch_embed.proj.bias"], stride=4, padding=3)
    stored = functional.interpolate(own["pos_embed"], x.shape[-2:], mode="bicubic", align_corners=False)
    row = torch.cat([own["pos_embed_window"]] * (x.shape[-1] // 8), dim=3)
    x = (x + stored + torch.cat([row] * (x.shape[-1] // 8), dim=2))[0].permute(1, 2, 0)
    levels, index, window = [], 0, shape.windows[0]
    for stage, count in enumerate(shape.stages):
        for place in range(count):
            side = 0 if index in shape.global_blocks else window
            x = block(x, part(own, f"blocks.{index}"), shape.num_heads << stage, side, pools=stage > 0 and place == 0)
            index, window = index + 1, shape.windows[stage]
        levels.append(x)
    return levels


def block(x: Tensor, own: State, heads: int, side: int, *, pools: bool) -> Tensor:
    """One block on [n, n, C]; side 0: one window over all. A pooling block ends with half the map and twice the channels."""
    y = norm(x, own, "norm1", 1e-6)
    x = halved(linear(y, own, "proj")) if pools else x
    x = x + attend(y, own, heads, side or len(y), pools=pools)
    return x + linear(gelu(linear(norm(x, own, "norm2", 1e-6), own, "mlp.layers.0")), own, "mlp.layers.1")


def attend(y: Tensor, own: State, heads: int, side: int, *, pools: bool) -> Tensor:
    """Windows of a map padded with zeros, each on its own."""
    grid, edge, shrink = len(y), -(-len(y) // side) * side, 2 if pools else 1
    padded = torch.zeros(edge, edge, y.shape[-1])
    padded[:grid, :grid] = y
    out = torch.zeros(edge // shrink, edge // shrink, len(own["attn.proj.bias"]))
    for top in range(0, edge, side):
        for left in range(0, edge, side):
            q, k, v = linear(padded[top : top + side, left : left + side], own, "attn.qkv").chunk(3, dim=-1)
            q = halved(q) if pools else q
            made = _heads(*(x.flatten(0, 1) for x in (q, k, v)), heads).reshape(q.shape)
            out[top // shrink : top // shrink + len(q), left // shrink : left // shrink + len(q)] = made
    return linear(out[: grid // shrink, : grid // shrink], own, "attn.proj")


def _heads(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    width = q.shape[-1] // heads
    places = [slice(head * width, (head + 1) * width) for head in range(heads)]
    return torch.cat([torch.softmax(q[:, at] @ k[:, at].T / math.sqrt(width), dim=-1) @ v[:, at] for at in places], dim=1)


def halved(x: Tensor) -> Tensor:
    """The largest of each 2 x 2 of [n, n, C]."""
    return functional.max_pool2d(x.permute(2, 0, 1)[None], 2)[0].permute(1, 2, 0)
