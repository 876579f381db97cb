"""What the float32 mask decoder would answer, had it chosen otherwise where rounding may decide: another mask, or whether the object is there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from masklet_build.models.sam.mask_decoder import MASK_TOKENS, MaskDecoder
from masklet_build.models.stages import TorchStages


def other_answers(reference: TorchStages, inputs: Mapping[str, np.ndarray], limit: float) -> Iterator[dict[str, np.ndarray]]:
    """Outputs of a call for each mask that could be chosen, and for objects that could be present or not.

    Rows of a mask that is no candidate hold values that are not numbers. A mask is one where predicted IoUs that are each off by up to `limit` could
    make it the best, or where it is the single one or the best and stability decides. Presence may be decided by a logit nearer to 0 than `limit`.
    """
    (decoder,) = (module for module in reference.stages["mask_decoder"].modules() if isinstance(module, MaskDecoder))
    for mask in range(MASK_TOKENS):
        for turned in (False, True):
            with _choosing(decoder, mask, limit, turned):
                yield reference.call("mask_decoder", inputs)


@contextmanager
def _choosing(decoder: MaskDecoder, mask: int, limit: float, turned: bool) -> Iterator[None]:
    """The decoder with its choice made. `turned`: presence is the other way round where it is undecided."""
    parts = decoder.decoder

    def choose(mask_tokens: Tensor, iou_token: Tensor, fine: Tensor, several: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As MaskDecoder._choose."""
        iou = torch.sigmoid(parts.iou_prediction_head(iou_token))
        may_be_best = iou[:, mask] >= iou[:, 1:].amax(dim=1) - 2 * limit
        candidate = may_be_best if mask else ~several
        logits = (fine @ parts.output_hypernetworks_mlps[mask](mask_tokens[:, mask])[:, :, None])[:, :, 0]
        token = torch.where(several[:, None], mask_tokens[:, mask], mask_tokens[:, 0])
        return logits.masked_fill(~candidate[:, None], torch.nan), iou[:, mask].masked_fill(~candidate, torch.nan), token

    def turn(module: nn.Module, given: tuple[Tensor, ...], score: Tensor) -> Tensor:
        return torch.where(score.abs() <= limit, -score, score)

    decoder.__dict__["_choose"] = choose  # instead of the method of its class
    hook = parts.pred_obj_score_head.register_forward_hook(turn) if turned else None
    try:
        yield
    finally:
        del decoder.__dict__["_choose"]
        if hook:
            hook.remove()
