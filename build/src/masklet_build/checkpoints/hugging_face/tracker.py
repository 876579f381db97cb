"""Prompt encoder, mask decoder and memory: they are named alike in the transformers models of all families."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from masklet_build.checkpoints.hugging_face.names import Rules, rename_all, split_rows

_HEAD = r"(obj_ptr_proj|iou_prediction_head|pred_obj_score_head|output_hypernetworks_mlps\.\d)"  # three layers each: in, one between, out
_POINTS = "sam_prompt_encoder.point_embeddings"

# transformers name -> official name. `layers.0` of a head is the layer between, hence before `proj_in`.
RULES: Rules = (
    (r"^no_memory_embedding$", "no_mem_embed"),
    (r"^no_memory_positional_encoding$", "no_mem_pos_enc"),
    (r"^memory_temporal_positional_encoding$", "maskmem_tpos_enc"),
    (r"^no_object_pointer$", "no_obj_ptr"),
    (r"^occlusion_spatial_embedding_parameter$", "no_obj_embed_spatial"),
    (r"^temporal_positional_encoding_projection_layer\.", "obj_ptr_tpos_proj."),
    (r"^object_pointer_proj\.", "obj_ptr_proj."),
    # The Fourier code of points is stored twice: transformers uses it for the image as well.
    (
        r"^(shared_image_embedding|prompt_encoder\.shared_embedding)\.positional_embedding$",
        "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",
    ),
    (r"^prompt_encoder\.point_embed\.weight$", _POINTS),
    (r"^prompt_encoder\.", "sam_prompt_encoder."),
    (r"\.mask_embed\.conv1\.", ".mask_downscaling.0."),
    (r"\.mask_embed\.layer_norm1\.", ".mask_downscaling.1."),
    (r"\.mask_embed\.conv2\.", ".mask_downscaling.3."),
    (r"\.mask_embed\.layer_norm2\.", ".mask_downscaling.4."),
    (r"\.mask_embed\.conv3\.", ".mask_downscaling.6."),
    (r"^mask_decoder\.", "sam_mask_decoder."),
    (r"\.upscale_conv1\.", ".output_upscaling.0."),
    (r"\.upscale_layer_norm\.", ".output_upscaling.1."),
    (r"\.upscale_conv2\.", ".output_upscaling.3."),
    (rf"{_HEAD}\.layers\.0\.", r"\1.layers.1."),
    (rf"{_HEAD}\.proj_in\.", r"\1.layers.0."),
    (rf"{_HEAD}\.proj_out\.", r"\1.layers.2."),
    (r"(transformer\.layers\.\d+\.mlp)\.proj_in\.", r"\1.layers.0."),
    (r"(transformer\.layers\.\d+\.mlp)\.proj_out\.", r"\1.layers.1."),
    *((rf"\.mask_downsampler\.layers\.{i}\.conv\.", f".mask_downsampler.encoder.{3 * i}.") for i in range(4)),
    *((rf"\.mask_downsampler\.layers\.{i}\.layer_norm\.", f".mask_downsampler.encoder.{3 * i + 1}.") for i in range(4)),
    (r"\.mask_downsampler\.final_conv\.", ".mask_downsampler.encoder.12."),
    (r"^memory_encoder\.feature_projection\.", "memory_encoder.pix_feat_proj."),
    (r"^memory_encoder\.projection\.", "memory_encoder.out_proj."),
    (r"^memory_encoder\.memory_fuser\.", "memory_encoder.fuser."),
    (r"\.depthwise_conv\.", ".dwconv."),
    (r"\.pointwise_conv(\d)\.", r".pwconv\1."),
    (r"^(memory_encoder\.fuser\.layers\.\d+)\.scale$", r"\1.gamma"),
    (r"\.o_proj\.", ".out_proj."),
    (r"\.layer_norm", ".norm"),
)


def to_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Everything but the image encoder under the official names of SAM 2. Other names pass unchanged but for `o_proj` and `layer_norm`."""
    return split_rows(rename_all(state, RULES), _POINTS, (f"{_POINTS}.{i}.weight" for i in range(4)))
