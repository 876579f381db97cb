"""Models of Hugging Face transformers, and ours with the same weights. Nothing is downloaded: they are built from configurations."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import torch
import transformers

from masklet.families import Variant
from masklet_build.checkpoints.hugging_face import to_official
from masklet_build.checkpoints.random_weights import random_checkpoint
from masklet_build.models.network import BACKBONES
from masklet_build.models.stages import TorchStages
from masklet_build.models.variants import trunk_of, variant


class Pair(NamedTuple):
    """A model of transformers, its weights in our stages, and our variant."""

    theirs: Any
    ours: TorchStages
    variant: Variant


def sam2_model(wanted: Variant) -> Any:
    """transformers' counterpart of a variant of SAM 2 or 2.1, with its initial weights."""
    trunk, grid, side = trunk_of(wanted), wanted.grid, wanted.image_size
    widths = [trunk.embed_dim << stage for stage in range(4)]
    backbone = transformers.Sam2HieraDetConfig(
        image_size=[side, side],
        hidden_size=trunk.embed_dim,
        num_attention_heads=trunk.num_heads,
        embed_dim_per_stage=widths,
        num_attention_heads_per_stage=[trunk.num_heads << stage for stage in range(4)],
        blocks_per_stage=list(trunk.stages),
        window_size_per_stage=list(trunk.windows),
        global_attention_blocks=list(trunk.global_blocks),
        window_positional_embedding_background_size=[trunk.background, trunk.background],
    )
    vision = transformers.Sam2VisionConfig(backbone_config=backbone, backbone_channel_list=widths[::-1], backbone_feature_sizes=_levels(grid))
    config = transformers.Sam2VideoConfig(
        vision_config=vision,
        prompt_encoder_config=transformers.Sam2VideoPromptEncoderConfig(image_size=side),
        mask_decoder_config=transformers.Sam2VideoMaskDecoderConfig(),
        image_size=side,
        memory_attention_rope_feat_sizes=[grid, grid],
        enable_temporal_pos_encoding_for_object_pointers=wanted.family.pointer_time,
        enable_occlusion_spatial_embedding=wanted.family.occlusion_embedding,
    )
    return transformers.Sam2VideoModel(config)


def sam3_config(wanted: Variant) -> Any:
    """transformers' configuration of a SAM 3 tracker. Its default of layer_norm_eps is 1e-6, that of the official trunk 1e-5."""
    trunk, grid, side = trunk_of(wanted), wanted.grid, wanted.image_size
    backbone = transformers.Sam3ViTConfig(
        image_size=side,
        hidden_size=trunk.embed_dim,
        num_attention_heads=trunk.num_heads,
        intermediate_size=int(trunk.mlp_ratio * trunk.embed_dim),
        num_hidden_layers=trunk.depth,
        global_attn_indexes=list(trunk.global_blocks),
        window_size=trunk.window_size,
        layer_norm_eps=1e-5,
    )
    config = transformers.Sam3TrackerVideoConfig(
        vision_config=transformers.Sam3VisionConfig(backbone_config=backbone, backbone_feature_sizes=_levels(grid)),
        prompt_encoder_config=transformers.Sam3TrackerVideoPromptEncoderConfig(image_size=side),
        mask_decoder_config=transformers.Sam3TrackerVideoMaskDecoderConfig(),
        memory_attention_rope_feat_sizes=[grid, grid],
    )
    config.image_size = side
    return config


def sam3_model(wanted: Variant) -> Any:
    """transformers' counterpart of a SAM 3 tracker, with its initial weights."""
    return transformers.Sam3TrackerVideoModel(sam3_config(wanted))


def sam3_with_detector(wanted: Variant) -> Any:
    """The model whose weights are published, detector and tracker."""
    tracker = sam3_config(wanted)
    detector = transformers.Sam3Config(vision_config=tracker.vision_config)
    return transformers.Sam3VideoModel(transformers.Sam3VideoConfig(detector_config=detector, tracker_config=tracker))


def pair(wanted: Variant, make: Callable[[Variant], Any]) -> Pair:
    """The model of transformers with noise on every tensor, and ours with its weights."""
    torch.manual_seed(0)
    model = make(wanted).eval().requires_grad_(False)
    for tensor in model.parameters():
        tensor += 0.02 * torch.randn(tensor.shape)
    model.prompt_encoder.shared_embedding.positional_embedding.copy_(model.shared_image_embedding.positional_embedding)  # one in every checkpoint
    model.mask_decoder.pred_obj_score_head.proj_out.bias += 5  # else no object is present, and every mask is empty
    state = BACKBONES[type(trunk_of(wanted))].used(to_official(model.state_dict()), wanted)
    if wanted.perceiver:  # see edgetam_model
        state = random_checkpoint(wanted, seed=0) | {name: tensor for name, tensor in state.items() if not name.startswith("image_encoder.")}
    return Pair(model, TorchStages(state, wanted), wanted)


def edgetam_model(wanted: Variant) -> Any:
    """transformers' counterpart of EdgeTAM, but with another trunk: its own is taken from timm, which is not installed here."""
    grid, side = wanted.grid, wanted.image_size
    widths = [96, 192, 384, 768]
    backbone = transformers.Sam2HieraDetConfig(image_size=[side, side], blocks_per_stage=[1, 1, 1, 1], global_attention_blocks=[3])
    vision = transformers.EdgeTamVisionConfig(backbone_config=backbone, backbone_channel_list=widths[::-1], backbone_feature_sizes=_levels(grid))
    config = transformers.EdgeTamVideoConfig(
        vision_config=vision,
        prompt_encoder_config=transformers.EdgeTamVideoPromptEncoderConfig(image_size=side),
        mask_decoder_config=transformers.EdgeTamVideoMaskDecoderConfig(),
        image_size=side,
        memory_attention_rope_feat_sizes=[grid, grid],
        enable_temporal_pos_encoding_for_object_pointers=False,
        enable_occlusion_spatial_embedding=False,
    )
    return transformers.EdgeTamVideoModel(config)


@lru_cache(maxsize=1)  # of up to a gigabyte
def made(name: str) -> Pair:
    """A pair for the name of a variant, scaled down."""
    wanted = variant(name)
    return pair(wanted, next(make for family, make in MODELS.items() if wanted.family.name.startswith(family)))


def _levels(grid: int) -> list[list[int]]:
    return [[scale * grid, scale * grid] for scale in (4, 2, 1)]


MODELS = {"sam2": sam2_model, "sam3": sam3_model, "edgetam": edgetam_model}
