"""Clips for training and validation, drawn by worker processes while the network computes."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from masklet_build.clips import Clip, Split, make_clip

Batch = tuple[Tensor, Tensor]  # images uint8 [C, frames, S, S, 3] and masks bool [C, frames, O, S, S]


class Clips(Dataset[Batch]):
    """Clips of one split by number; they tell the stories in turn, or draw their own where there are none. Of `every` frames drawn one is kept."""

    def __init__(self, split: Split, frames: int, side: int, objects: int, stories: tuple[str, ...] = (), every: int = 1) -> None:
        self.split, self.frames, self.side, self.objects, self.stories, self.every = split, frames, side, objects, stories, every

    def __getitem__(self, index: int) -> Batch:
        story = self.stories[index % len(self.stories)] if self.stories else None
        try:
            clip = self._clip(index, story)
        except ValueError:  # rarely no scene of that story can be found for a number; a training of hours must not end for that
            clip = self._clip(index, None)
        return torch.from_numpy(clip.frames[:: self.every].copy()), torch.from_numpy(clip.masks[:: self.every].copy())

    def _clip(self, index: int, story: str | None) -> Clip:
        drawn = (self.frames - 1) * self.every + 1
        return make_clip(self.split, index, frames=drawn, height=self.side, width=self.side, objects=self.objects, story=story)


def batches(clips: Clips, numbers: list[int], size: int, workers: int) -> Iterator[Batch]:
    """Batches of `size` clips by their numbers, in order. workers = 0 draws in this process."""
    prefetch = 4 if workers else None
    return iter(DataLoader(clips, batch_size=size, sampler=numbers, num_workers=workers, prefetch_factor=prefetch))


def share_of_numbers(first: int, steps: int, clips: int, rank: int, processes: int) -> list[int]:
    """Numbers of the clips that process `rank` sees in `steps` steps of `clips` clips, which begin with clip `first`."""
    share = clips // processes
    return [first + step * clips + rank * share + index for step in range(steps) for index in range(share)]
