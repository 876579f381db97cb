"""EfficientTAM as plain eager PyTorch, object by object in the official order: what masklet's speed is compared with.

In the shape of the official code (commit in `masklet.families`): values are projected, the rotary code turns interleaved pairs as complex numbers,
windows are cut from a padded map, all masks are multiplied out and upsampled. It shares only parameters and constant tables with masklet's stages.
Prompts are single clicks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from masklet.families import MEMORY_WIDTH, Variant
from masklet_build.models.network import Network
from masklet_build.models.sam.layers import LayerNorm2d, Projections
from masklet_build.models.sam.mask_decoder import HEADS, TwoWayBlock
from masklet_build.models.sam.memory_attention import LayerParameters
from masklet_build.models.sam.tables import dense_code, fourier_code, resized_position_embedding, rotary_table, sine_table
from masklet_build.models.trunks import PlainVit
from masklet_build.models.variants import trunk_of


@dataclass(frozen=True)
class Decoded:
    """A decoded mask: low-resolution logits [1, 1, L, L], the same at image size [1, 1, S, S], presence logit [1, 1], pointer [1, hidden]."""

    low: Tensor
    high: Tensor
    score: Tensor
    pointer: Tensor


class Eager:
    """The stages for one object, in float32 or under autocast. Raises ValueError for variants that pool their memory, and for other families'."""

    @torch.no_grad()
    def __init__(self, parameters: Mapping[str, Tensor], variant: Variant, device: str = "cpu") -> None:
        """`parameters`: the official state dict, complete."""
        if variant.pooling != "none" or not isinstance(trunk_of(variant), PlainVit):
            raise ValueError(f"{variant.name} pools its memory or is no EfficientTAM, which this comparison does not do.")
        self.variant, self.trunk = variant, trunk_of(variant)
        self.network = Network(variant)
        self.network.load_state_dict(dict(parameters))
        self.network.eval()  # its weights require gradients, else autocast would cast each of them at every use
        grid, encoder = variant.grid, self.network.sam_prompt_encoder
        self.trunk_position = resized_position_embedding(self.network.image_encoder.trunk.pos_embed, grid)
        self.position = sine_table(variant.hidden, grid).flatten(1).T[None]
        self.memory_position = sine_table(MEMORY_WIDTH, grid).flatten(1).T
        self.turns = torch.complex(*rotary_table(grid, variant.hidden))
        self.code = dense_code(encoder.pe_layer.positional_encoding_gaussian_matrix, grid)[None]
        self.device = torch.device(device)
        self.network.to(self.device)
        for table in ("trunk_position", "position", "memory_position", "turns", "code"):
            setattr(self, table, getattr(self, table).to(self.device))

    def normalised(self, image: np.ndarray) -> Tensor:
        """uint8 [S, S, 3] -> [1, 3, S, S]; the official predictor does this for all frames when a video is loaded."""
        family = self.variant.family
        pixels = (torch.from_numpy(image).float() / 255.0 - torch.tensor(family.pixel_mean)) / torch.tensor(family.pixel_std)
        return pixels.permute(2, 0, 1)[None].contiguous().to(self.device)

    def embed(self, pixels: Tensor) -> Tensor:
        """[1, 3, S, S] -> [1, hidden, G, G]."""
        trunk, neck = self.network.image_encoder.trunk, self.network.image_encoder.neck.convs[0]
        x = trunk.patch_embed(pixels).permute(0, 2, 3, 1) + self.trunk_position
        for index, block in enumerate(trunk.blocks):
            y = block.norm1(x)
            side = self.trunk.window_size if index in self.trunk.window_blocks else self.variant.grid
            x = x + _windowed(block.attn, y, side, self.trunk.num_heads)
            x = x + block.mlp(block.norm2(x))
        y = _norm_channels(neck.conv_1x1(x.permute(0, 3, 1, 2)), neck.norm_0)
        return _norm_channels(neck.conv_3x3(y), neck.norm_1)

    def attend(self, embedding: Tensor, memories: Sequence[Tensor], slots: Sequence[int], pointers: Sequence[Tensor]) -> Tensor:
        """Embedding, F memories [T, 64] with their rows of the temporal code, P pointers [1, hidden] -> conditioned [1, hidden, G, G]."""
        network, grid = self.network.memory_attention, self.variant.grid
        codes = [self.memory_position + self.network.maskmem_tpos_enc[slot, 0] for slot in slots]
        tokens = torch.cat(list(pointers)).reshape(-1, MEMORY_WIDTH)
        memory = torch.cat([*memories, tokens])[None]  # bfloat16 memories become float32 beside the pointers
        position = torch.cat([*codes, torch.zeros_like(tokens)])[None]
        x = embedding.flatten(2).transpose(1, 2) + 0.1 * self.position
        for layer in network.layers:
            x = self._layer(layer, x, memory, position, len(tokens))
        return network.norm(x).transpose(1, 2).reshape(1, -1, grid, grid)

    def _layer(self, layer: LayerParameters, x: Tensor, memory: Tensor, position: Tensor, unturned: int) -> Tensor:
        y = layer.norm1(x)
        x = x + self._turned_attention(layer.self_attn, y, y, y, 0)
        x = x + self._turned_attention(layer.cross_attn_image, layer.norm2(x), memory + position, memory, unturned)
        return x + layer.linear2(torch.relu(layer.linear1(layer.norm3(x))))

    def _turned_attention(self, attention: Projections, q: Tensor, k: Tensor, v: Tensor, unturned: int) -> Tensor:
        """One head with the rotary code; the last `unturned` keys are left as they are."""
        q, k, v = attention.q_proj(q)[:, None], attention.k_proj(k)[:, None], attention.v_proj(v)[:, None]
        turned = k.shape[2] - unturned
        turns = self.turns[None, None]
        q = _turn(q, turns)
        k[:, :, :turned] = _turn(k[:, :, :turned], turns[:, :, None].expand(-1, -1, turned // q.shape[2], -1, -1).flatten(2, 3))
        return attention.out_proj(functional.scaled_dot_product_attention(q, k, v)[:, 0])

    def decode(self, features: Tensor, point: Tensor | None) -> Decoded:
        """Features [1, hidden, G, G]; a click [2] in model pixels, or None. The best of three masks, as for every tracked frame and single click."""
        network, grid = self.network.sam_mask_decoder, self.variant.grid
        own = torch.cat((network.obj_score_token.weight, network.iou_token.weight, network.mask_tokens.weight))[None]
        start = torch.cat((own, self._prompt_tokens(point)), dim=1)
        dense = self.network.sam_prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1).expand_as(features)
        tokens, image = self._two_way(start, (features + dense).flatten(2).transpose(1, 2))
        wide, norm, gelu, fine, last = network.output_upscaling
        x = gelu(_norm_channels(wide(image.transpose(1, 2).reshape(1, -1, grid, grid)), norm))
        x = last(fine(x))
        factors = torch.stack([mlp(tokens[:, 2 + index]) for index, mlp in enumerate(network.output_hypernetworks_mlps)], dim=1)
        masks = (factors @ x.flatten(2)).reshape(1, -1, 4 * grid, 4 * grid)
        ious = torch.sigmoid(network.iou_prediction_head(tokens[:, 1]))
        return self._chosen(masks[:, 1:], ious[:, 1:], tokens[:, 3:6], network.pred_obj_score_head(tokens[:, 0]))

    def _chosen(self, masks: Tensor, ious: Tensor, tokens: Tensor, score: Tensor) -> Decoded:
        """The best of three, gated by presence. All three are upsampled first, as officially."""
        seen = score > 0
        masks = torch.where(seen[:, None, None], masks, self.variant.family.no_object_score)
        high = functional.interpolate(masks, (self.variant.image_size,) * 2, mode="bilinear", align_corners=False)
        best = ious.argmax(dim=1)  # stays on the device, as officially: nobody waits for it
        pointer = seen.float() * self.network.obj_ptr_proj(tokens.index_select(1, best)[:, 0]) + (1 - seen.float()) * self.network.no_obj_ptr
        return Decoded(masks.index_select(1, best), high.index_select(1, best), score, pointer)

    def _prompt_tokens(self, point: Tensor | None) -> Tensor:
        """A click and the padding point, or two padding points, as [1, 2, hidden]."""
        encoder = self.network.sam_prompt_encoder
        padding = encoder.not_a_point_embed.weight[None]
        if point is None:
            return torch.cat((padding, padding), dim=1)
        code = fourier_code((point + 0.5) / self.variant.image_size, encoder.pe_layer.positional_encoding_gaussian_matrix)
        return torch.cat((code[None, None] + encoder.point_embeddings[1].weight, padding), dim=1)

    def _two_way(self, start: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens and image [1, T, hidden] attend to each other."""
        transformer, tokens = self.network.sam_mask_decoder.transformer, start
        for index, block in enumerate(transformer.layers):
            tokens, image = _two_way_block(block, tokens, image, start, self.code, first=index == 0)
        attended = _many_heads(transformer.final_attn_token_to_image, tokens + start, image + self.code, image)
        return transformer.norm_final_attn(tokens + attended), image

    def memory(self, embedding: Tensor, high: Tensor, prompted: bool) -> Tensor:
        """Embedding and mask logits [1, 1, S, S] -> memory [T, 64]."""
        network, family = self.network.memory_encoder, self.variant.family
        mask = (high > 0).float() if prompted else torch.sigmoid(high)
        mask = mask * family.sigmoid_scale + family.sigmoid_bias
        for layer in network.mask_downsampler.encoder:
            mask = _norm_channels(mask, layer) if isinstance(layer, LayerNorm2d) else layer(mask)
        x = network.pix_feat_proj(embedding) + mask
        for block in network.fuser.layers:
            y = _norm_channels(block.dwconv(x), block.norm).permute(0, 2, 3, 1)
            y = block.gamma * block.pwconv2(functional.gelu(block.pwconv1(y)))
            x = x + y.permute(0, 3, 1, 2)
        return network.out_proj(x)[0].flatten(1).T


def _turn(x: Tensor, turns: Tensor) -> Tensor:
    """Interleaved pairs [1, 1, n, hidden] times complex numbers [1, 1, n, hidden / 2]."""
    return torch.view_as_real(torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2)) * turns).flatten(3).type_as(x)


def _norm_channels(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    """Norm over the channels of an NCHW map, written out as officially (modeling/efficienttam_utils.py:141-153)."""
    mean = x.mean(1, keepdim=True)
    variance = (x - mean).pow(2).mean(1, keepdim=True)
    return norm.weight[:, None, None] * ((x - mean) / torch.sqrt(variance + norm.eps)) + norm.bias[:, None, None]


def _windowed(attention: nn.Module, x: Tensor, side: int, heads: int) -> Tensor:
    """Self-attention [1, G, G, E] in windows of a map that is padded with zeros."""
    grid, width = x.shape[1], x.shape[3]
    count = -(-grid // side)
    margin = count * side - grid
    x = functional.pad(x, (0, 0, 0, margin, 0, margin))
    x = x.view(1, count, side, count, side, width).permute(0, 1, 3, 2, 4, 5).reshape(-1, side * side, width)
    q, k, v = attention.qkv(x).reshape(len(x), side * side, 3, heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
    x = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(len(x), side * side, width)
    x = attention.proj(x).reshape(1, count, count, side, side, width).permute(0, 1, 3, 2, 4, 5)
    return x.reshape(1, count * side, count * side, width)[:, :grid, :grid]


def _many_heads(attention: Projections, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    q, k, v = (x.reshape(1, x.shape[1], HEADS, -1).transpose(1, 2) for x in (attention.q_proj(q), attention.k_proj(k), attention.v_proj(v)))
    return attention.out_proj(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


def _two_way_block(block: TwoWayBlock, tokens: Tensor, image: Tensor, start: Tensor, code: Tensor, first: bool) -> tuple[Tensor, Tensor]:
    if first:
        tokens = block.norm1(_many_heads(block.self_attn, tokens, tokens, tokens))
    else:
        tokens = block.norm1(tokens + _many_heads(block.self_attn, tokens + start, tokens + start, tokens))
    tokens = block.norm2(tokens + _many_heads(block.cross_attn_token_to_image, tokens + start, image + code, image))
    tokens = block.norm3(tokens + block.mlp(tokens))
    image = block.norm4(image + _many_heads(block.cross_attn_image_to_token, image + code, tokens + start, tokens))
    return tokens, image
