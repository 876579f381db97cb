"""Prompts for a frame that is over: late is as good as in time, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest

from tests.fakes.recalling import Recalling, pictures
from tests.serving.agreement import equal

FRAMES = pictures(40)
CLICKS = {object_id: {"points": [(3 + 4 * object_id, 5 * object_id)]} for object_id in range(1, 6)}


@pytest.fixture
def open_video(make_tracker):
    def make(**opened):
        return make_tracker("here:1", transport=Recalling()).open(**opened)

    return make


def in_time(open_video, prompts, count=40, **options):
    """Results of a video whose frames had these prompts, and its snapshot at the end."""
    with open_video() as video:
        results = []
        for index in range(count):
            for object_id, prompt in prompts.get(index, []):
                video.prompt(object_id, **prompt)
            results.append(video.track(FRAMES[index], logits=True, **options))
        return results, video.snapshot()


@pytest.mark.parametrize("objects", [1, 2, 4])
def test_a_late_click_is_one_in_time(open_video, objects):
    first = [(object_id, CLICKS[object_id]) for object_id in range(1, objects + 1)]
    expected, state = in_time(open_video, {0: first, 20: [(1, CLICKS[5])]})
    with open_video(history_s=1e6) as video:
        for object_id, prompt in first:
            video.prompt(object_id, **prompt)
        live = [video.track(frame, logits=True) for frame in FRAMES[:30]]
        with video.rewind(20) as past:
            past.prompt(1, **CLICKS[5])
        again = past.wait()
        live += [video.track(frame, logits=True) for frame in FRAMES[30:]]
        assert video.snapshot() == state
    assert all(equal(one, other) for one, other in zip(live[:20] + again + live[30:], expected, strict=True))
    assert [result.label for result in again] == ["replayed"] * 10
    assert not np.array_equal(live[20].logits, again[0].logits)
