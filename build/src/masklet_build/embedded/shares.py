"""A call of an engine, cut into smaller ones."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import pairwise

import numpy as np


def shares(inputs: Mapping[str, np.ndarray], by_video: Collection[str], most: int) -> list[dict[str, np.ndarray]]:
    """At most `most` calls of about equal size, which together compute what one call with `inputs` does, row after row.

    inputs    all lead with rows; or those of `by_video` lead with videos [V, ...], the others with objects [B, ...], and VIDEO [B] says which
              video an object is of. The objects of one video stay together, since they share what is computed once per video
    Nothing is copied.
    """
    objects = next(len(array) for name, array in inputs.items() if name not in by_video)
    videos = inputs["VIDEO"] if "VIDEO" in inputs else np.arange(objects)
    steps = np.diff(videos)
    if ((steps != 0) & (steps != 1)).any():
        raise ValueError(f"VIDEO is {videos.tolist()}: the objects of a video must stand together, in the order of the videos.")
    starts = np.flatnonzero(np.concatenate(([1], steps)))  # where the objects of each video begin
    count = min(most, len(starts))
    edges = [*(starts[round(index * len(starts) / count)] for index in range(count)), objects]
    return [_share(inputs, by_video, int(begin), int(end)) for begin, end in pairwise(edges)]


def _share(inputs: Mapping[str, np.ndarray], by_video: Collection[str], begin: int, end: int) -> dict[str, np.ndarray]:
    """The call of objects `begin` to `end`."""
    part = {name: array[begin:end] for name, array in inputs.items() if name not in by_video}
    if "VIDEO" in inputs:
        first, last = int(inputs["VIDEO"][begin]), int(inputs["VIDEO"][end - 1])
        part |= {name: inputs[name][first : last + 1] for name in by_video}
        part["VIDEO"] = part["VIDEO"] - first
    return part
