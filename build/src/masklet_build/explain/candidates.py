"""The masks that the decoder had to choose from on one frame of one object, and its choice, computed from the decoder's parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from masklet.contract import KIND_MASK
from masklet.families import Family, Variant
from masklet_build.models.sam.fine_decoder import FineMaskDecoder
from masklet_build.models.sam.mask_decoder import MASK_TOKENS, MaskDecoder, in_image_order

_PROMPT = ("FEATURES", "KIND", "POINTS", "LABELS", "MASK_PROMPT", "HAS_MASK")


@dataclass(frozen=True, eq=False)
class Candidates:
    """Four masks: the single one, and three to choose the best of.

    logits     float32 (4, L, L), before an absent object's mask is emptied
    ious       predicted IoU of each
    stability  of each: the part of its pixels at a lower threshold that it keeps at a higher one; 1 for an empty mask
    score      presence logit
    several    the best of three was asked for; else the single one, unless it is unstable
    taken      which one counts, 0 to 3
    """

    logits: NDArray[np.float32]
    ious: tuple[float, ...]
    stability: tuple[float, ...]
    score: float
    several: bool
    taken: int


def candidates(stage: MaskDecoder | FineMaskDecoder, inputs: Mapping[str, np.ndarray], variant: Variant) -> Candidates | None:
    """Of one call of mask_decoder with B = 1, its inputs by name; None where the mask is the user's, so that none was decoded."""
    if inputs["KIND"][0] == KIND_MASK:
        return None
    given = {name: torch.tensor(array) for name, array in inputs.items()}
    decoder, high_res = _parts(stage, given)
    with torch.inference_mode():
        tokens, image = decoder.transform(*(given[name] for name in _PROMPT))
        fine = decoder.decoder.upscale(image, high_res)
        factors = torch.stack([mlp(tokens[:, 2 + i]) for i, mlp in enumerate(decoder.decoder.output_hypernetworks_mlps)], dim=2)
        logits = torch.stack([in_image_order(one, variant.grid)[0] for one in (fine @ factors).unbind(dim=2)]).numpy()
        ious = torch.sigmoid(decoder.decoder.iou_prediction_head(tokens[:, 1]))[0].tolist()
        score = float(decoder.decoder.pred_obj_score_head(tokens[:, 0]))
    stability = tuple(_stability(one, variant.family) for one in logits)
    several = bool(inputs["MULTIMASK"][0])
    best = max(range(1, MASK_TOKENS), key=ious.__getitem__)
    taken = best if several or stability[0] < variant.family.stability_threshold else 0
    return Candidates(logits, tuple(ious), stability, score, several, taken)


def _parts(stage: MaskDecoder | FineMaskDecoder, given: Mapping[str, Tensor]) -> tuple[MaskDecoder, list[Tensor]]:
    """The decoder, and its high-resolution maps, if it takes any."""
    if isinstance(stage, MaskDecoder):
        return stage, []
    maps = stage.in_token_order((given["HIGH_RES_0"], given["HIGH_RES_1"]))
    return stage.decoder, [one.index_select(0, given["VIDEO"]) for one in maps]


def _stability(logits: NDArray[np.float32], family: Family) -> float:
    """The number that the decoder compares with a threshold (MaskDecoder._stable)."""
    inner, outer = np.count_nonzero(logits > family.stability_delta), np.count_nonzero(logits > -family.stability_delta)
    return float(inner / outer) if outer else 1.0
