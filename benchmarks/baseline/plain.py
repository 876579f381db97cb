"""Videos of EfficientTAM and nano in PyTorch: eager, and under torch.compile."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from benchmarks.baseline.eager import Eager
from benchmarks.steady import Setting, to_and_fro
from masklet.families import Variant
from masklet_build.checkpoints.loading import load_checkpoint

_STAGES = ("embed", "attend", "decode", "memory")


@dataclass
class _Object:
    """What is remembered of one object: the clicked frame, the last memories and pointers, oldest first."""

    conditioning: tuple[Tensor, Tensor]  # memory, pointer
    memories: deque[Tensor] = field(default_factory=deque)
    pointers: deque[Tensor] = field(default_factory=deque)


class EagerVideo:
    """Objects through the frames of one video, one object after the other."""

    def __init__(self, model: Eager, height: int, width: int) -> None:
        """height, width: of the masks."""
        self.model, self.size = model, (height, width)
        self.objects: list[_Object] = []

    @torch.inference_mode()
    def click(self, image: np.ndarray, points: Iterable[tuple[float, float]]) -> None:
        """The first frame, uint8 [S, S, 3], and a click (x, y in model pixels) on each object."""
        embedding = self.model.embed(self.model.normalised(image))
        for point in points:
            point_there = torch.tensor(point, device=self.model.device)
            decoded = self.model.decode(embedding + self.model.network.no_mem_embed.reshape(1, -1, 1, 1), point_there)
            self.objects.append(_Object((_rounded(self.model.memory(embedding, decoded.high, prompted=True)), decoded.pointer)))

    def copy(self, model: Eager) -> EagerVideo:
        """Another video that remembers the same, to go on with `model`."""
        twin = EagerVideo(model, *self.size)
        twin.objects = [_Object(known.conditioning, known.memories.copy(), known.pointers.copy()) for known in self.objects]
        return twin

    @torch.inference_mode()
    def track(self, pixels: Tensor) -> Tensor:
        """A further frame, normalised -> masks [N, H, W] bool."""
        embedding = self.model.embed(pixels)
        logits = torch.cat([self._track(known, embedding) for known in self.objects])
        return functional.interpolate(logits, self.size, mode="bilinear", align_corners=False)[:, 0] > 0

    def _track(self, known: _Object, embedding: Tensor) -> Tensor:
        family = self.model.variant.family
        slots = [family.num_memories - 1, *range(len(known.memories) - 1, -1, -1)]
        conditioned = self.model.attend(
            embedding, [known.conditioning[0], *known.memories], slots, [known.conditioning[1], *reversed(known.pointers)]
        )
        decoded = self.model.decode(conditioned, None)
        memory = _rounded(self.model.memory(embedding, decoded.high, prompted=False))
        known.memories = deque([*known.memories, memory], family.num_memories - 1)
        known.pointers = deque([*known.pointers, decoded.pointer], family.num_pointers - 1)
        return decoded.low


def _rounded(memory: Tensor) -> Tensor:
    """Memories are kept as bfloat16, also by the official predictor in float32 (efficienttam_video_predictor.py:790)."""
    return memory.to(torch.bfloat16)


class Plain:
    """The network; bf16 by autocast, as the official examples run it. Raises ValueError for variants that `Eager` does not know."""

    def __init__(self, variant: Variant, checkpoint: Path, precision: str, device: str = "cpu") -> None:
        self.eager, self._device, self._autocast = Eager(load_checkpoint(checkpoint, variant), variant, device), device, precision == "bf16"
        self.compiled = copy(self.eager)
        for stage in _STAGES:
            setattr(self.compiled, stage, torch.compile(getattr(self.eager, stage), dynamic=False))

    def block(self) -> AbstractContextManager[Any]:
        """See `baseline.Video`. Autocast casts each weight once in a block."""
        return torch.autocast(self._device, torch.bfloat16, enabled=self._autocast)

    def begin(self, setting: Setting) -> PlainVideo:
        """See `baseline.Baseline`."""
        side = self.eager.variant.image_size
        images = [np.array(Image.fromarray(frame).resize((side, side))) for frame in setting.frames]
        video = EagerVideo(self.eager, setting.height, setting.width)
        with self.block():
            video.click(images[0], [(x * side / setting.width, y * side / setting.height) for x, y in setting.clicks])
        pixels = [self.eager.normalised(image) for image in images]
        return PlainVideo(self, video, to_and_fro(pixels))


class PlainVideo:
    """See `baseline.Video`."""

    def __init__(self, model: Plain, video: EagerVideo, frames: Iterator[Tensor]) -> None:
        self._model, self._video, self._frames = model, video, frames
        self.block = model.block

    def track(self) -> np.ndarray:
        """See `baseline.Video`."""
        return self._video.track(next(self._frames)).cpu().numpy()

    def kept_bytes(self) -> int:
        """Nothing is said of it: what this video forgets the official predictor keeps."""
        return 0

    def late(self, videos: int = 1) -> dict[str, list[PlainVideo]]:
        """See `baseline.Video`. Compiled only now: the shapes of a memory that fills up would all be compiled for themselves."""
        return {
            name: [PlainVideo(self._model, self._video.copy(model), self._frames) for _ in range(videos)]
            for name, model in (("eager PyTorch", self._model.eager), ("torch.compile", self._model.compiled))
        }
