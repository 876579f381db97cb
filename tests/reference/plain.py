"""The stages written plainly from their definition, one object at a time, on the official parameter names: slow, and without any rewriting.

The product's stages fold weights, pool, gather and choose in ways of their own; these do none of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from masklet.families import Variant
from masklet_build.models.trunks import PlainVit
from masklet_build.models.variants import trunk_of

State = Mapping[str, Tensor]


def part(state: State, prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix + "."): tensor for name, tensor in state.items() if name.startswith(prefix + ".")}


def linear(x: Tensor, state: State, name: str) -> Tensor:
    return functional.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])


def norm(x: Tensor, state: State, name: str, eps: float = 1e-5) -> Tensor:
    return functional.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], eps)


def norm_channels(x: Tensor, state: State, name: str) -> Tensor:
    mean = x.mean(1, keepdim=True)
    variance = ((x - mean) ** 2).mean(1, keepdim=True)
    scaled = (x - mean) / torch.sqrt(variance + 1e-6)
    return scaled * state[f"{name}.weight"][None, :, None, None] + state[f"{name}.bias"][None, :, None, None]


def mlp(x: Tensor, state: State, name: str, layers: int = 3) -> Tensor:
    for index in range(layers):
        x = linear(x, state, f"{name}.layers.{index}")
        x = x if index == layers - 1 else functional.relu(x)
    return x


def gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))


def sine_code(channels: int, grid: int) -> Tensor:
    """[grid * grid, channels], one entry at a time."""
    half, table = channels // 2, torch.zeros(grid, grid, channels)
    for position in range(grid):
        value = (position + 1) / (grid + 1e-6) * 2 * math.pi
        for i in range(half):
            angle = value / 10000 ** (2 * (i // 2) / half)
            wave = math.sin(angle) if i % 2 == 0 else math.cos(angle)
            table[position, :, i] = wave
            table[:, position, half + i] = wave
    return table.reshape(grid * grid, channels)


def turn(x: Tensor, grid: int) -> Tensor:
    """Rotary code on interleaved pairs as complex numbers; x is [tokens, hidden], whole frames of grid * grid tokens."""
    width = x.shape[1]
    frequency = torch.tensor([10000 ** (-4 * m / width) for m in range(width // 4)], dtype=torch.float64)
    token = torch.arange(grid * grid)
    angle = torch.cat((torch.outer(token % grid, frequency), torch.outer(token // grid, frequency)), dim=1)
    factor = torch.polar(torch.ones_like(angle), angle).to(torch.complex64).repeat(len(x) // (grid * grid), 1)
    pairs = torch.view_as_complex(x.reshape(len(x), width // 2, 2))
    return torch.view_as_real(pairs * factor).reshape(len(x), width)


def memory_code(variant: Variant) -> Tensor:
    """[T, 64]; of a perceiver's latents, 256 have no place and 256 are a grid of windows."""
    return torch.cat((torch.zeros(256, 64), sine_code(64, 16))) if variant.perceiver else sine_code(64, variant.grid)


def turn_memories(keys: Tensor, variant: Variant) -> Tensor:
    """The rotary code on the keys of whole memories, [F * T, hidden]."""
    if not variant.perceiver:
        return turn(keys, variant.grid)
    return torch.cat([torch.cat((frame[:256], turn(frame[256:], 16))) for frame in keys.split(512)])


def average(x: Tensor, grid: int) -> Tensor:
    """2x2 averages of each frame of [frames * grid * grid, C]."""
    image = x.reshape(-1, grid, grid, x.shape[1]).permute(0, 3, 1, 2)
    return functional.avg_pool2d(image, 2).permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def memory_attention(
    state: State, variant: Variant, features: Tensor, memory: Tensor, slot: Tensor, pointers: Tensor, distance: Tensor | None = None
) -> Tensor:
    """One object: features [hidden, G, G], memory [F, T, 64], slot [F], pointers [P, hidden], distance [P] or None -> [hidden, G, G]."""
    grid = variant.grid
    position = memory_code(variant)[None] + state["maskmem_tpos_enc"].reshape(-1, 1, 64)[slot.long()]
    spatial, placed = memory.reshape(-1, 64), (memory + position).reshape(-1, 64)
    tokens = pointers.reshape(-1, 64)
    times = torch.zeros_like(tokens) if distance is None else _times(state, distance)
    x = features.flatten(1).T + 0.1 * sine_code(variant.hidden, grid)
    for index in range(variant.memory_layers):
        layer = part(state, f"memory_attention.layers.{index}")
        y = norm(x, layer, "norm1")
        q, k, v = (linear(y, layer, f"self_attn.{name}_proj") for name in "qkv")
        attended = torch.softmax(turn(q, grid) @ turn(k, grid).T / math.sqrt(variant.hidden), dim=-1) @ v
        x = x + linear(attended, layer, "self_attn.out_proj")
        q = turn(linear(norm(x, layer, "norm2"), layer, "cross_attn_image.q_proj"), grid)
        attended = _cross(layer, variant, q, spatial, placed, tokens, times)
        x = x + linear(attended, layer, "cross_attn_image.out_proj")
        x = x + linear(functional.relu(linear(norm(x, layer, "norm3"), layer, "linear1")), layer, "linear2")
    return norm(x, state, "memory_attention.norm").T.reshape(-1, grid, grid)


def _times(state: State, distance: Tensor) -> Tensor:
    """[P] -> [4 P, 64]: sines, then cosines, of a fifteenth of the distance, projected; the same for the four tokens of a pointer."""
    codes = []
    for value in distance.tolist():
        angles = [value / 15 / 10000 ** (2 * (i // 2) / 128) for i in range(128)]
        codes += [[*map(math.sin, angles), *map(math.cos, angles)]] * 4
    return linear(torch.tensor(codes), state, "obj_ptr_tpos_proj")


def _cross(layer: State, variant: Variant, q: Tensor, spatial: Tensor, placed: Tensor, tokens: Tensor, times: Tensor) -> Tensor:
    grid = variant.grid
    keys, values = turn_memories(linear(placed, layer, "cross_attn_image.k_proj"), variant), linear(spatial, layer, "cross_attn_image.v_proj")
    pointer_keys, pointer_values = (linear(x, layer, f"cross_attn_image.{name}_proj") for name, x in (("k", tokens + times), ("v", tokens)))
    pooled = variant.pooling != "none" and len(keys) > grid * grid
    if pooled:
        keys, values = average(keys, grid), average(values, grid)
    if pooled and variant.pooling == "efficient2":
        keys = keys + 2 * math.log(2)
    scale = math.sqrt(variant.hidden)
    logits = q @ keys.T / scale
    if pooled and variant.pooling == "efficient1":
        logits = logits + 2 * math.log(2)
    weights = torch.softmax(torch.cat((logits, q @ pointer_keys.T / scale), dim=1), dim=1)
    return weights @ torch.cat((values, pointer_values))


def image_encoder(state: State, variant: Variant, image: Tensor) -> Tensor:
    """uint8 [S, S, 3] -> [hidden, G, G]; windows are cut from a map padded with zeros."""
    trunk, grid, shape = part(state, "image_encoder.trunk"), variant.grid, trunk_of(variant)
    assert isinstance(shape, PlainVit)
    mean, std = torch.tensor(variant.family.pixel_mean), torch.tensor(variant.family.pixel_std)
    pixels = ((image.double() / 255).float() - mean) / std
    stem = _conv_stem if shape.stem == "conv" else _patches
    patches = stem(pixels.permute(2, 0, 1)[None], part(trunk, "patch_embed"))
    stored = trunk["pos_embed"][:, 1:].reshape(1, shape.pretrain_grid, shape.pretrain_grid, -1).permute(0, 3, 1, 2)
    x = (patches + functional.interpolate(stored, (grid, grid), mode="bicubic", align_corners=False))[0].permute(1, 2, 0)
    for index in range(shape.depth):
        block = part(trunk, f"blocks.{index}")
        y = norm(x, block, "norm1", 1e-6)
        side = shape.window_size if index in shape.window_blocks else grid
        edge = -(-grid // side) * side
        padded = torch.zeros(edge, edge, y.shape[-1])
        padded[:grid, :grid] = y
        out = torch.zeros_like(padded)
        for top in range(0, edge, side):
            for left in range(0, edge, side):
                place = (slice(top, top + side), slice(left, left + side))
                out[place] = _heads(padded[place].reshape(side * side, -1), block, shape.num_heads).reshape(side, side, -1)
        x = x + out[:grid, :grid]
        x = x + linear(gelu(linear(norm(x, block, "norm2", 1e-6), block, "mlp.layers.0")), block, "mlp.layers.1")
    neck = part(state, "image_encoder.neck.convs.0")
    y = norm_channels(functional.conv2d(x.permute(2, 0, 1)[None], neck["conv_1x1.weight"]), neck, "norm_0")
    return norm_channels(functional.conv2d(y, neck["conv_3x3.weight"], padding=1), neck, "norm_1")[0]


def _patches(pixels: Tensor, stem: State) -> Tensor:
    return functional.conv2d(pixels, stem["proj.weight"], stem["proj.bias"], stride=16)


def _conv_stem(x: Tensor, stem: State) -> Tensor:
    """Convolutions of stride 2 at 0, 3, 7 and 11, each but the last with norm and GELU after it; residual blocks at 6 and 10."""
    for index in (0, 3, 7):
        x = functional.conv2d(x, stem[f"layers.{index}.weight"], stem[f"layers.{index}.bias"], stride=2, padding=1)
        x = gelu(norm_channels(x, stem, f"layers.{index + 1}"))
        if index > 0:
            block = part(stem, f"layers.{index + 3}.layers")
            y = norm_channels(functional.conv2d(x, block["0.weight"], block["0.bias"], padding=1, groups=x.shape[1]), block, "1")
            y = gelu(functional.conv2d(y, block["2.weight"], block["2.bias"]))
            x = x + functional.conv2d(y, block["4.weight"], block["4.bias"])
    return functional.conv2d(x, stem["layers.11.weight"], stem["layers.11.bias"], stride=2, padding=1)


def _heads(x: Tensor, block: State, heads: int) -> Tensor:
    q, k, v = linear(x, block, "attn.qkv").reshape(len(x), 3, heads, -1).unbind(1)
    out = [torch.softmax(q[:, h] @ k[:, h].T / 8, dim=-1) @ v[:, h] for h in range(heads)]
    return linear(torch.cat(out, dim=1), block, "attn.proj")


def memory_encoder(state: State, features: Tensor, low: Tensor, binarise: bool, score: float | None = None) -> Tensor:
    """features [hidden, G, G], low [L, L], score where an absent object's memory is marked -> [T, 64]."""
    own = part(state, "memory_encoder")
    high = functional.interpolate(low[None, None], scale_factor=4.0, mode="bilinear", align_corners=False)
    x = ((high > 0).float() if binarise else torch.sigmoid(high)) * 20 - 10
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
    return memory if score is None or score > 0 else memory + state["no_obj_embed_spatial"]


class Decoded(NamedTuple):
    masks: Tensor  # [4, L, L], before gating
    ious: Tensor  # [4]
    score: Tensor
    tokens: Tensor  # [4, hidden] mask tokens


def fourier(state: State, place: Tensor) -> Tensor:
    angle = (2 * place - 1) @ state["sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"] * 2 * math.pi
    return torch.cat((torch.sin(angle), torch.cos(angle)), dim=-1)


def decode(
    state: State, variant: Variant, features: Tensor, points: Tensor, labels: Tensor, mask: Tensor | None, maps: tuple[Tensor, ...] = ()
) -> Decoded:
    """The four masks of one object: features [hidden, G, G] as the transformer gets them, points [N, 2], labels [N], mask [L, L] or None.

    maps: [32, 4 G, 4 G] and [64, 2 G, 2 G], or nothing.
    """
    own, prompts, grid = part(state, "sam_mask_decoder"), part(state, "sam_prompt_encoder"), variant.grid
    rows = [
        prompts["not_a_point_embed.weight"][0]
        if label < 0
        else fourier(state, (point + 0.5) / variant.image_size) + prompts[f"point_embeddings.{label}.weight"][0]
        for point, label in zip(points, labels.tolist(), strict=True)
    ]
    start = torch.cat((own["obj_score_token.weight"], own["iou_token.weight"], own["mask_tokens.weight"], torch.stack(rows)))
    image = features.flatten(1).T + _dense(prompts, mask)
    centres = [[(column + 0.5) / grid, (row + 0.5) / grid] for row in range(grid) for column in range(grid)]
    tokens, image = _two_way(part(own, "transformer"), start, image, fourier(state, torch.tensor(centres)))
    up = image.T.reshape(1, -1, grid, grid)
    up = functional.conv_transpose2d(up, own["output_upscaling.0.weight"], own["output_upscaling.0.bias"], stride=2)
    up = gelu(norm_channels(up + maps[1] if maps else up, own, "output_upscaling.1"))
    up = functional.conv_transpose2d(up, own["output_upscaling.3.weight"], own["output_upscaling.3.bias"], stride=2)
    up = gelu(up + maps[0] if maps else up)[0]
    masks = [torch.einsum("c,chw->hw", mlp(tokens[2 + i], own, f"output_hypernetworks_mlps.{i}"), up) for i in range(4)]
    ious = torch.sigmoid(mlp(tokens[1], own, "iou_prediction_head"))
    return Decoded(torch.stack(masks), ious, mlp(tokens[0], own, "pred_obj_score_head")[0], tokens[2:6])


def _dense(prompts: State, mask: Tensor | None) -> Tensor:
    if mask is None:
        return prompts["no_mask_embed.weight"]
    x = mask[None, None]
    for index in (0, 3):
        name = f"mask_downscaling.{index}"
        x = functional.conv2d(x, prompts[f"{name}.weight"], prompts[f"{name}.bias"], stride=2)
        x = gelu(norm_channels(x, prompts, f"mask_downscaling.{index + 1}"))
    return functional.conv2d(x, prompts["mask_downscaling.6.weight"], prompts["mask_downscaling.6.bias"])[0].flatten(1).T


def _eight_heads(state: State, name: str, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    q, k, v = (linear(x, state, f"{name}.{letter}_proj") for x, letter in ((q, "q"), (k, "k"), (v, "v")))
    width = q.shape[1] // 8
    heads = [slice(h * width, (h + 1) * width) for h in range(8)]
    out = [torch.softmax(q[:, h] @ k[:, h].T / math.sqrt(width), dim=-1) @ v[:, h] for h in heads]
    return linear(torch.cat(out, dim=1), state, f"{name}.out_proj")


def _two_way(state: State, start: Tensor, image: Tensor, code: Tensor) -> tuple[Tensor, Tensor]:
    tokens = start
    for index in range(2):
        block = part(state, f"layers.{index}")
        if index == 0:
            tokens = _eight_heads(block, "self_attn", tokens, tokens, tokens)
        else:
            tokens = tokens + _eight_heads(block, "self_attn", tokens + start, tokens + start, tokens)
        tokens = norm(tokens, block, "norm1")
        tokens = norm(tokens + _eight_heads(block, "cross_attn_token_to_image", tokens + start, image + code, image), block, "norm2")
        tokens = norm(tokens + mlp(tokens, block, "mlp", layers=2), block, "norm3")
        image = norm(image + _eight_heads(block, "cross_attn_image_to_token", image + code, tokens + start, tokens), block, "norm4")
    tokens = tokens + _eight_heads(state, "final_attn_token_to_image", tokens + start, image + code, image)
    return norm(tokens, state, "norm_final_attn"), image


def stability(mask: Tensor) -> float:
    outer = int((mask > -0.05).sum())
    return int((mask > 0.05).sum()) / outer if outer else 1.0
