"""Mask decoder with the prompt encoder in front: two-way transformer, mask, IoU, presence and pointer, and the choice between masks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from masklet.contract import KIND_CLICK, KIND_MASK
from masklet.families import Variant
from masklet_build.models.sam.layers import Attending, Doubling, LayerNorm2d, Mlp, Projections, tokens_of
from masklet_build.models.sam.prompt_encoder import PromptEncoder
from masklet_build.models.sam.tables import dense_code

HEADS = 8
MASK_TOKENS = 4  # the single mask, and three to choose from
MASK_WIDTH = 32  # channels of the upscaled features, an eighth of the official 256 (modeling/sam/mask_decoder.py:72)
MASK_PROMPT_LOGIT = 10.0  # presence logit of a user's mask (modeling/efficienttam_base.py:417-467)


class ManyHeads(Projections, Attending):
    """Attention of eight heads; queries, keys and values are given one by one (modeling/sam/transformer.py:178-251)."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """[B, tokens, hidden] each -> as q."""
        inner = self.q_proj.out_features
        width = inner // HEADS
        q, k, v = (x.reshape(x.shape[0], -1, HEADS, width).transpose(1, 2) for x in (self.q_proj(q), self.k_proj(k), self.v_proj(v)))
        attended = self.core(q * width**-0.5, k, v).transpose(1, 2)
        out: Tensor = self.out_proj(attended.reshape(attended.shape[0], -1, inner))
        return out


class TwoWayBlock(nn.Module):
    """Tokens and image attend to each other; norms follow the sums (modeling/sam/transformer.py:113-175)."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        hidden = variant.hidden
        self.self_attn = ManyHeads(hidden, hidden, hidden)
        self.norm1 = nn.LayerNorm(hidden)
        self.cross_attn_token_to_image = ManyHeads(hidden, hidden // 2, hidden)
        self.norm2 = nn.LayerNorm(hidden)
        self.mlp = Mlp((hidden, variant.feed_forward, hidden))
        self.norm3 = nn.LayerNorm(hidden)
        self.norm4 = nn.LayerNorm(hidden)
        self.cross_attn_image_to_token = ManyHeads(hidden, hidden // 2, hidden)

    def forward(self, tokens: Tensor, image: Tensor, start: Tensor, code: Tensor, first: bool) -> tuple[Tensor, Tensor]:
        """Tokens [B, n, hidden] and image [B, T, hidden]. `start`: the tokens as they entered the transformer, which serve as their position.

        The first block attends without position and without a residual (:150-156).
        """
        if first:
            tokens = self.norm1(self.self_attn(tokens, tokens, tokens))
        else:
            placed = tokens + start
            tokens = self.norm1(tokens + self.self_attn(placed, placed, tokens))
        tokens = self.norm2(tokens + self.cross_attn_token_to_image(tokens + start, image + code, image))
        tokens = self.norm3(tokens + self.mlp(tokens))
        image = self.norm4(image + self.cross_attn_image_to_token(image + code, tokens + start, tokens))
        return tokens, image


class TwoWayTransformer(nn.Module):
    """Two blocks and a last look of the tokens at the image (modeling/sam/transformer.py:22-110)."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TwoWayBlock(variant) for _ in range(2))
        self.final_attn_token_to_image = ManyHeads(variant.hidden, variant.hidden // 2, variant.hidden)
        self.norm_final_attn = nn.LayerNorm(variant.hidden)

    def forward(self, start: Tensor, image: Tensor, code: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens [B, n, hidden], image [B, T, hidden], its position code [T, hidden] -> tokens and image."""
        tokens = start
        for index, block in enumerate(self.layers):
            tokens, image = block(tokens, image, start, code, first=index == 0)
        tokens = self.norm_final_attn(tokens + self.final_attn_token_to_image(tokens + start, image + code, image))
        return tokens, image


class MaskDecoderParameters(nn.Module):
    """Parameters of the decoder, and its forward up to the masks' factors."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        hidden = variant.hidden
        self.transformer = TwoWayTransformer(variant)
        self.obj_score_token = nn.Embedding(1, hidden)
        self.iou_token = nn.Embedding(1, hidden)
        self.mask_tokens = nn.Embedding(MASK_TOKENS, hidden)
        self.output_upscaling = nn.Sequential(
            Doubling(hidden, hidden // 4),
            LayerNorm2d(hidden // 4),
            nn.GELU(),
            Doubling(hidden // 4, MASK_WIDTH),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(Mlp((hidden, hidden, hidden, MASK_WIDTH)) for _ in range(MASK_TOKENS))
        for level, (channels, _) in enumerate(variant.high_res):  # applied once per frame, in the image encoder
            setattr(self, f"conv_s{level}", nn.Conv2d(hidden, channels, 1))
        self.iou_prediction_head = Mlp((hidden, hidden, hidden, MASK_TOKENS))
        self.pred_obj_score_head = Mlp((hidden, hidden, hidden, 1))

    def start_tokens(self, prompt: Tensor) -> Tensor:
        """Score, IoU and mask tokens in front of the prompt's: [B, N, hidden] -> [B, 6 + N, hidden]."""
        own = torch.cat((self.obj_score_token.weight, self.iou_token.weight, self.mask_tokens.weight))
        return torch.cat((own.expand(prompt.shape[0], -1, -1), prompt), dim=1)

    def upscale(self, image: Tensor, high_res: Sequence[Tensor] = ()) -> Tensor:
        """[B, T, hidden] -> [B, 16 T, 32]: four times finer each way, the sixteen finer pixels of a token one after another.

        high_res: maps [B, 16 T, 32] and [B, 4 T, 64] in that order of pixels, which are added on the way, or nothing.
        A transposed convolution whose kernel equals its stride is a linear layer per token. So channels stay last throughout, and only the
        finished mask is brought into image order (`in_image_order`).
        """
        wide, norm, activation, fine, last = self.output_upscaling
        x = _spread(image, wide)
        x = activation(nn.LayerNorm.forward(norm, x + high_res[1] if high_res else x))
        x = _spread(x, fine)
        out: Tensor = last(x + high_res[0] if high_res else x)
        return out


def _spread(x: Tensor, layer: Doubling) -> Tensor:
    """The 2x2 transposed convolution per pixel: [B, n, in] -> [B, 4 n, out]."""
    return layer.product(x).reshape(x.shape[0], -1, layer.out_channels) + layer.bias


def in_token_order(x: Tensor, grid: int, scale: int) -> Tensor:
    """A map [V, C, scale * grid, scale * grid], scale 2 or 4, as [V, scale^2 * T, C] in the order of `upscale`."""
    halvings = (2,) * (scale // 2)
    split = x.reshape(-1, x.shape[1], grid, *halvings, grid, *halvings)
    order = [axis for level in range(len(halvings) + 1) for axis in (2 + level, 3 + len(halvings) + level)]
    return split.permute(0, *order, 1).reshape(-1, (scale * grid) ** 2, x.shape[1])


def in_image_order(x: Tensor, grid: int) -> Tensor:
    """Logits [B, 16 grid^2] in the order of `upscale` -> [B, 4 grid, 4 grid]."""
    split = x.reshape(-1, grid, 2, 2, 2, 2)  # B and row, column, then row and column of each doubling
    return split.permute(0, 2, 4, 1, 3, 5).reshape(-1, 4 * grid, 4 * grid)


class MaskDecoder(nn.Module):
    """Stage mask_decoder (modeling/efficienttam_base.py:266-405, 417-467; modeling/sam/mask_decoder.py)."""

    def __init__(
        self, prompts: PromptEncoder, decoder: MaskDecoderParameters, pointer: Mlp, no_memory: Tensor, no_object: Tensor, variant: Variant
    ) -> None:
        super().__init__()
        self.prompts, self.decoder, self.pointer, self.variant = prompts, decoder, pointer, variant
        frequencies = prompts.pe_layer.positional_encoding_gaussian_matrix
        self.register_buffer("code", dense_code(frequencies, variant.grid), persistent=False)
        self.register_buffer("no_memory", no_memory.detach().reshape(1, 1, -1).clone(), persistent=False)
        self.register_buffer("no_object", no_object.detach().reshape(1, -1).clone(), persistent=False)

    def forward(
        self,
        features: Tensor,
        kind: Tensor,
        points: Tensor,
        labels: Tensor,
        mask_prompt: Tensor,
        has_mask: Tensor,
        multimask: Tensor,
        present: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Inputs and outputs as `masklet.contract.mask_decoder`: -> LOW [B, L, L], IOU [B], SCORE [B], POINTER [B, hidden]."""
        return self.decode((), features, kind, points, labels, mask_prompt, has_mask, multimask, present)

    def decode(
        self,
        high_res: Sequence[Tensor],
        features: Tensor,
        kind: Tensor,
        points: Tensor,
        labels: Tensor,
        mask_prompt: Tensor,
        has_mask: Tensor,
        multimask: Tensor,
        present: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """As `forward`, with the high-resolution maps of `MaskDecoderParameters.upscale`, or nothing."""
        by_mask = kind == KIND_MASK
        tokens, image = self.transform(features, kind, points, labels, mask_prompt, has_mask)
        score = self.decoder.pred_obj_score_head(tokens[:, 0])[:, 0]
        seen = score > 0
        several = (multimask > 0) & ~by_mask
        mask_tokens = tokens[:, 2 : 2 + MASK_TOKENS]
        logits, iou, token = self._choose(mask_tokens, tokens[:, 1], self.decoder.upscale(image, high_res), several)
        low = in_image_order(logits.masked_fill(~seen[:, None], self.variant.family.no_object_score), self.variant.grid)

        has_pixel = present > 0
        pointer = torch.where((seen & (has_pixel | ~by_mask))[:, None], self.pointer(token), self.no_object)
        given = MASK_PROMPT_LOGIT * (2.0 * has_pixel.float() - 1.0)
        return low, iou.masked_fill(by_mask, 1.0), torch.where(by_mask, given, score), pointer

    def transform(
        self, features: Tensor, kind: Tensor, points: Tensor, labels: Tensor, mask_prompt: Tensor, has_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Tokens [B, 6 + N, hidden] (score, IoU, masks, prompt) and image [B, T, hidden] after the transformer."""
        image = tokens_of(features, self.variant.grid, self.variant.hidden) + self.no_memory * (kind == KIND_CLICK).float()[:, None, None]
        image = image + self.prompts.dense(mask_prompt, has_mask, self.variant)
        start = self.decoder.start_tokens(self.prompts.tokens(points, labels, self.variant))
        transformed: tuple[Tensor, Tensor] = self.decoder.transformer(start, image, self.code)
        return transformed

    def _choose(self, mask_tokens: Tensor, iou_token: Tensor, fine: Tensor, several: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mask logits [B, 16 T], IoU [B] and pointer token [B, hidden] of the mask that counts (modeling/sam/mask_decoder.py:111-166, 258-295).

        several: the best of masks 1 to 3, and its token. Else mask 0, or the best of the three where mask 0 is unstable; its token is
        token 0 in any case. Only mask 0 and the best one are multiplied out.
        """
        factors = torch.stack([mlp(mask_tokens[:, i]) for i, mlp in enumerate(self.decoder.output_hypernetworks_mlps)], dim=1)
        iou = torch.sigmoid(self.decoder.iou_prediction_head(iou_token))
        best = (torch.arange(MASK_TOKENS - 1) == iou[:, 1:].argmax(dim=1)[:, None]).float()  # one-hot [B, 3]
        best_factor = (best[:, :, None] * factors[:, 1:]).sum(dim=1)
        best_token = (best[:, :, None] * mask_tokens[:, 1:]).sum(dim=1)
        best_iou = (best * iou[:, 1:]).sum(dim=1)

        both = fine @ torch.stack((factors[:, 0], best_factor), dim=2)
        single, chosen = both[:, :, 0], both[:, :, 1]
        use_best = several | ~self._stable(single)
        logits = torch.where(use_best[:, None], chosen, single)
        token = torch.where(several[:, None], best_token, mask_tokens[:, 0])
        return logits, torch.where(use_best, best_iou, iou[:, 0]), token

    def _stable(self, logits: Tensor) -> Tensor:
        """Whether a mask [B, pixels] hardly depends on its threshold: the IoU of a higher and a lower one; true for an empty mask."""
        family = self.variant.family
        inner = (logits > family.stability_delta).float().sum(dim=1)
        outer = (logits > -family.stability_delta).float().sum(dim=1)
        return (outer == 0) | (inner / outer.clamp(min=1) >= family.stability_threshold)
