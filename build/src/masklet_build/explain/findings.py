"""What is found out, as it stands in explain.json: one class for each kind of object there, one field for each name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Figures:
    """One answer about the object.

    presence       presence logit: above 0 it counts as there
    predicted_iou  what the model predicts for its mask, 0..1
    area           pixels of its mask; null where no masks were asked for
    iou_before     IoU of its mask with the one on the frame before; null on the first, and where both are empty
    """

    presence: float
    predicted_iou: float
    area: int | None
    iou_before: float | None


@dataclass(frozen=True)
class Moment:
    """One answer.

    recorded   what the server answered
    replayed   what the network answers here; null after the frame that is asked about
    agreement  IoU of both masks
    """

    frame: int
    prompted: bool
    recorded: Figures
    replayed: Figures | None
    agreement: float | None


@dataclass(frozen=True)
class MemoryShare:
    """A remembered frame: what part of the attention it got.

    conditioning   it was prompted; else it was tracked
    slot           row of the temporal code: 0 is for the frame just before, the last for conditioning frames
    distance       frames from there to here, in the direction of travel
    share          mean over the layers, 0..1; memories and pointers sum to 1
    layers         of each layer
    without_place  what of the share went to tokens that stand for no place (EdgeTAM's global latents)
    peak           x, y in pixels of the frame, of the middle of the place that got most
    peak_share     its share
    """

    frame: int
    conditioning: bool
    slot: int
    distance: int
    share: float
    layers: Sequence[float]
    without_place: float
    peak: tuple[float, float]
    peak_share: float


@dataclass(frozen=True)
class PointerShare:
    """The object pointer of a frame: one vector that stands for the object there. As `MemoryShare`."""

    frame: int
    conditioning: bool
    distance: int
    share: float
    layers: Sequence[float]


@dataclass(frozen=True)
class Attention:
    """What the object's part of the frame attended to.

    queries      whose attention it is, in words
    cells, places   how many places of the frame that is, and of how many
    even_memory, even_pointer   the share of each for a query that likes none better than another
    sum_error    how far the weights of a place are from summing to 1, at most
    output_error how far the attention's output is from that computed again with these weights, at most, in its deviations
    """

    queries: str
    cells: int
    places: int
    even_memory: float
    even_pointer: float
    memories: Sequence[MemoryShare]
    pointers: Sequence[PointerShare]
    sum_error: float
    output_error: float


@dataclass(frozen=True)
class Candidate:
    """One of the four masks that the decoder makes.

    name            "single", or "1" to "3"
    stability       the part of its pixels at a lower threshold that it keeps at a higher one
    area            pixels of the frame
    iou_with_taken  with the mask that was taken
    """

    name: str
    predicted_iou: float
    stability: float
    area: int
    iou_with_taken: float
    taken: bool


@dataclass(frozen=True)
class Choice:
    """The masks to choose from, and why one was taken. `best_of_three`: the rule for this frame; else the single mask, unless it is unstable."""

    best_of_three: bool
    stability_threshold: float
    reason: str
    candidates: Sequence[Candidate]


@dataclass(frozen=True)
class Answer:
    """One answer about the object on the frame; there are several where it was prompted after it was tracked.

    request    its number in the recording, from 0
    kind       "tracked"; "prompted" without memory; "corrected": prompted, with memory; "repeated": an earlier answer once more
    told       what happened, in sentences
    attention  null where nothing remembered was read
    choice     null where no mask was decoded: that of a prompt, or of an earlier answer
    agreement  IoU of the recorded mask and the replayed one; null without recorded masks
    """

    request: int
    kind: Literal["tracked", "prompted", "corrected", "repeated"]
    told: Sequence[str]
    attention: Attention | None
    choice: Choice | None
    recorded: Figures
    replayed: Figures
    agreement: float | None


@dataclass(frozen=True)
class Explanation:
    """All of explain.json.

    video     id of the video in the recording
    weights   the checkpoint that it was replayed with, its sha256
    recorded  what the recording says of who made it
    warnings  what to know before one believes the rest
    """

    object_id: int
    frame: int
    video: int | str
    variant: str
    weights: Mapping[str, str]
    recorded: Mapping[str, Any]
    warnings: Sequence[str]
    answers: Sequence[Answer]
    moments: Sequence[Moment]
