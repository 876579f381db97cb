"""Videos with and without late clicks, over a server whose masks show all that it read."""

from __future__ import annotations

from masklet import Tracker
from tests.fakes.recalling import Recalling, pictures
from tests.serving.agreement import equal

COUNT = 40
FRAMES = pictures(COUNT)
CLICKS = {number: {"points": [(3 + 4 * number, 5 * number)]} for number in range(1, 7)}
START = (0, 1, CLICKS[1])  # frame, object, prompt


def give(target, *prompts):
    for object_id, prompt in prompts:
        target.remove(object_id) if prompt is None else target.prompt(object_id, **prompt)


def sent(video, frames, *prompts, **options):
    """Results of these frames; prompts are (frame, object, arguments), no arguments: its removal."""
    results = []
    for index in frames:
        give(video, *(prompt for at, *prompt in prompts if at == index))
        results.append(video.track(FRAMES[index], frame_index=index, logits=True, **options))
    return results


def in_time(*prompts, frames=range(COUNT), **options):
    """Results of a video of these frames whose prompts came in time, and its state at the end."""
    with Tracker("here:1", transport=Recalling()) as tracker, tracker.open() as video:
        return sent(video, frames, *prompts, **options), video.snapshot()


def same(some, others):
    assert len(some) == len(others)
    return all(equal(one, other) for one, other in zip(some, others, strict=True))


def late(video, frame_index, *prompts):
    """The results that come again."""
    with video.rewind(frame_index) as past:
        give(past, *prompts)
    return past.wait()
