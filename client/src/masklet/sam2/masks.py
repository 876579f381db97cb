"""Low-resolution logits to what the official predictor returns: logits at the size of the video."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

NO_OBJECT = np.float32(-1024)  # an object without an output on a frame (sam2_base.py NO_OBJ_SCORE)
_F32 = np.float32
_SUPPRESSED = np.float32(-10)


class Logits(np.ndarray):
    """A numpy array with the two methods of a tensor that scripts end with: `(logits[i] > 0.0).cpu().numpy()`."""

    def cpu(self) -> Logits:
        """Itself."""
        return self

    def numpy(self) -> NDArray[Any]:
        """The plain array, without a copy."""
        return np.asarray(self)


def video_logits(lows: Sequence[NDArray[np.float32] | None], size: tuple[int, int], *, exclusive: bool = False) -> Any:
    """Logits (N, 1, H, W) float32 at `size` of N low-resolution ones (L, L); None: no output. Above 0 they are the masks of the server.

    exclusive  `non_overlap_masks`: the object with the largest logit has a pixel, the others at most -10 there (sam2_base.py:893-911)

    A torch tensor on the CPU where the program has imported torch, else `Logits`.
    """
    made = np.full((len(lows), 1, *size), NO_OBJECT, dtype=_F32)
    for target, low in zip(made, lows, strict=True):
        if low is not None:
            target[0] = resized(low, size)
    if exclusive and len(lows) > 1:
        others = np.arange(len(lows))[:, None, None, None] != made.argmax(axis=0)[None]
        made[others] = np.minimum(made[others], _SUPPRESSED)
    torch = sys.modules.get("torch")
    return torch.from_numpy(made) if torch is not None else made.view(Logits)


def resized(low: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Bilinear, half-pixel centres, no antialias: (L, L) to (H, W), in the order of operations of the server's postprocess, so signs are equal."""
    (above, below, down), (left, right, across) = _axis(low.shape[0], size[0]), _axis(low.shape[1], size[1])
    wide = low[:, left] * (_F32(1) - across) + low[:, right] * across
    made: NDArray[np.float32] = wide[above] * (_F32(1) - down)[:, None] + wide[below] * down[:, None]
    return made


def _axis(size_in: int, size_out: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Of each output the two inputs between which it lies, and the weight of the second."""
    position = np.maximum(_F32(size_in) / _F32(size_out) * (np.arange(size_out, dtype=_F32) + _F32(0.5)) - _F32(0.5), _F32(0))
    first = np.minimum(position.astype(np.int64), size_in - 1)
    return first, np.minimum(first + 1, size_in - 1), np.minimum(position - first.astype(_F32), _F32(1))
