"""Whether what the bank holds is what it must be. Cheap enough to run between requests, over one video at a time.

Each check gives sentences, none where all is well. What they find is a mistake of ours (or a forged snapshot, which is refused so): nothing that a
client sends may lead here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import isfinite, prod

from masklet.families import MEMORY_WIDTH, Variant
from masklet_bank.bank import ObjectBank
from masklet_bank.ledger import NOTHING, Footprint, VideoId
from masklet_bank.video import Video
from masklet_bank.videos import Videos


class Inspector:
    """Looks at all videos, one at a time, and at the ledger. Says each problem once."""

    def __init__(self, variant: Variant, object_bytes: Callable[[int], int]) -> None:
        self._variant = variant
        self._object_bytes = object_bytes
        self._queue: list[VideoId] = []
        self._said: set[str] = set()

    def look(self, videos: Videos) -> list[str]:
        """What is wrong with the ledger and with the video whose turn it is, if that was not said before. Between executions only."""
        found = check_videos(videos)
        self._queue = self._queue or list(videos.live)
        if self._queue:
            video_id = self._queue.pop()
            found += self._video(videos, video_id)
        new = [problem for problem in found if problem not in self._said]
        self._said.update(new)
        return new

    def _video(self, videos: Videos, video_id: VideoId) -> list[str]:
        video = videos.find(video_id)
        if video is None:
            return []
        found = [f"video {video_id!r}: {problem}" for problem in check_video(video, self._variant)]
        counted, settled = video.footprint(self._object_bytes), videos.ledger.settled.get(video_id, NOTHING)
        if counted != settled:
            found.append(f"video {video_id!r}: the ledger says {settled}, and it is {counted}")
        return found


def check_videos(videos: Videos) -> list[str]:
    """Ids, times and sums of all videos, without looking into them."""
    ledger, live = videos.ledger, set(videos.live)
    found = [
        f"{what} knows the videos {sorted(map(str, ids ^ live))} otherwise than they live"
        for what, ids in (("the ledger", set(ledger.settled)), ("the clock", set(videos.last_used)))
        if ids != live
    ]
    if ledger.under_way or videos.working:
        found.append(f"requests are under way between executions: {[*ledger.under_way, *videos.working]}")
    total = Footprint(*map(sum, zip(NOTHING, *ledger.settled.values(), strict=True)))
    if total != ledger.held or total.reserved != ledger.taken:
        found.append(f"the ledger holds {ledger.held} with {ledger.taken} bytes taken, and its entries are {total}")
    return found


def check_video(video: Video, variant: Variant) -> list[str]:
    """Position, counts, frames and arrays of one video."""
    found = list(_position(video))
    if not found:
        owners: dict[int, tuple[int, int]] = {}
        for object_id, bank in video.objects.items():
            problems = (*_frames(video, bank), *_last(bank), *_arrays(bank, variant), *_shared(object_id, bank, owners))
            found += [f"object {object_id}: {problem}" for problem in problems]
    return found


def _position(video: Video) -> Iterator[str]:
    limits = video.limits
    if video.direction not in (1, -1) or type(video.direction) is not int or type(video.travelled) is not bool:
        yield f"it travels {video.direction!r}, {video.travelled!r}"
    if video.frame is None and (video.objects or video.travelled):
        yield "it has objects or has travelled, but no frame was answered"
    if video.frame is not None and not 0 <= video.frame < 2**63:
        yield f"it stands at frame {video.frame}"
    if len(video.objects) > limits.max_objects:
        yield f"{len(video.objects)} objects, over {limits.max_objects}"
    if limits.max_prompted and video.prompted > limits.max_prompted:
        yield f"{video.prompted} prompted frames, over {limits.max_prompted}"


def _frames(video: Video, bank: ObjectBank) -> Iterator[str]:
    family, conditioning = video.policy.family, set(bank.conditioning)
    if not conditioning:
        yield "it was never prompted"
    if any(frame != answer.frame for frame, answer in bank.conditioning.items()):
        yield "a prompted frame is kept as another"
    if conditioning & {*bank.memories, *bank.pointers, *bank.trusted}:
        yield "a frame is a prompted one and an ordinary one"
    if not bank.memories.keys() <= bank.pointers.keys():
        yield "a frame has a memory and no pointer"
    if not family.corrections_condition and any(answer.tracked is not None for answer in bank.conditioning.values()):
        yield "a corrected frame is kept as a prompted one"
    if bank.trusted and not video.policy.judges:
        yield "frames are trusted where masks are not judged"
    if any(not 0 <= frame < 2**63 for frame in (*conditioning, *bank.pointers, *bank.trusted)):
        yield "a frame has no index"
    if not video.travelled or video.frame is None:
        return
    kept = (("memories", bank.memories, family.num_memories), ("pointers", bank.pointers, family.num_pointers))
    for what, frames, most in (*kept, ("trusted frames", bank.trusted, family.num_pointers + 1)):
        if len(frames) > most:
            yield f"{len(frames)} {what}, over {most}"
        if ahead := [frame for frame in frames if video.direction * (video.frame - frame) < 0]:
            yield f"{what} of frames {ahead} lie ahead of frame {video.frame}"
    if overdue := video.policy.overdue(bank.conditioning, video.frame, video.direction):
        yield f"the prompted frames {overdue} are over the cap"


def _last(bank: ObjectBank) -> Iterator[str]:
    last = bank.last
    if last is None or bank.conditioning.get(last.frame) is last:
        return
    if last.frame in bank.conditioning:
        yield f"its newest answer is not that of the prompted frame {last.frame}"
    elif bank.memories.get(last.frame) is not last.result.memory or bank.pointers.get(last.frame) is not last.result.pointer:
        yield f"its newest answer is not what is remembered of frame {last.frame}"


def _arrays(bank: ObjectBank, variant: Variant) -> Iterator[str]:
    """Shapes and sizes; values only where they are numbers of ours, since arrays may lie on a GPU."""
    for answer in bank.answers:
        yield from (f"a score is {one.score}, an IoU {one.iou}" for one in answer.results if not (isfinite(one.score) and isfinite(one.iou)))
        if answer.points.shape != (len(answer.labels), 2) or answer.labels.ndim != 1:
            yield f"points of shape {answer.points.shape} for labels of shape {answer.labels.shape}"
    shapes = {"logits": ((variant.low_size,) * 2, 4), "memory": ((variant.memory_tokens, MEMORY_WIDTH), 2), "pointer": ((variant.hidden,), 4)}
    for _, what, array in bank.arrays():
        shape, itemsize = shapes.get(what) or (tuple(array.shape), 4)  # of points and labels there may be any number
        if tuple(array.shape) != shape or array.nbytes != prod(shape) * itemsize:
            yield f"{what} of shape {tuple(array.shape)} and {array.nbytes} bytes, expected {shape} and {prod(shape) * itemsize}"


def _shared(object_id: int, bank: ObjectBank, owners: dict[int, tuple[int, int]]) -> Iterator[str]:
    """An array belongs to one object and one frame: it is counted once, and is forgotten with them."""
    for frame, _, array in bank.arrays():
        owner = owners.setdefault(id(array), (object_id, frame)) if array.nbytes else (object_id, frame)
        if owner != (object_id, frame):
            yield f"an array of frame {frame} is also that of object {owner[0]}, frame {owner[1]}"
