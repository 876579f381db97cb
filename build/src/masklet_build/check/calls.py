"""Calls put together from rows: for every optimisation profile of an engine its smallest, its tuned and its largest batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from masklet.contract import Model
from masklet_build.export.fixtures.fixtures import Fixtures, Row, Tensors
from masklet_build.export.profiles import Profile, Range, choose
from masklet_build.models.samples import Sizes


@dataclass(frozen=True)
class Call:
    """One call of an engine: inputs of the contract, and the row that each of its leading entries is."""

    engine: str
    profile: str
    sizes: Sizes
    inputs: Tensors
    rows: Sequence[Row]

    @property
    def told(self) -> str:
        """The call in words."""
        free = {"image_encoder": "V", "mask_prompt": "B", "memory_attention": "VBFP", "mask_decoder": "VBN", "memory_encoder": "VBR"}[self.engine]
        return f"profile {self.profile!r}, " + " ".join(f"{symbol} {getattr(self.sizes, symbol)}" for symbol in free)


def calls(fixtures: Fixtures, model: Model, table: Sequence[Profile]) -> Iterator[Call]:
    """The calls of one engine, profile by profile. A profile for which there are no rows gives none.

    Ranges overlap, and a runtime takes the profile that is tuned for the nearest shape, so a call counts for that one only.
    """
    rows = fixtures.of(model.name)
    for index, profile in enumerate(table):
        for counted in dict.fromkeys(row.sizes for row in rows):
            if _holds(profile, counted):
                alike = [row for row in rows if row.sizes == counted]
                for videos, objects in _batches(profile, model):
                    call = compose(fixtures, model, profile.name, replace(counted, V=videos, B=objects), alike)
                    if choose(table, {name: array.shape for name, array in call.inputs.items()}) == index:
                        yield call


def _holds(profile: Profile, counted: Sizes) -> bool:
    ranges = {symbol: profile.sizes[symbol] for symbol in "FPNR" if symbol in profile.sizes}
    return all(span.min <= getattr(counted, symbol) <= span.max for symbol, span in ranges.items())


def _batches(profile: Profile, model: Model) -> list[tuple[int, int]]:
    """(V, B): the smallest, tuned and largest batch, each object in a video of its own as far as that goes; and the largest in one video."""
    videos, objects = profile.sizes.get("V", Range(1, 1, 1)), profile.sizes.get("B", Range(1, 1, 1))
    if model.batched:
        return [(count, 1) for count in dict.fromkeys(videos)]
    pairs = [(min(max(count, videos.min), videos.max), count) for count in objects]
    return list(dict.fromkeys([*pairs, (videos.min, objects.max)]))


def compose(fixtures: Fixtures, model: Model, profile: str, sizes: Sizes, rows: Sequence[Row]) -> Call:
    """One call of V videos and B objects: rows in turn, and every video the frame of some row. `rows` are not empty and alike in F, P, N and R."""
    frames = [frame for frame, _ in Counter(row.frame for row in rows if row.frame is not None).most_common()]  # one video: many rows
    videos = [frames[index % len(frames)] for index in range(sizes.V)] if frames else []
    usable = [row for row in rows if row.frame is None or row.frame in videos]
    if model.batched:
        chosen = [next(row for row in usable if row.frame == frame) for frame in videos]
        return Call(model.name, profile, sizes, {name: np.stack([row.inputs[name] for row in chosen]) for name in chosen[0].inputs}, chosen)
    chosen = [usable[index % len(usable)] for index in range(sizes.B)]
    inputs = {}
    for tensor in model.inputs:
        if tensor.name == "VIDEO":
            inputs["VIDEO"] = np.array([_place(row, index, videos) for index, row in enumerate(chosen)], np.int32)
        elif tensor.dims[0] == "V":
            inputs[tensor.name] = np.stack([fixtures.frames[frame][tensor.name] for frame in videos])
        else:
            inputs[tensor.name] = np.stack([row.inputs[tensor.name] for row in chosen])
    return Call(model.name, profile, sizes, inputs, chosen)


def _place(row: Row, index: int, videos: Sequence[int]) -> int:
    """Which of the videos a row uses: those that show its frame take turns."""
    places = [place for place, frame in enumerate(videos) if frame == row.frame]
    return places[index % len(places)]
