"""Which frame a request is for, and which way the video travels."""

from __future__ import annotations

from masklet.errors import BadFrameIndex
from masklet.wire import Options

_LAST_INDEX = 2**63 - 1  # FRAME_INDEX is INT64


def next_frame(options: Options, last: int | None, way: int, *, travelled: bool) -> tuple[int, int]:
    """Frame index and direction of a request. Raises BadFrameIndex.

    last, way  index of the frame answered last, None before the first; and the direction so far
    travelled  whether a frame was tracked since prompts were last given ahead of tracking
    """
    if options.refine:
        return _refined(options, last), way
    direction = -1 if options.reverse else 1
    index = options.frame_index
    if index is None:
        if last is None and options.reverse:
            raise BadFrameIndex("a video that begins in reverse needs frame_index: the index of the frame that it begins with.")
        index = 0 if last is None else last + direction
    if index < 0:
        raise BadFrameIndex("the frame before frame 0 was asked for. A video sent in reverse ends at frame 0; begin with a larger frame_index.")
    if index > _LAST_INDEX:
        raise BadFrameIndex(f"frame {index} was asked for; the last index is {_LAST_INDEX}. Open a new video.")
    if options.track and travelled and last is not None and (direction != way or direction * (index - last) <= 0):
        ways = {1: "forward", -1: "in reverse"}
        raise BadFrameIndex(
            f"frame {index} {ways[direction]} after frame {last} {ways[way]}: a video travels one way, and what lies ahead is forgotten. "
            "Open a new video from a snapshot taken there, or give prompts with track=false first and go on from any frame."
        )
    return index, direction


def _refined(options: Options, last: int | None) -> int:
    if last is None:
        raise BadFrameIndex("refine repeats the frame answered last, but no frame was answered yet. Send this frame without refine.")
    if options.frame_index not in (None, last):
        raise BadFrameIndex(f"refine repeats frame {last}, but frame_index is {options.frame_index}. Leave frame_index out.")
    return last
