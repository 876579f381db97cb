"""A random checkpoint for any variant, calibrated so that its masks are alive: for tests, and for trying masklet without a download.

Such a network computes what a trained one computes, at the same cost, but its masks mean nothing.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from masklet.contract import KIND_CLICK
from masklet.families import Variant
from masklet_build.models.network import build_stages, network_shapes, official_names
from masklet_build.models.sam.fine_decoder import FineMaskDecoder
from masklet_build.models.sam.mask_decoder import MASK_TOKENS, MaskDecoder
from masklet_build.models.samples import Sizes, sample_inputs

# Deviation of parameters that are no weights of a layer, by the end of their name; a gain by the name's middle for those that are.
_TABLES = {
    "pos_embed": 0.3,
    "pos_embed_window": 0.3,
    "maskmem_tpos_enc": 0.3,
    "no_mem_embed": 0.3,
    "no_mem_pos_enc": 0.3,
    "no_obj_ptr": 0.5,
    "no_obj_embed_spatial": 0.5,
    "gaussian_matrix": 1.0,
    "latents": 0.3,
    "latents_2d": 0.3,
    "_embed.weight": 1.0,
    "_token.weight": 1.0,
    "_tokens.weight": 1.0,
}
_POINTS = "point_embeddings"
_GAINS = {
    "memory_attention": {"q_proj": 2.5, "out_proj": 1.0},
    "spatial_perceiver": {"to_q": 5.0, "to_out": 2.0},  # latents see different things in different memories
    "image_encoder.trunk.body": {"token_mixer": 0.4, "mixer.conv2": 0.35},  # branches are summed, block after block
    "image_encoder.neck.convs.0.conv.": {"": 0.2},  # of a pyramid: the coarser of its levels are large
    "image_encoder.neck.convs.1.conv.": {"": 0.2},
    "": {"q_proj": 2.0},
}
_GAIN = 1.2

_LOGIT_DEVIATION = 6.0  # of mask logits
_BACKGROUND = 0.65  # share of pixels below 0
_SCORE = 5.0  # presence logit of a clicked object


def random_checkpoint(variant: Variant, seed: int) -> dict[str, Tensor]:
    """A state dict under the official names, float32, the same for the same seed. Objects are present; about a third of a mask is foreground."""
    state = random_parameters(variant, seed)
    with torch.no_grad():
        _calibrate(state, variant, seed)
    return _official(state, variant)


def random_parameters(variant: Variant, seed: int) -> dict[str, Tensor]:
    """The same before calibration, under the network's own names: masks may be empty. For graphs whose answers nobody reads."""
    state = {name: torch.from_numpy(noise(seed, name, shape)) for name, shape in network_shapes(variant).items()}
    for name, value in state.items():
        offset, scale = _distribution(name, tuple(value.shape))
        state[name] = offset + scale * value
    return state


def noise(seed: int, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal float32 values that belong to a seed and a parameter's name."""
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(f"{seed}/{name}".encode())))
    return np.asarray(generator.standard_normal(shape, dtype=np.float32))


def save_official(state: Mapping[str, Tensor], path: str | Path) -> None:
    """Writes a state dict in the layout of the official files."""
    torch.save({"model": dict(state)}, path)


def _official(state: dict[str, Tensor], variant: Variant) -> dict[str, Tensor]:
    names = official_names(variant)
    return {names[name]: tensor for name, tensor in state.items()}


def _distribution(name: str, shape: tuple[int, ...]) -> tuple[float, float]:
    """Mean and deviation of a parameter: norms near 1, biases near 0, weights by their fan-in."""
    if name.endswith("gamma"):
        return 0.3, 0.05
    if name.endswith(("bias", "running_mean")):
        return 0.0, 0.05
    if not shape:  # how many batches a batch norm has seen
        return 0.0, 0.0
    if len(shape) == 1:
        return 1.0, 0.1
    table = next((scale for end, scale in _TABLES.items() if name.endswith(end)), 1.0 if _POINTS in name else None)
    if table is not None:
        return 0.0, table
    gains = next(gains for start, gains in _GAINS.items() if name.startswith(start))
    gain = next((gain for part, gain in gains.items() if part in name), _GAIN)
    fan_in = shape[0] if "output_upscaling" in name or "dconv" in name else math.prod(shape[1:])  # transposed convolutions lead with their inputs
    return 0.0, gain / math.sqrt(fan_in)


def _calibrate(state: dict[str, Tensor], variant: Variant, seed: int) -> None:
    """Sets the last biases of the mask and score heads by what one clicked frame makes of them.

    In double precision: what differs from machine to machine, and even from run to run, is lost when the result is rounded to single.
    """
    stages = {name: stage.double() for name, stage in build_stages(_official(state, variant), variant).items()}
    image = torch.from_numpy(sample_inputs("image_encoder", variant, Sizes(), seed)["IMAGE"])
    features, *maps = stages["image_encoder"](image)
    stage = stages["mask_decoder"]
    decoder, high_res = (stage.decoder, stage.in_token_order(maps)) if isinstance(stage, FineMaskDecoder) else (stage, [])
    assert isinstance(decoder, MaskDecoder)
    one = torch.ones(1, dtype=torch.int32)
    points = torch.full((1, 2, 2), variant.image_size / 2, dtype=torch.float64)
    labels = torch.tensor([[1, -1]], dtype=torch.int32)
    no_mask = torch.zeros(1, 1, variant.low_size, variant.low_size, dtype=torch.float64)
    tokens, image_tokens = decoder.transform(features, KIND_CLICK * one, points, labels, no_mask, 0 * one)
    fine = decoder.decoder.upscale(image_tokens, high_res)[0]
    for index in range(MASK_TOKENS):
        _calibrate_mask(state, f"sam_mask_decoder.output_hypernetworks_mlps.{index}.layers.2", fine, seed)
    score = float(decoder.decoder.pred_obj_score_head(tokens[:, 0]))
    state["sam_mask_decoder.pred_obj_score_head.layers.2.bias"] += _SCORE - score


def _calibrate_mask(state: dict[str, Tensor], layer: str, fine: Tensor, seed: int) -> None:
    """Gives one mask head a bias along which the features [pixels, 32] vary, and of which the wanted share is positive."""
    direction = torch.from_numpy(noise(seed, f"{layer}.direction", (fine.shape[1],))).double()
    direction *= _LOGIT_DEVIATION / (fine @ direction).std()
    level = torch.linalg.lstsq(fine, fine.new_ones(len(fine), 1)).solution[:, 0]  # the logits of this factor are about 1 everywhere
    threshold = torch.quantile(fine @ direction, _BACKGROUND)
    state[f"{layer}.bias"] = (direction - threshold / (fine @ level).mean() * level).float()
    state[f"{layer}.weight"] *= 0.5  # prompts still change the mask, but do not decide whether there is one
