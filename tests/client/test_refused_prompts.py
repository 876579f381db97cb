"""The prompts of a refused frame: kept for the next one, but for the one that was the reason."""

from __future__ import annotations

import itertools
import operator
from typing import Any

import numpy as np
import pytest

from masklet import BadFrame, BadPrompt, MaskletError, ServerBusy, ServerFault, TooManyObjects, TooManyPoints
from masklet.testing import Refusal
from tests.fakes.toy_replicas import at
from tests.fakes.toy_tracker import Server

FRAME = np.zeros((24, 32, 3), dtype=np.uint8)
POINT = {"points": [(1, 2)]}
CODE = operator.attrgetter("code")
NAMED = BadPrompt("object 4 (prompt 3): x1 is 70. In this frame x is a number from 0 to 64 (pixels).")


def objects(server: Server) -> list[list[int]]:
    return [[item["object"] for item in items] for items in server.prompts]


def refused(error: MaskletError) -> Refusal:
    return Refusal(error.wire())


def track(video: Any) -> Any:
    """The objects of a frame, or the kind of its error."""
    try:
        return video.track(FRAME).object_ids
    except MaskletError as error:
        return type(error)


@pytest.mark.parametrize(
    "error", [BadFrame("no."), ServerBusy("full."), ServerFault("an engine failed. Nothing was changed.")], ids=lambda one: one.code
)
def test_they_go_with_the_next_frame(open_video, error):
    server = Server({0: refused(error)})
    with open_video(server, video_id=1) as video:
        video.prompt(1, **POINT)
        video.prompt(2, **POINT)
        with pytest.raises(type(error), match=r"The prompts of objects \[1, 2\] go with the next frame\."):
            video.track(FRAME)
        assert track(video) == (1, 2)
        assert track(video) == (1, 2)
    assert objects(server) == [[1, 2], [1, 2], [], []]


@pytest.mark.parametrize(
    "error", [NAMED, TooManyPoints("object 4 has 70 points on frame 0; this server allows 64. Send fewer points.")], ids=lambda one: one.code
)
def test_the_one_that_was_the_reason_is_dropped_and_the_others_are_not(open_video, error):
    server = Server({0: refused(error)})
    with open_video(server) as video:
        for object_id in (1, 2, 3, 4):
            video.prompt(object_id, **POINT)
        with pytest.raises(type(error), match=r"objects \[4\] are dropped\. The prompts of objects \[1, 2, 3\] go with the next"):
            video.track(FRAME)
        assert [track(video) for _ in range(3)] == [(1, 2, 3)] * 3


def test_several_bad_ones_are_dropped_one_by_one(open_video):
    server = Server({0: refused(NAMED), 1: refused(BadPrompt("object 2 (prompt 1): no.")), 2: refused(BadPrompt("object 3 (prompt 1): no."))})
    with open_video(server) as video:
        for object_id in (1, 2, 3, 4):
            video.prompt(object_id, **POINT)
        assert [track(video) for _ in range(4)] == [BadPrompt, BadPrompt, BadPrompt, (1,)]


@pytest.mark.parametrize(
    "error", [BadPrompt("what?"), TooManyObjects("33, the limit is 32."), ServerFault("an engine failed.")], ids=lambda one: one.code
)
def test_what_may_be_their_own_fault_is_tried_once_more_and_no_more(open_video, error):
    """Else a video would stand still for one prompt that a server cannot take."""
    server = Server({1: refused(error), 2: refused(error)})
    with open_video(server) as video:
        assert track(video) == ()
        video.prompt(1, **POINT)
        assert track(video) is type(error)
        video.prompt(2, **POINT)
        with pytest.raises(type(error), match=r"objects \[1\] are dropped\. The prompts of objects \[2\] go"):
            video.track(FRAME)
        assert track(video) == (2,)
    assert objects(server) == [[], [1], [1, 2], [2], []]


def test_a_full_server_may_be_asked_as_often_as_one_likes_but_a_video_does_not_stand_still_for_an_object(open_video):
    full = refused(ServerBusy("no room."))
    server = Server(dict.fromkeys((0, 1, 2, 3, 5, 6), full))
    with open_video(server, video_id=1) as video:
        video.prompt(1, **POINT)
        assert [track(video) for _ in range(5)] == [*[ServerBusy] * 4, (1,)]
        video.prompt(2, **POINT)
        assert [track(video) for _ in range(3)] == [ServerBusy, ServerBusy, (1,)]


def test_newer_ones_of_the_same_object_count_and_what_they_add_is_added(open_video):
    server = Server({0: refused(BadFrame("no."))})
    with open_video(server) as video:
        for object_id in (1, 2, 3):
            video.prompt(object_id, **POINT)
        video.prompt(4, mask=np.ones((24, 32), np.uint8))
        assert track(video) is BadFrame
        video.prompt(1, points=[(5, 6)])
        video.prompt(2, points=[(5, 6)], labels=[0], append=True)
        video.prompt(4, points=[(5, 6)], append=True)
        track(video)
    assert server.prompts[1] == [
        {"object": 1, "points": [[5.0, 6.0]], "labels": [1]},
        {"object": 2, "points": [[1.0, 2.0], [5.0, 6.0]], "labels": [1, 0]},
        {"object": 3, "points": [[1.0, 2.0]], "labels": [1]},
        {"object": 4, "points": [[5.0, 6.0]], "labels": [1], "append": True},
    ]


def test_remove_drops_them(open_video):
    server = Server({0: refused(BadFrame("no."))})
    with open_video(server) as video:
        video.prompt(1, **POINT)
        video.prompt(2, **POINT)
        assert track(video) is BadFrame
        video.remove(1)
        assert track(video) == (2,)


def test_with_frames_in_flight_they_go_with_the_next_one_that_is_sent(open_video):
    """Frames 2 and 3 may be on their way already when frame 1 is refused."""
    server = Server({1: refused(BadFrame("no."))})
    with open_video(server, timeout_s=5) as video:
        video.track(FRAME)
        video.prompt(1, **POINT)
        results, seen = video.track_many([FRAME] * 9, in_flight=3), []
        for number in itertools.count():
            try:
                seen.append(next(results).object_ids)
            except BadFrame:
                assert number == 0
            except StopIteration:
                break
    assert seen[-1] == (1,)
    assert list(itertools.chain(*objects(server))) == [1, 1], "sent twice: refused, and kept"


def test_a_resilient_video_keeps_them_too(pair):
    servers = pair()
    with servers.video as video:
        video.track(b"0")
        for object_id in (1, 2, 4):
            video.prompt(object_id, **POINT)
        servers.one.fault = at(0, fault=refused(NAMED))
        with pytest.raises(BadPrompt, match=r"objects \[4\] are dropped.*\[1, 2\] go"):
            video.track(b"1")
        assert video.track(b"2").object_ids == (1, 2)


def test_a_resilient_video_keeps_those_of_a_frame_that_could_not_be_sent(pair):
    def fail(_request):
        raise MemoryError

    servers = pair()
    with servers.video as video:
        video.track(b"0")
        video.prompt(1, **POINT)
        servers.one.fault = fail
        with pytest.raises(MemoryError):
            video.track(b"1")
        servers.one.fault = lambda request: None
        assert video.track(b"2").object_ids == (1,)
