"""bfloat16 without a bfloat16 type: raw bits in uint16.

The official predictors store memories as bfloat16 even in a float32 run (efficienttam_video_predictor.py:788-791), so a bank that kept
float32 would give other masks. numpy and Triton have no bfloat16, and an engine's own cast may round wrongly (OpenVINO 2026.4 does).
"""

from __future__ import annotations

from typing import Any

import numpy as np


def to_bits(values: Any) -> Any:
    """Rounds float32 to the nearest bfloat16, ties to even; the bits as uint16, same shape. NaN is not expected here.

    Integer operations on the array's own bits, so that arrays of numpy and of cupy alike get equal results.
    """
    bits = values.view(np.uint32)
    return ((bits + (((bits >> 16) & 1) + np.uint32(0x7FFF))) >> 16).astype(np.uint16)


def widen(bits: np.ndarray, out: np.ndarray) -> None:
    """Writes the float32 values of bfloat16 `bits` (uint16) into `out` (float32, C-contiguous, same shape)."""
    np.left_shift(bits, 16, out=out.view(np.uint32), dtype=np.uint32, casting="unsafe")
