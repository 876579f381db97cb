"""The network with gradients: the stages' arithmetic on the official parameters, without the rewritings that only inference needs.

Tokens stay [batch, tokens, channels] throughout. C clips of O objects are B = C * O rows, the objects of a clip one after another; the image is
encoded once per clip and frame. Every method works at any image size that is a multiple of the stride, so that training can begin with small images.
A test holds each method against the stage of the same name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from masklet.families import MEMORY_WIDTH, Variant
from masklet_build.models.efficienttam.image_encoder import TrunkBlock
from masklet_build.models.network import Network
from masklet_build.models.sam.layers import Projections, image_of, tokens_of
from masklet_build.models.sam.layers import attention as dense_attention
from masklet_build.models.sam.mask_decoder import MASK_TOKENS, in_image_order
from masklet_build.models.sam.memory_attention import LayerParameters
from masklet_build.models.sam.tables import dense_code, resized_position_embedding, rotary_table, sine_table
from masklet_build.models.trunks import PlainVit
from masklet_build.models.variants import trunk_of


@dataclass(frozen=True)
class Decoded:
    """What the decoder says of B objects, before any gating and choice.

    logits  [B, 4, L, L] of the single mask and the three to choose from
    iou     [B, 4] predicted IoU of each, 0..1
    score   [B] presence logit
    tokens  [B, 4, hidden] of which a pointer is made
    """

    logits: Tensor
    iou: Tensor
    score: Tensor
    tokens: Tensor


@dataclass(frozen=True)
class Memory:
    """One remembered frame of B objects: memory [B, T, 64], its row of the temporal code, pointer [B, hidden]."""

    memory: Tensor
    pointer: Tensor


@dataclass(frozen=True)
class Prompt:
    """Prompts of B objects: points [B, N, 2] in model pixels, labels [B, N]; logits [B, 1, L, L] of a mask prompt, or None."""

    points: Tensor
    labels: Tensor
    logits: Tensor | None = None


class Trainable(nn.Module):
    """Every parameter of a checkpoint, with the methods that a training step calls."""

    def __init__(self, variant: Variant) -> None:
        """Raises ValueError for variants that pool their memory or cut windows, and for other trunks: those are trained by their authors."""
        super().__init__()
        trunk = trunk_of(variant)
        if variant.pooling != "none" or not isinstance(trunk, PlainVit) or trunk.window_blocks:
            raise ValueError(f"{variant.name} cannot be trained here: only variants without pooled memory and without windows.")
        self.variant = variant
        self.network = Network(variant)

    def embed(self, images: Tensor) -> Tensor:
        """uint8 [n, S, S, 3] -> image tokens [n, T, hidden]."""
        trunk, neck = self.network.image_encoder.trunk, self.network.image_encoder.neck.convs[0]
        family = self.variant.family
        mean, std = (torch.tensor(values, device=images.device) for values in (family.pixel_mean, family.pixel_std))
        pixels = ((images.float() / 255.0 - mean) / std).permute(0, 3, 1, 2)
        grid = images.shape[1] // self.variant.stride
        x = tokens_of(trunk.patch_embed(pixels), grid, trunk.pos_embed.shape[-1])
        x = x + resized_position_embedding(trunk.pos_embed, grid).flatten(1, 2)
        for block in trunk.blocks:
            x = _trunk_block(block, x)
        x = neck.norm_0(functional.linear(x, neck.conv_1x1.weight.flatten(1)))
        return tokens_of(neck.norm_1(neck.conv_3x3(image_of(x, grid, self.variant.hidden))), grid, self.variant.hidden)

    def attend(self, image: Tensor, objects: int, memories: Sequence[Memory], slots: Sequence[int], pointers: Sequence[Tensor]) -> Tensor:
        """Image tokens [C, T, hidden] of clips with `objects` objects each, F memories with their slots, P pointers -> conditioned [B, T, hidden]."""
        grid = _grid(image)
        tables = _tables(grid, self.variant.hidden, image.device)
        codes = self.network.maskmem_tpos_enc.flatten(0, 2)
        spatial = torch.cat([memory.memory for memory in memories], dim=1)
        place = torch.cat([tables.memory_position + codes[slot] for slot in slots])
        tokens = torch.cat([pointer.reshape(len(pointer), -1, MEMORY_WIDTH) for pointer in pointers], dim=1)
        keys, values = torch.cat((spatial + place, tokens), dim=1), torch.cat((spatial, tokens), dim=1)
        first, *others = self.network.memory_attention.layers
        x = _attend_self(first, image + 0.1 * tables.position, tables).repeat_interleave(objects, dim=0)
        x = _attend_memory(first, x, keys, values, spatial.shape[1], tables)
        for layer in others:
            x = _attend_memory(layer, _attend_self(layer, x, tables), keys, values, spatial.shape[1], tables)
        out: Tensor = self.network.memory_attention.norm(x)
        return out

    def decode(self, features: Tensor, prompt: Prompt | None, *, memoryless: bool) -> Decoded:
        """Features [B, T, hidden] and a prompt, or none -> masks. memoryless: the features are of a clicked frame that nothing conditions."""
        prompts, decoder, at = self.network.sam_prompt_encoder, self.network.sam_mask_decoder, self._at(features)
        rows, grid = len(features), at.grid
        image = features + self.network.no_mem_embed if memoryless else features
        if prompt is not None and prompt.logits is not None:
            image = image + tokens_of(prompts.mask_downscaling(prompt.logits), grid, at.hidden)
        else:
            image = image + prompts.no_mask_embed.weight
        points, labels = _padded(prompt, rows, features.device)
        code = dense_code(prompts.pe_layer.positional_encoding_gaussian_matrix, grid)
        start = decoder.start_tokens(prompts.tokens(points, labels, at))
        tokens, image = decoder.transformer(start, image, code)
        masks = tokens[:, 2 : 2 + MASK_TOKENS]
        factors = torch.stack([mlp(masks[:, i]) for i, mlp in enumerate(decoder.output_hypernetworks_mlps)], dim=1)
        logits = (factors @ decoder.upscale(image).transpose(1, 2)).flatten(0, 1)
        return Decoded(
            in_image_order(logits, grid).unflatten(0, (rows, MASK_TOKENS)).float(),
            torch.sigmoid(decoder.iou_prediction_head(tokens[:, 1]).float()),
            decoder.pred_obj_score_head(tokens[:, 0])[:, 0].float(),
            masks,
        )

    def pointer(self, token: Tensor, present: Tensor) -> Tensor:
        """Mask tokens [B, hidden] and whether each object is present, bool [B] -> pointers [B, hidden]."""
        return torch.where(present[:, None], self.network.obj_ptr_proj(token), self.network.no_obj_ptr)

    def encode(self, image: Tensor, objects: int, logits: Tensor, *, binarise: bool) -> Tensor:
        """Image tokens [C, T, hidden] and mask logits [B, L, L] -> memories [B, T, 64]."""
        encoder, family, grid = self.network.memory_encoder, self.variant.family, _grid(image)
        high = functional.interpolate(logits[:, None], scale_factor=self.variant.stride // 4, mode="bilinear", align_corners=False)
        mask = (high > 0).float() if binarise else torch.sigmoid(high)
        features = encoder.pix_feat_proj(image_of(image, grid, self.variant.hidden)).repeat_interleave(objects, dim=0)
        x = features + encoder.mask_downsampler.encoder(mask * family.sigmoid_scale + family.sigmoid_bias)
        for block in encoder.fuser.layers:
            x = block(x)
        return tokens_of(encoder.out_proj(x), grid, MEMORY_WIDTH)

    def _at(self, features: Tensor) -> Variant:
        """The variant at the image size of these features."""
        return replace(self.variant, image_size=_grid(features) * self.variant.stride)


def state(model: Trainable) -> Mapping[str, Tensor]:
    """The parameters under the names of a checkpoint."""
    return model.network.state_dict()


def _grid(tokens: Tensor) -> int:
    return round(tokens.shape[1] ** 0.5)


@dataclass(frozen=True)
class _Tables:
    position: Tensor  # [T, hidden]
    memory_position: Tensor  # [T, 64]
    cosine: Tensor  # [T, hidden / 2]
    sine: Tensor


@lru_cache
def _tables(grid: int, hidden: int, device: torch.device) -> _Tables:
    cosine, sine = rotary_table(grid, hidden)
    position, memory = (tokens_of(sine_table(width, grid), grid, width)[0] for width in (hidden, MEMORY_WIDTH))
    return _Tables(*(table.to(device) for table in (position, memory, cosine, sine)))


def _trunk_block(block: TrunkBlock, x: Tensor) -> Tensor:
    """A global block: [n, T, E] -> the same."""
    attention = block.attn
    q, k, v = attention.qkv(block.norm1(x)).reshape(*x.shape[:2], 3, attention.heads, attention.width).permute(2, 0, 3, 1, 4)
    y = dense_attention(q * attention.width**-0.5, k, v).transpose(1, 2).flatten(2)
    x = x + attention.proj(y)
    out: Tensor = x + block.mlp(block.norm2(x))
    return out


def _attend_self(layer: LayerParameters, x: Tensor, tables: _Tables) -> Tensor:
    y = layer.norm1(x)
    return x + _rotary_attention(layer.self_attn, y, y, y, y.shape[1], tables)


def _attend_memory(layer: LayerParameters, x: Tensor, keys: Tensor, values: Tensor, turned: int, tables: _Tables) -> Tensor:
    x = x + _rotary_attention(layer.cross_attn_image, layer.norm2(x), keys, values, turned, tables)
    out: Tensor = x + layer.linear2(torch.relu(layer.linear1(layer.norm3(x))))
    return out


def _rotary_attention(source: Projections, q: Tensor, k: Tensor, v: Tensor, turned: int, tables: _Tables) -> Tensor:
    """One head; all queries and the first `turned` keys get the rotary code, which repeats with every remembered frame."""
    q = _turn(_halves(source.q_proj, q), tables)
    k = _halves(source.k_proj, k)
    k = torch.cat((_turn(k[:, :turned], tables), k[:, turned:]), dim=1)
    v = source.v_proj(v)
    q = q * q.shape[-1] ** -0.5
    out: Tensor = source.out_proj(dense_attention(q[:, None].to(v.dtype), k[:, None].to(v.dtype), v[:, None])[:, 0])
    return out


def _halves(projection: nn.Linear, x: Tensor) -> Tensor:
    """The projection with even output channels first, then the odd ones: products of queries with keys stay the same."""
    weight, bias = projection.weight, projection.bias
    weight, bias = (torch.cat((values[0::2], values[1::2])) for values in (weight, bias))
    return functional.linear(x, weight, bias)


def _turn(x: Tensor, tables: _Tables) -> Tensor:
    """Turns the halves of [n, frames * T, hidden] by the tables of T places."""
    by_frame = x.unflatten(1, (-1, len(tables.cosine)))
    a, b = by_frame.chunk(2, dim=-1)
    turned = torch.cat((a * tables.cosine - b * tables.sine, a * tables.sine + b * tables.cosine), dim=-1)
    return turned.flatten(1, 2)


def _padded(prompt: Prompt | None, rows: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Points and labels with the padding token that ends every prompt; two of them where there is no point."""
    if prompt is None or prompt.points.shape[1] == 0:
        return torch.zeros(rows, 2, 2, device=device), torch.full((rows, 2), -1, device=device)
    points = torch.cat((prompt.points, torch.zeros(rows, 1, 2, device=device)), dim=1)
    labels = torch.cat((prompt.labels, torch.full((rows, 1), -1, device=device)), dim=1)
    return points, labels
