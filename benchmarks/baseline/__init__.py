"""What the server is compared with: the fastest ways that PyTorch has for the same frames, in the same precision, on the same CPUs.

* EfficientTAM and nano: eager PyTorch in the shape of the official code (`eager.py`), and the same under `torch.compile`; bf16 by autocast, as the
  official examples run it. Objects one after the other, as officially.
* SAM 2.1: the streaming session of Hugging Face transformers (`session.py`), its model in float32 or bfloat16.

Frames are resized and normalised before the clock starts, as the official predictor does at loading.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from benchmarks.steady import Setting
from masklet.families import Variant
from masklet_build.models.trunks import PlainVit
from masklet_build.models.variants import trunk_of

Ways = Mapping[str, Sequence["Video"]]  # way -> its videos


class Video(Protocol):
    """A video that has begun, with a click on every object."""

    def track(self) -> np.ndarray:
        """Masks (N, H, W), bool, of its next frame."""

    def block(self) -> AbstractContextManager[Any]:
        """What frames that are timed together run in."""

    def kept_bytes(self) -> int:
        """What it holds in tensors."""

    def late(self, videos: int = 1) -> Ways:
        """The ways to go on, once its memory is full, each with so many videos that remember the same."""


class Baseline(Protocol):
    """PyTorch with the server's weights."""

    def begin(self, setting: Setting) -> Video:
        """The video of `setting`, past its first frame."""


def baseline(variant: Variant, checkpoint: Path, precision: str, device: str = "cpu") -> Baseline:
    """The one that there is for a variant. checkpoint: for SAM 2.1 a folder as transformers saves it. Raises ValueError for other families."""
    if isinstance(trunk_of(variant), PlainVit):
        from benchmarks.baseline.plain import Plain

        return Plain(variant, checkpoint, precision, device)
    if variant.family.name == "sam2.1":
        from benchmarks.baseline.session import Sessions

        return Sessions(checkpoint, precision)
    raise ValueError(f"{variant.name}: PyTorch has no way here that it could be compared with. EfficientTAM, nano and SAM 2.1 have.")
