"""`Sam2VideoModel` of transformers: SAM 2 and SAM 2.1."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from masklet_build.checkpoints.hugging_face import tracker
from masklet_build.checkpoints.hugging_face.names import Rules, rename_all

_RULES: Rules = (
    (r"^vision_encoder\.backbone\.", "image_encoder.trunk."),
    (r"^(image_encoder\.trunk\.patch_embed)\.projection\.", r"\1.proj."),
    (r"^(image_encoder\.trunk\.blocks\.\d+\.mlp)\.proj_in\.", r"\1.layers.0."),
    (r"^(image_encoder\.trunk\.blocks\.\d+\.mlp)\.proj_out\.", r"\1.layers.1."),
    (r"^vision_encoder\.neck\.convs\.(\d)\.", r"image_encoder.neck.convs.\1.conv."),
)


def recognises(state: Mapping[str, Tensor]) -> bool:
    """Whether the names are those of this model."""
    return "vision_encoder.backbone.pos_embed_window" in state


def to_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state under the names of facebookresearch/sam2."""
    return tracker.to_official(rename_all(state, _RULES))
