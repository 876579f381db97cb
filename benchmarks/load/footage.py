"""What the cameras see: drawn clips, encoded once and shown by all cameras, with clicks that are right because the masks are known."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image

from benchmarks.load.mix import Mix, VideoPlan
from masklet_build.clips import inner_point, make_clip

_FRAMES = 16
_QUALITY = 90  # of the JPEG files


@dataclass(frozen=True)
class Reel:
    """One clip: JPEG files, and for each of them where each object may be clicked, None where it is hidden."""

    frames: list[bytes]
    clicks: list[list[tuple[int, int] | None]]

    def shown(self, index: int) -> int:
        """Which of the files frame `index` of a video is: the clip runs to and fro, so that objects never jump."""
        turn = index % (2 * len(self.frames) - 2)
        return min(turn, 2 * len(self.frames) - 2 - turn)

    def frame(self, index: int) -> bytes:
        """Frame `index` of a video."""
        return self.frames[self.shown(index)]

    def prompts(self, plan: VideoPlan, index: int) -> Iterator[tuple[int, tuple[int, int]]]:
        """The clicks that go with a frame: object id and x, y in pixels."""
        clicks = self.clicks[self.shown(index)]
        wanted = clicks if index == 0 else clicks[:1] if index == plan.corrected_at else []
        yield from ((number, click) for number, click in enumerate(wanted, 1) if click)


class Footage:
    """A reel for each size and number of objects of a mix."""

    def __init__(self, mix: Mix) -> None:
        self._reels = {(size, objects): _reel(size, objects) for size in sorted(set(mix.sizes)) for objects in sorted(set(mix.objects))}

    def reel(self, plan: VideoPlan) -> Reel:
        """The reel of a video."""
        return self._reels[plan.size, plan.objects]


def _reel(size: tuple[int, int], objects: int) -> Reel:
    width, height = size
    clip = make_clip("test", objects, frames=_FRAMES, height=height, width=width, objects=objects, story="roam")
    files = []
    for frame in clip.frames:
        file = io.BytesIO()
        Image.fromarray(frame).save(file, "JPEG", quality=_QUALITY)
        files.append(file.getvalue())
    return Reel(files, [[inner_point(mask) if mask.any() else None for mask in masks] for masks in clip.masks])
