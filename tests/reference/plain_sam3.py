"""Stages of SAM 3 written plainly from their definition, on the official parameter names: complex numbers, windows one by one."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from masklet.families import Variant
from masklet_build.models.trunks import Sam3Vit
from masklet_build.models.variants import trunk_of
from tests.reference.plain import gelu, linear, norm, norm_channels, part

State = Mapping[str, Tensor]


def turned(x: Tensor, side: int, step: float) -> Tensor:
    """Rotary code of [side * side, 64]: pairs of channels as complex numbers, turned by x in the first half and by y in the second."""
    frequency = torch.tensor([10000 ** (-4 * m / 64) for m in range(16)], dtype=torch.float64)
    token = torch.arange(side * side)
    angle = torch.cat((torch.outer(token % side * step, frequency), torch.outer(token // side * step, frequency)), dim=1)
    factor = torch.polar(torch.ones_like(angle), angle).to(torch.complex64)
    return torch.view_as_real(torch.view_as_complex(x.reshape(len(x), 32, 2)) * factor).reshape(len(x), 64)


def attend(x: Tensor, block: State, heads: int, step: float) -> Tensor:
    """[side, side, E] -> the same."""
    side = len(x)
    q, k, v = linear(x.reshape(side * side, -1), block, "attn.qkv").reshape(side * side, 3, heads, 64).permute(1, 2, 0, 3).contiguous()
    out = [torch.softmax(turned(q[h], side, step) @ turned(k[h], side, step).T / 8, dim=-1) @ v[h] for h in range(heads)]
    return linear(torch.cat(out, dim=1), block, "attn.proj").reshape(x.shape)


def image_encoder(state: State, variant: Variant, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """uint8 [S, S, 3] -> [hidden, G, G], [32, 4 G, 4 G], [64, 2 G, 2 G]."""
    own, shape, grid = part(state, "detector.backbone.vision_backbone"), trunk_of(variant), variant.grid
    assert isinstance(shape, Sam3Vit)
    trunk, window = part(own, "trunk"), shape.window_size
    pixels = ((image.double() / 255).float() - 0.5) / 0.5
    x = functional.conv2d(pixels.permute(2, 0, 1)[None], trunk["patch_embed.proj.weight"], stride=14)[0].permute(1, 2, 0)
    stored = trunk["pos_embed"][0, 1:].reshape(24, 24, -1)
    x = norm(x + torch.stack([torch.stack([stored[row % 24, column % 24] for column in range(grid)]) for row in range(grid)]), trunk, "ln_pre")
    for index in range(shape.depth):
        block = part(trunk, f"blocks.{index}")
        y = norm(x, block, "norm1")
        if index in shape.global_blocks:
            out = attend(y, block, shape.num_heads, 24 / grid)
        else:
            out = torch.zeros_like(y)
            for top in range(0, grid, window):
                for left in range(0, grid, window):
                    place = (slice(top, top + window), slice(left, left + window))
                    out[place] = attend(y[place], block, shape.num_heads, 1)
        x = x + out
        x = x + linear(gelu(linear(norm(x, block, "norm2"), block, "mlp.fc1")), block, "mlp.fc2")
    decoder = part(state, "tracker.sam_mask_decoder")
    maps = _neck(own, x.permute(2, 0, 1)[None])
    fine = functional.conv2d(maps[0], decoder["conv_s0.weight"], decoder["conv_s0.bias"])
    middle = functional.conv2d(maps[1], decoder["conv_s1.weight"], decoder["conv_s1.bias"])
    return maps[2][0], fine[0], middle[0]


def _neck(own: State, x: Tensor) -> list[Tensor]:
    def doubled(y: Tensor, name: str) -> Tensor:
        return functional.conv_transpose2d(y, own[f"{name}.weight"], own[f"{name}.bias"], stride=2)

    fine = doubled(gelu(doubled(x, "sam2_convs.0.dconv_2x2_0")), "sam2_convs.0.dconv_2x2_1")
    maps = []
    for level, y in enumerate((fine, doubled(x, "sam2_convs.1.dconv_2x2"), x)):
        y = functional.conv2d(y, own[f"sam2_convs.{level}.conv_1x1.weight"], own[f"sam2_convs.{level}.conv_1x1.bias"])
        maps.append(functional.conv2d(y, own[f"sam2_convs.{level}.conv_3x3.weight"], own[f"sam2_convs.{level}.conv_3x3.bias"], padding=1))
    return maps


def memory_encoder(state: State, variant: Variant, features: Tensor, low: Tensor, score: float, binarise: bool) -> Tensor:
    """features [hidden, G, G], low [L, L] -> [T, 64]."""
    own = part(state, "tracker.maskmem_backbone")
    size, target = (variant.image_size,) * 2, (variant.mask_size,) * 2
    high = functional.interpolate(low[None, None].double(), size, mode="bilinear", align_corners=False)
    x = ((high > 0).double() if binarise else torch.sigmoid(high)) * 20 - 10
    x = functional.interpolate(x, target, mode="bilinear", align_corners=False, antialias=True).float()
    for index in (0, 3, 6, 9):
        name = f"mask_downsampler.encoder.{index}"
        x = functional.conv2d(x, own[f"{name}.weight"], own[f"{name}.bias"], stride=2, padding=1)
        x = gelu(norm_channels(x, own, f"mask_downsampler.encoder.{index + 1}"))
    x = functional.conv2d(x, own["mask_downsampler.encoder.12.weight"], own["mask_downsampler.encoder.12.bias"])
    x = x + functional.conv2d(features[None], own["pix_feat_proj.weight"], own["pix_feat_proj.bias"])
    for index in range(2):
        block = part(own, f"fuser.layers.{index}")
        y = functional.conv2d(x, block["dwconv.weight"], block["dwconv.bias"], padding=3, groups=len(x[0]))
        y = linear(gelu(linear(norm_channels(y, block, "norm").permute(0, 2, 3, 1), block, "pwconv1")), block, "pwconv2")
        x = x + (block["gamma"] * y).permute(0, 3, 1, 2)
    memory = functional.conv2d(x, own["out_proj.weight"], own["out_proj.bias"])[0].reshape(64, -1).T
    return memory + state["tracker.no_obj_embed_spatial"] if score <= 0 else memory


def mask_prompt(state: State, mask: Tensor) -> Tensor:
    """[M, M] -> [L, L]: weighted sums of 4x4 pixels."""
    weight, bias = state["tracker.mask_downsample.weight"][0, 0], state["tracker.mask_downsample.bias"]
    side = len(mask) // 4
    blocks = mask.reshape(side, 4, side, 4).permute(0, 2, 1, 3)
    return (blocks * weight).sum(dim=(2, 3)) + math.fsum(bias.tolist())
