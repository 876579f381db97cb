"""EdgeTAM's own parts, written as plainly as `reference.plain`: norms are applied where they stand, every latent looks at its memory by itself."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from masklet.families import Variant
from masklet_build.models.trunks import RepViT
from masklet_build.models.variants import trunk_of
from tests.reference.plain import State, gelu, norm, part, sine_code


def image_encoder(state: State, variant: Variant, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """uint8 [S, S, 3] -> [hidden, G, G], [32, 4G, 4G], [64, 2G, 2G]."""
    mean, std = torch.tensor(variant.family.pixel_mean), torch.tensor(variant.family.pixel_std)
    pixels = ((image.double() / 255).float() - mean) / std
    trunk = trunk_of(variant)
    assert isinstance(trunk, RepViT)
    levels = _trunk(pixels.permute(2, 0, 1)[None], part(state, "image_encoder.trunk.body"), trunk)
    sides = [_conv(x, state, f"image_encoder.neck.convs.{3 - index}.conv") for index, x in enumerate(levels)]
    doubled = sides[3].repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    finest, fine = (_conv(sides[index], state, f"sam_mask_decoder.conv_s{index}") for index in (0, 1))
    return (sides[2] + doubled)[0], finest[0], fine[0]


def _conv(x: Tensor, state: State, name: str) -> Tensor:
    return functional.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"])


def _trunk(pixels: Tensor, body: State, trunk: RepViT) -> list[Tensor]:
    """The four levels, the finest first."""
    x = _conv_norm(gelu(_conv_norm(pixels, body, "stem.conv1", 2)), body, "stem.conv2", 2)
    levels = []
    for index, depth in enumerate(trunk.depths):
        stage = part(body, f"stages_{index}")
        if index > 0:
            x = _block(x, part(stage, "downsample.pre_block"))
            x = _conv_norm(_conv_norm(x, stage, "downsample.spatial_downsample", 2), stage, "downsample.channel_downsample")
            x = x + _two(x, part(stage, "downsample.ffn"))
        for block in range(depth):
            x = _block(x, part(stage, f"blocks.{block}"))
        levels.append(x)
    return levels


def _conv_norm(x: Tensor, state: State, name: str, stride: int = 1) -> Tensor:
    weight = state[f"{name}.c.weight"]
    x = functional.conv2d(x, weight, None, stride, weight.shape[-1] // 2, groups=x.shape[1] // weight.shape[1])
    mean, variance, scale, shift = (state[f"{name}.bn.{key}"][:, None, None] for key in ("running_mean", "running_var", "weight", "bias"))
    return (x - mean) / torch.sqrt(variance + 1e-5) * scale + shift


def _block(x: Tensor, block: State) -> Tensor:
    x = _conv_norm(x, block, "token_mixer.conv") + _conv_norm(x, block, "token_mixer.conv1") + x
    if "se.fc1.weight" in block:
        x = x * torch.sigmoid(_conv(functional.relu(_conv(x.mean((2, 3), keepdim=True), block, "se.fc1")), block, "se.fc2"))
    return x + _two(x, part(block, "channel_mixer"))


def _two(x: Tensor, state: State) -> Tensor:
    return _conv_norm(gelu(_conv_norm(x, state, "conv1")), state, "conv2")


def perceive(state: State, variant: Variant, memory: Tensor) -> Tensor:
    """[G * G, 64] -> [512, 64]: latents that look at everything, then those that look at a window each."""
    own, grid = part(state, "spatial_perceiver"), variant.grid
    whole = _latents(own, own["latents"], memory, sine_code(64, grid))
    side = grid // 16
    windows = memory.reshape(grid, grid, 64)
    local = [
        _latents(own, own["latents_2d"][None, row * 16 + column], windows[row * side :, column * side :][:side, :side].reshape(-1, 64), 0.0)
        for row in range(16)
        for column in range(16)
    ]
    return norm(torch.cat((whole, *local)), own, "norm")


def _latents(own: State, latents: Tensor, memory: Tensor, code: Tensor | float) -> Tensor:
    """Latents [n, 64] that look at a memory [m, 64] and at each other."""
    for index in range(2):
        layer = part(own, f"layers.{index}")
        queries = norm(latents, layer, "attn.norm_latents") @ layer["attn.to_q.weight"].T
        keys, values = (norm(memory, layer, "attn.norm_x") @ layer["attn.to_kv.weight"].T).chunk(2, dim=1)
        latents = latents + _attend(queries, keys + code, values + code) @ layer["attn.to_out.weight"].T
        latents = latents + _feed_forward(latents, part(layer, "ff"))
        y = norm(latents, layer, "self_attn.norm")
        keys, values = (y @ layer["self_attn.to_kv.weight"].T).chunk(2, dim=1)
        latents = latents + _attend(y @ layer["self_attn.to_q.weight"].T, keys, values) @ layer["self_attn.to_out.weight"].T
        latents = latents + _feed_forward(latents, part(layer, "self_ff"))
    return latents


def _attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    return torch.softmax(queries @ keys.T / math.sqrt(64), dim=1) @ values


def _feed_forward(x: Tensor, state: State) -> Tensor:
    return gelu(norm(x, state, "0") @ state["1.weight"].T) @ state["3.weight"].T
