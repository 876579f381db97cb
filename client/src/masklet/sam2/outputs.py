"""What the official predictor holds of a video: the output of every object on every frame, and which call made it.

The rules are those of sam2/sam2_video_predictor.py, which keeps all of a clip; names are its own. Arrays stay on the server but for the logits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from masklet.video import Video

MEMORIES, POINTERS = 6, 15  # how many ordinary frames back a tracked frame reads memories and pointers


@dataclass(frozen=True, eq=False)
class Call:
    """One prompt of an object on a frame, complete: points that were added to earlier ones come with these. Pixels of the frame.

    box     4 numbers, or None
    points  (n, 2), labels (n,); None: none
    mask    bool (H, W), alone
    """

    box: NDArray[np.float32] | None = None
    points: NDArray[np.float32] | None = None
    labels: NDArray[np.int64] | None = None
    mask: NDArray[np.bool_] | None = None

    def give(self, video: Video, object_id: int) -> None:
        """Says it to a video, for the frame that is sent next."""
        video.prompt(object_id, points=self.points, labels=self.labels, box=self.box, mask=self.mask)

    def added(self, points: NDArray[np.float32], labels: NDArray[np.int64]) -> Call:
        """With more points behind its own (`clear_old_points=False`); a mask is replaced by them."""
        if self.points is None or self.labels is None:
            return Call(self.box, points, labels)
        return Call(self.box, np.concatenate([self.points, points]), np.concatenate([self.labels, labels]))


@dataclass(eq=False)
class Output:
    """What the model made of an object on a frame. Two are the same where they are one, or the same calls alone made them.

    calls   the prompts that made it, one seeing the mask of the other, without memory; () where memory had a part
    moment  after which request the server had it
    low     logits (L, L) float32, kept where prompts made them; else the timeline has them
    """

    calls: tuple[Call, ...] = ()
    moment: Any = None
    low: NDArray[np.float32] | None = None

    def same(self, other: Output | None) -> bool:
        """Whether the other is the same."""
        return other is self or (other is not None and self.calls != () and self.calls == other.calls)


@dataclass(eq=False)
class Object:
    """The outputs of one object, by frame.

    inputs   the call that holds on a frame
    cond     on frames that were prompted before they were tracked: conditioning frames
    non      on other frames
    temp     those that prompts made since tracking began last, [False] to become `non`, [True] to become `cond`
    tracked  the direction in which a frame was tracked, +1 or -1
    """

    inputs: dict[int, Call] = field(default_factory=dict)
    cond: dict[int, Output] = field(default_factory=dict)
    non: dict[int, Output] = field(default_factory=dict)
    temp: dict[bool, dict[int, Output]] = field(default_factory=lambda: {False: {}, True: {}})
    tracked: dict[int, int] = field(default_factory=dict)

    def output(self, frame: int, *, conditioning: bool) -> Output | None:
        """The newest on a frame, as a call sees it whose own result is to be a conditioning one or not."""
        return self.temp[conditioning].get(frame) or self.cond.get(frame) or self.non.get(frame)

    def consolidate(self) -> None:
        """What prompts made becomes memory, as tracking begins. A correction of a conditioning frame is dropped (sam2_video_predictor.py:549-552)."""
        for conditioning, held in ((False, self.non), (True, self.cond)):
            held.update(self.temp[conditioning])
            self.temp[conditioning].clear()
        for frame in self.cond:
            self.non.pop(frame, None)

    def clear(self, frame: int) -> None:
        """Forgets the prompts of a frame. What they made stays as an ordinary output, if it had become memory."""
        self.inputs.pop(frame, None)
        for held in self.temp.values():
            held.pop(frame, None)
        if (was := self.cond.pop(frame, None)) is not None:
            self.non[frame] = was
            self.tracked.pop(frame, None)

    def behind(self, frame: int, direction: int, reach: int) -> dict[int, Output]:
        """The ordinary outputs that tracking on `frame` looks back on."""
        return behind(self.non, frame, direction, reach)


def behind(outputs: Mapping[int, Output], frame: int, direction: int, reach: int) -> dict[int, Output]:
    """Those of the `reach` frames before `frame`, in the direction of travel."""
    places = (frame - direction * distance for distance in range(1, reach + 1))
    return {place: outputs[place] for place in places if place in outputs}
