"""The official checkpoint of SAM 3: its names, and the part of it that the tracker uses."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from masklet.families import Variant
from masklet_build.models.sam3.image_encoder import rotary_tables
from masklet_build.models.trunks import Sam3Vit
from masklet_build.models.variants import trunk_of

_VISION = "detector.backbone.vision_backbone."
# Start of a name in `masklet_build.models.network` -> in the checkpoint; the first that fits counts.
_STARTS = (
    ("image_encoder.", _VISION),
    ("memory_attention.", "tracker.transformer.encoder."),
    ("memory_encoder.", "tracker.maskmem_backbone."),
    ("", "tracker."),
)
_TWO_WAY_MLP = re.compile(r"(sam_mask_decoder\.transformer\.layers\.\d\.mlp\.)layers\.([01])\.")
# Of the vision backbone: the detector's neck, the level of the tracker's that nothing reads, and rotary tables, which are computed.
_NOT_LOADED = re.compile(re.escape(_VISION) + r"(convs\.|sam2_convs\.3\.|trunk\.blocks\.\d+\.attn\.freqs_cis$)")
_ROTARY = re.compile(re.escape(_VISION) + r"trunk\.blocks\.(\d+)\.attn\.freqs_cis$")
_ROTARY_TOLERANCE = 1e-5  # of a cosine; angles reach 23 radians, where float32 steps are 2e-6


def official_name(name: str) -> str:
    """The name in the checkpoint of a parameter of `masklet_build.models.network.Network`."""
    ours, theirs = next(pair for pair in _STARTS if name.startswith(pair[0]))
    return theirs + _TWO_WAY_MLP.sub(lambda found: f"{found[1]}lin{int(found[2]) + 1}.", name.removeprefix(ours))


def tracker_part(state: Mapping[str, Tensor], variant: Variant) -> dict[str, Tensor]:
    """The tensors that belong to the tracker. The detector's are left out; stored rotary tables are compared with ours and then left out.

    Raises ValueError for a rotary table that is another one than the tracker computes.
    """
    part = {name: tensor for name, tensor in state.items() if name.startswith((_VISION, "tracker."))}
    _check_rotary_tables(part, variant)
    return {name: tensor for name, tensor in part.items() if not _NOT_LOADED.match(name)}


def _check_rotary_tables(state: Mapping[str, Tensor], variant: Variant) -> None:
    trunk = trunk_of(variant)
    assert isinstance(trunk, Sam3Vit)
    tables = rotary_tables(trunk, variant.grid)
    for name, stored in state.items():
        found = _ROTARY.match(name)
        if found is None:
            continue
        cosine, sine = tables[int(found[1]) in trunk.global_blocks]
        expected = torch.complex(cosine, sine)
        if stored.shape != expected.shape or (stored - expected).abs().max() > _ROTARY_TOLERANCE:
            raise ValueError(f"{name} {tuple(stored.shape)} is not the rotary table of {variant.name}, {tuple(expected.shape)}.")
