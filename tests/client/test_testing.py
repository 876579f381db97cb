"""What `masklet.testing` gives to tests of programs that use the client."""

from __future__ import annotations

import numpy as np
import pytest

import masklet
from masklet import testing
from masklet.testing import MockTransport, answer

SIZE = (24, 32)
FRAMES = {"pixels": np.zeros((*SIZE, 3), np.uint8), "file": b"jpeg"}


def square(top: int, left: int, side: int) -> np.ndarray:
    mask = np.zeros(SIZE, np.bool_)
    mask[top : top + side, left : left + side] = True
    return mask


MASKS = {7: square(3, 5, 4), 2: square(0, 0, 0)}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_an_answer_made_of_masks_is_read_as_these_masks_with_their_boxes(make_tracker, frame):
    def handler(request):
        if not request.tensors.keys() & {"FRAME", "FRAME_ENCODED"}:
            return answer(request, {}, 3, snapshot=b"all of it")
        return answer(request, MASKS, 3, scores={2: -4.5}, snapshot=b"all of it", draining=True)

    with make_tracker("test:0", transport=MockTransport(handler)) as tracker, tracker.open() as video:
        video.prompt(7, points=[(6, 4)])
        result = video.track(frame, logits=True, snapshot=True)
        assert video.track(frame).snapshot is None
        assert video.snapshot() == b"all of it"
    assert (result.frame_index, result.object_ids, result.scores.tolist(), result.draining) == (3, (7, 2), [1.0, -4.5], True)
    assert result.boxes.tolist() == [[5, 3, 9, 7], [0, 0, 0, 0]]
    np.testing.assert_array_equal(result.masks, list(MASKS.values()))
    assert (len(result.logits), result.snapshot) == (2, b"all of it")


def test_errors_of_a_handler_are_those_of_the_call():
    transport = MockTransport(lambda request: masklet.ServerBusy("full. Retry later.") if request.start else answer(request, {}))
    with masklet.Tracker("test:0", transport=transport) as tracker, tracker.open() as video, pytest.raises(masklet.ServerBusy, match="full"):
        video.track(b"jpeg")


def test_what_it_offers_is_documented():
    offered = [getattr(testing, name) for name in testing.__all__]
    assert [thing for thing in offered if isinstance(thing, type) and not thing.__doc__] == []
