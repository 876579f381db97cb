"""A tracker behind the real wire that knows the true masks, or forgets them in a way that can be seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from masklet import Tracker
from masklet.mask_bytes import joined
from masklet.testing import Answer, MockTransport, Request
from masklet.wire import Options
from masklet_build.quality.datasets import LabelledClip
from tests.fakes.toy_tracker import ToyTracker, Video

Spoil = Callable[[np.ndarray, int], np.ndarray]  # true masks (N, H, W), and how many frames this video has seen before


class Oracle(ToyTracker):
    """Answers every frame of the clips with its true masks, changed by `spoil`; an empty mask has the presence logit -3, any other 3."""

    def __init__(self, clips: Iterable[LabelledClip], spoil: Spoil = lambda masks, seen: masks) -> None:
        super().__init__()
        self._truth = {frame.tobytes(): clip.truth(index) for clip in clips for index, frame in enumerate(clip.frames())}
        self._spoil = spoil
        self.transport = MockTransport(self)

    def tracker(self) -> Tracker:
        return Tracker("test:0", transport=self.transport)

    def _answer(self, request: Request, options: Options, video: Video) -> Answer:
        made = super()._answer(request, options, video)
        if "FRAME" not in request.tensors:
            return made
        masks = self._spoil(self._truth[request.tensors["FRAME"][0].tobytes()], video.frames - 1)
        bits = joined([np.packbits(mask).tobytes() for mask in masks])
        scores = np.where(masks.any(axis=(1, 2)), 3, -3).astype(np.float32)
        return replace(made, tensors={**made.tensors, **bits, "SCORES": scores})
