"""`EdgeTamVideoModel` of transformers."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from masklet_build.checkpoints.hugging_face import tracker
from masklet_build.checkpoints.hugging_face.names import Rules, joined, rename_all

_LAYER = r"^(spatial_perceiver\.layers\.\d+)"

_RULES: Rules = (
    (r"^vision_encoder\.backbone\.(timm_model\.)?", "image_encoder.trunk.body."),
    (r"^vision_encoder\.neck\.convs\.(\d)\.", r"image_encoder.neck.convs.\1.conv."),
    (r"^(memory_attention\.layers\.\d+)\.mlp\.up_proj\.", r"\1.linear1."),
    (r"^(memory_attention\.layers\.\d+)\.mlp\.down_proj\.", r"\1.linear2."),
    (r"^spatial_perceiver\.latents_1d$", "spatial_perceiver.latents"),
    (rf"{_LAYER}\.layer_norm_input\.", r"\1.attn.norm_x."),
    (rf"{_LAYER}\.layer_norm_latents\.", r"\1.attn.norm_latents."),
    (rf"{_LAYER}\.layer_norm_self\.", r"\1.self_attn.norm."),
    (rf"{_LAYER}\.cross_attention\.", r"\1.attn."),
    (rf"{_LAYER}\.self_attention\.", r"\1.self_attn."),
    (rf"{_LAYER}\.(self_)?attn\.q_proj\.", r"\1.\2attn.to_q."),
    (rf"{_LAYER}\.(self_)?attn\.o_proj\.", r"\1.\2attn.to_out."),
    (rf"{_LAYER}\.(self_)?attn\.(k|v)_proj\.", r"\1.\2attn.perceiver_\3."),
    (rf"{_LAYER}\.(self_)?mlp\.layer_norm\.", r"\1.\2ff.0."),
    (rf"{_LAYER}\.(self_)?mlp\.up_proj\.", r"\1.\2ff.1."),
    (rf"{_LAYER}\.(self_)?mlp\.down_proj\.", r"\1.\2ff.3."),
)


def recognises(state: Mapping[str, Tensor]) -> bool:
    """Whether the names are those of this model."""
    return "spatial_perceiver.latents_1d" in state


def to_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state under the names of facebookresearch/EdgeTAM."""
    return tracker.to_official(joined(rename_all(state, _RULES), (".perceiver_k", ".perceiver_v"), ".to_kv"))
