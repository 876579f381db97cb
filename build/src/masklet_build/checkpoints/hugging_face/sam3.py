"""`Sam3VideoModel` of transformers, whose file holds detector and tracker, and `Sam3TrackerVideoModel`, which is the tracker alone."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from masklet_build.checkpoints.hugging_face import tracker
from masklet_build.checkpoints.hugging_face.names import Rules, joined, rename_all

_VISION = "detector.backbone.vision_backbone."
_POSITION = f"{_VISION}trunk.pos_embed"
_TRACKER_ALONE: Rules = (
    (r"^tracker_model\.", ""),
    (r"^detector_model\.vision_encoder\.backbone\.", "vision_encoder.backbone."),
    (r"^tracker_neck\.", "vision_encoder.neck."),
)
_VISION_RULES: Rules = (
    (r"^backbone\.embeddings\.position_embeddings$", "trunk.pos_embed"),
    (r"^backbone\.embeddings\.patch_embeddings\.projection\.", "trunk.patch_embed.proj."),
    (r"^backbone\.layer_norm\.", "trunk.ln_pre."),
    (r"^backbone\.layers\.", "trunk.blocks."),
    (r"\.layer_norm(\d)\.", r".norm\1."),
    (r"\.attention\.", ".attn."),
    (r"\.o_proj\.", ".proj."),
    (r"^neck\.fpn_layers\.", "sam2_convs."),
    (r"^(sam2_convs\.0)\.scale_layers\.0\.", r"\1.dconv_2x2_0."),
    (r"^(sam2_convs\.0)\.scale_layers\.2\.", r"\1.dconv_2x2_1."),
    (r"^(sam2_convs\.1)\.scale_layers\.0\.", r"\1.dconv_2x2."),
    (r"\.proj1\.", ".conv_1x1."),
    (r"\.proj2\.", ".conv_3x3."),
)
_TRACKER_RULES: Rules = (
    (r"^memory_attention\.", "transformer.encoder."),
    (r"^memory_encoder\.", "maskmem_backbone."),
    (r"(transformer\.layers\.\d+\.mlp)\.layers\.0\.", r"\1.lin1."),
    (r"(transformer\.layers\.\d+\.mlp)\.layers\.1\.", r"\1.lin2."),
)


def recognises(state: Mapping[str, Tensor]) -> bool:
    """Whether the names are those of one of these models. transformers 5.23 saves the tracker alone with all names behind `tracker_model.`"""
    return any(name.endswith("vision_encoder.backbone.embeddings.position_embeddings") for name in state)


def to_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tracker, and the part of the detector's vision backbone that it uses, under the names of facebookresearch/sam3.

    What the detector alone uses is left out.
    """
    alone = rename_all(state, _TRACKER_ALONE)
    vision = {name.removeprefix("vision_encoder."): tensor for name, tensor in alone.items() if name.startswith("vision_encoder.")}
    rest = {name: tensor for name, tensor in alone.items() if not name.startswith(("vision_encoder.", "detector_model."))}
    tracked = rename_all(tracker.to_official(rest), _TRACKER_RULES)
    return _vision(vision) | {f"tracker.{name}": tensor for name, tensor in tracked.items()}


def _vision(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    whole = joined(rename_all(state, _VISION_RULES), (".q_proj", ".k_proj", ".v_proj"), ".qkv")
    named = {f"{_VISION}{name}": tensor for name, tensor in whole.items()}
    if _POSITION in named:
        named[_POSITION] = _with_class_token(named[_POSITION])
    return named


def _with_class_token(position: Tensor) -> Tensor:
    """Puts a row before the position embedding: the official one has the class token's, which the trunk skips (sam3/model/vitdet.py:70-77)."""
    return torch.cat((torch.zeros_like(position[:, :1]), position), dim=1)
