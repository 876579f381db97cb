"""Tracks drawn clips, and keeps what each answer says beside what is true."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.doubt import signs
from benchmarks.doubt.signs import Rows
from masklet.families import NANO
from masklet.results import TrackedFrame
from masklet.tracker import Tracker
from masklet_build.checkpoints.loading import load_checkpoint
from masklet_build.clips import STORIES, Split, make_clip
from masklet_build.in_process import InProcess
from masklet_build.models.sam.mask_decoder import MASK_TOKENS, MaskDecoder
from masklet_build.models.stages import TorchStages
from masklet_build.nano import CHECKPOINT
from masklet_build.quality.datasets import DrawnClip
from masklet_build.quality.measures import Masks, region_similarity
from masklet_build.quality.methods import PROMPTS, prompts


class Watched(nn.Module):
    """A mask decoder that keeps what it chose from: by (score, predicted IoU) of each row, how much its candidates agree."""

    def __init__(self, decoder: MaskDecoder) -> None:
        super().__init__()
        self._decoder = decoder
        self.seen: dict[tuple[float, float], float] = {}

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """As the decoder's."""
        found: tuple[Tensor, ...] = self._decoder(*inputs)
        keys = zip(found[2].tolist(), found[1].tolist(), strict=True)
        self.seen |= dict(zip(keys, signs.agreement(self.candidates(*inputs[:6]).numpy()).tolist(), strict=True))
        return found

    def candidates(self, *inputs: Tensor) -> Tensor:
        """The three masks that tracking chooses from, logits (B, 3, pixels) in the order of `upscale`, of the first six inputs."""
        tokens, image = self._decoder.transform(*inputs)
        inner = self._decoder.decoder
        factors = [inner.output_hypernetworks_mlps[index](tokens[:, 2 + index]) for index in range(1, MASK_TOKENS)]
        return torch.stack(factors, dim=1) @ inner.upscale(image).transpose(1, 2)


def tracked(clip: DrawnClip, kind: str, stages: TorchStages, watched: Watched) -> Rows:
    """The rows of a clip whose objects are prompted on frame 0, frame by frame, without that frame."""
    parts: list[Rows] = []
    with Tracker("in this process", transport=InProcess(NANO, stages)) as tracker, tracker.open() as video:
        for object_id, prompt in prompts(kind, clip).items():
            video.prompt(object_id, **prompt)
        before = None
        for index, frame in enumerate(clip.frames()):
            watched.seen.clear()
            result = video.track(frame, logits=True)
            if before is not None:
                parts.append(_said(result, before, watched.seen) | _true(result, clip.truth(index)))
            before = result.masks
    return {name: np.concatenate([part[name] for part in parts]).astype(np.float64) for name in parts[0]}


def _said(result: TrackedFrame, before: Masks, agreed: Mapping[tuple[float, float], float]) -> Rows:
    """The signs, a value per object."""
    assert result.logits is not None
    area, place, overlap = signs.jumps(result.masks, before)
    return {
        "iou": result.ious,
        "score": result.scores,
        "stability": signs.stability(result.logits),
        "agreement": np.array([agreed[key] for key in zip(result.scores.tolist(), result.ious.tolist(), strict=True)]),
        "jump_area": area,
        "jump_place": place,
        "jump_overlap": overlap,
        "likeness": signs.likeness(result.masks),
    }


def _true(result: TrackedFrame, truth: Masks) -> Rows:
    """What is true, and of which object. truth, area: pixels."""
    return {
        "frame": np.full(len(truth), result.frame_index),
        "object": np.array(result.object_ids),
        "truth": truth.sum(axis=(1, 2)),
        "area": result.areas,
        "j": region_similarity(truth, result.masks),
    }


def rows(split: Split, count: int, frames: int, folder: Path, say: Callable[[str], None]) -> Rows:
    """Clips 0 to count - 1 of a split; each is kept in `folder`, and not tracked again."""
    torch.set_num_threads(1)
    reference = TorchStages(load_checkpoint(CHECKPOINT, NANO), NANO)
    watched = Watched(reference.stages["mask_decoder"])
    stages = reference.replaced({"mask_decoder": watched})
    parts = []
    for index in range(count):
        story, kind = STORIES[index % len(STORIES)], PROMPTS[index % len(PROMPTS)]
        file = folder / f"{split}-{index}-{story}-{kind}-{frames}.npz"
        if not file.exists():
            made = make_clip(split, index, frames=frames, story=story)
            np.savez(file, **tracked(DrawnClip(file.stem, made), kind, stages, watched))
        with np.load(file) as kept:
            part = {name: kept[name] for name in kept.files}
        parts.append(part | {"clip": np.full(len(part["j"]), index)})
        say(f"{file.stem}: mean J {part['j'].mean():.3f}")
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
