"""A variant's whole network under the official parameter names, and the five stages cut from it.

This is the one place that knows which image encoder belongs to which trunk.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from masklet.families import MEMORY_WIDTH, Variant
from masklet_build.models.edgetam import image_encoder as edgetam
from masklet_build.models.edgetam.perceiver import CompressingMemoryEncoder, PerceiverParameters
from masklet_build.models.efficienttam import image_encoder as efficienttam
from masklet_build.models.sam.fine_decoder import FineMaskDecoder
from masklet_build.models.sam.layers import Mlp
from masklet_build.models.sam.mask_decoder import MaskDecoder, MaskDecoderParameters
from masklet_build.models.sam.mask_prompt import MaskPrompt, SoftMaskPrompt
from masklet_build.models.sam.memory_attention import MemoryAttention, MemoryAttentionParameters
from masklet_build.models.sam.memory_encoder import MemoryEncoder, MemoryEncoderParameters, OcclusionMemoryEncoder
from masklet_build.models.sam.prompt_encoder import PromptEncoder
from masklet_build.models.sam2 import image_encoder as sam2
from masklet_build.models.sam3.checkpoint import official_name, tracker_part
from masklet_build.models.sam3.image_encoder import image_encoder
from masklet_build.models.sam3.parameters import VisionBackbone
from masklet_build.models.trunks import Hiera, PlainVit, RepViT, Sam3Vit, Trunk
from masklet_build.models.variants import trunk_of

State = Mapping[str, Tensor]


def _all_of(state: State, variant: Variant) -> State:
    return state


class Backbone(NamedTuple):
    """What makes an image encoder: its parameters, and the stage cut from a network that has them. And how checkpoints with it are written.

    official_name   the name of a parameter of `Network` in an official checkpoint
    used            the part of an official checkpoint that the network uses; raises ValueError
    """

    parameters: Callable[[Variant], nn.Module]
    stage: Callable[[nn.Module, Variant], nn.Module]
    official_name: Callable[[str], str] = str
    used: Callable[[State, Variant], State] = _all_of


BACKBONES: Mapping[type[Trunk], Backbone] = {
    PlainVit: Backbone(efficienttam.Encoder, efficienttam.ImageEncoder),
    Hiera: Backbone(sam2.Encoder, sam2.ImageEncoder),
    Sam3Vit: Backbone(VisionBackbone, image_encoder, official_name, tracker_part),
    RepViT: Backbone(edgetam.Encoder, edgetam.ImageEncoder),
}


class Network(nn.Module):
    """Every parameter of a checkpoint under its official name, so that it loads with strict=True (modeling/efficienttam_base.py:36-257)."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        hidden = variant.hidden
        self.image_encoder = BACKBONES[type(trunk_of(variant))].parameters(variant)
        self.memory_attention = MemoryAttentionParameters(variant)
        self.memory_encoder = MemoryEncoderParameters(hidden)
        if variant.perceiver:
            self.spatial_perceiver = PerceiverParameters(variant.perceiver)
        self.sam_prompt_encoder = PromptEncoder(hidden)
        self.sam_mask_decoder = MaskDecoderParameters(variant)
        self.obj_ptr_proj = Mlp((hidden, hidden, hidden, hidden))
        self.mask_downsample = nn.Conv2d(1, 1, 4, 4)
        self.maskmem_tpos_enc = nn.Parameter(torch.zeros(variant.family.num_memories, 1, 1, MEMORY_WIDTH))
        self.no_mem_embed = nn.Parameter(torch.zeros(1, 1, hidden))
        self.no_mem_pos_enc = nn.Parameter(torch.zeros(1, 1, hidden))  # in every checkpoint, never used
        self.no_obj_ptr = nn.Parameter(torch.zeros(1, hidden))
        if variant.family.occlusion_embedding:
            self.no_obj_embed_spatial = nn.Parameter(torch.zeros(1, MEMORY_WIDTH))
        if variant.family.pointer_time:
            self.obj_ptr_tpos_proj = nn.Linear(hidden, MEMORY_WIDTH)


def build_stages(parameters: Mapping[str, Tensor], variant: Variant) -> dict[str, nn.Module]:
    """The five stages by the names of `masklet.contract.engines`, in evaluation mode; forward takes a contract's inputs in order.

    `parameters`: the state dict under the official names, complete (`masklet_build.checkpoints.loading`).
    """
    network = Network(variant)
    ours = {official: name for name, official in official_names(variant).items()}
    network.load_state_dict({ours.get(name, name): tensor for name, tensor in parameters.items()}, strict=True)
    network.eval().requires_grad_(False)
    stages: dict[str, nn.Module] = {
        "image_encoder": BACKBONES[type(trunk_of(variant))].stage(network, variant),
        "mask_prompt": SoftMaskPrompt(network.mask_downsample) if variant.family.soft_masks else MaskPrompt(network.mask_downsample, variant),
        "memory_attention": _memory_attention(network, variant),
        "mask_decoder": _mask_decoder(network, variant),
        "memory_encoder": _memory_encoder(network, variant),
    }
    return {name: stage.eval().requires_grad_(False) for name, stage in stages.items()}


def _memory_attention(network: Network, variant: Variant) -> nn.Module:
    time = network.obj_ptr_tpos_proj if variant.family.pointer_time else None
    return MemoryAttention(network.memory_attention, network.maskmem_tpos_enc, time, variant)


def _mask_decoder(network: Network, variant: Variant) -> nn.Module:
    decoder = MaskDecoder(
        network.sam_prompt_encoder,
        network.sam_mask_decoder,
        network.obj_ptr_proj,
        network.no_mem_embed,
        network.no_obj_ptr,
        variant,
    )
    return FineMaskDecoder(decoder, variant) if variant.high_res else decoder


def _memory_encoder(network: Network, variant: Variant) -> nn.Module:
    encoder = MemoryEncoder(network.memory_encoder, variant)
    if variant.perceiver:
        return CompressingMemoryEncoder(encoder, network.spatial_perceiver, variant)
    return OcclusionMemoryEncoder(encoder, network.no_obj_embed_spatial) if variant.family.occlusion_embedding else encoder


def network_shapes(variant: Variant) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of the network."""
    with torch.device("meta"):
        state = Network(variant).state_dict()
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def official_names(variant: Variant) -> dict[str, str]:
    """Name of every tensor of the network -> its name in a checkpoint."""
    rename = BACKBONES[type(trunk_of(variant))].official_name
    return {name: rename(name) for name in network_shapes(variant)}


def parameter_shapes(variant: Variant) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of a checkpoint of this variant that the network uses."""
    names = official_names(variant)
    return {names[name]: shape for name, shape in network_shapes(variant).items()}
