"""Stage mask_decoder of the families whose decoder takes high-resolution maps beside the features."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from masklet.families import Variant
from masklet_build.models.sam.mask_decoder import MaskDecoder, in_token_order


class FineMaskDecoder(nn.Module):
    """A mask decoder with the maps of each object's video (SAM 2, modeling/sam/mask_decoder.py:217-225)."""

    def __init__(self, decoder: MaskDecoder, variant: Variant) -> None:
        super().__init__()
        self.decoder = decoder
        self.grid = variant.grid
        self.scales = tuple(scale for _, scale in variant.high_res)

    def forward(
        self,
        features: Tensor,
        kind: Tensor,
        video: Tensor,
        high_res_0: Tensor,
        high_res_1: Tensor,
        points: Tensor,
        labels: Tensor,
        mask_prompt: Tensor,
        has_mask: Tensor,
        multimask: Tensor,
        present: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Inputs and outputs as `masklet.contract.mask_decoder`: -> LOW [B, L, L], IOU [B], SCORE [B], POINTER [B, hidden]."""
        high_res = [x.index_select(0, video) for x in self.in_token_order((high_res_0, high_res_1))]
        return self.decoder.decode(high_res, features, kind, points, labels, mask_prompt, has_mask, multimask, present)

    def in_token_order(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps [V, C, n, n] as [V, n * n, C], in the order in which the decoder makes finer pixels of a token."""
        return [in_token_order(x, self.grid, scale) for x, scale in zip(maps, self.scales, strict=True)]
