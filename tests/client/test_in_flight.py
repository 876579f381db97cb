"""Several frames on their way at a time: order, laziness, errors in their place."""

from __future__ import annotations

import itertools
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from masklet import BadFrame, ServerBusy, Tracker
from masklet.testing import Refusal
from masklet.testing.mock import MockStream
from tests.fakes.toy_tracker import Server

FRAME = np.zeros((24, 32, 3), dtype=np.uint8)


def test_track_many_gives_results_in_order(open_video):
    with open_video(Server()) as video:
        video.prompt(1, points=[(1, 2)])
        assert [result.frame_index for result in video.track_many([FRAME] * 9, in_flight=3)] == list(range(9))


@pytest.mark.parametrize("in_flight", [1, 2, 5])
def test_track_many_takes_frames_only_as_far_as_in_flight(open_video, in_flight):
    server = Server(dict.fromkeys(range(20)))  # silent: nothing is ever answered
    taken = []
    with open_video(server) as video, pytest.raises(ServerBusy):
        next(video.track_many((taken.append(index) or FRAME for index in itertools.count()), in_flight))
    assert len(taken) == in_flight


def test_track_many_does_not_wait_for_more_frames_than_it_needs(open_video):
    taken = []
    with open_video(Server()) as video:
        results = video.track_many(taken.append(index) or FRAME for index in itertools.count())
        for _ in range(3):
            result = next(results)
            assert result.frame_index == len(taken) - 1, "a server that has answered must not wait for a camera"


def test_an_error_comes_in_the_place_of_its_frame_and_the_rest_goes_on(open_video):
    server = Server({2: Refusal("MASKLET_BAD_FRAME: frame 2. Mend it.")})
    got = []
    with open_video(server) as video:
        results = video.track_many([FRAME] * 3 + [FRAME[0]] + [FRAME] * 2, in_flight=4)
        for _ in range(6):
            try:
                got.append(next(results).frame_index)
            except BadFrame as error:
                got.append(str(error)[:12])
        with pytest.raises(StopIteration):
            next(results)
    assert got == [0, 1, "frame 2. Men", "a frame must", 2, 3]


DAMAGED = "MASKLET_BAD_FRAME: it cannot be decoded. Send another."


def test_a_damaged_file_among_good_ones_is_skipped_and_told(open_video, caplog):
    server = Server({3: Refusal(DAMAGED)})
    files = [b"0", b"1", b"2", b"3", b"4", b"5"]
    with open_video(server) as video:
        results = list(video.track_many(iter(files)))
    assert [result.frame for result in results] == [b"0", b"1", b"2", b"4", b"5"]
    assert [result.frame_index for result in results] == [0, 1, 2, 3, 4]
    assert [record.getMessage() for record in caplog.records] == [
        "frame 3 of those given to track_many is skipped: it cannot be decoded. Send another."
    ]


@pytest.mark.parametrize(
    ("frames", "options"),
    [([b"0", b"1"], {"skip_damaged": False}), ([FRAME, FRAME], {})],
    ids=["unless_asked_not_to", "pixels_cannot_be_damaged"],
)
def test_what_is_no_damaged_file_is_an_error(open_video, frames, options):
    with open_video(Server({1: Refusal(DAMAGED)})) as video, pytest.raises(BadFrame, match="cannot be decoded"):
        list(video.track_many(frames, **options))


def test_files_of_which_none_was_good_are_an_error(open_video):
    with open_video(Server({0: Refusal(DAMAGED)})) as video, pytest.raises(BadFrame, match="cannot be decoded"):
        list(video.track_many([b"0", b"1"]))


def test_results_before_a_failing_camera_are_not_lost(open_video):
    def camera():
        yield FRAME
        yield FRAME
        raise OSError("cable")

    with open_video(Server()) as video:
        results = video.track_many(camera(), in_flight=4)
        assert [next(results).frame_index, next(results).frame_index] == [0, 1]
        with pytest.raises(OSError, match="cable"):
            next(results)


def test_an_iterator_that_is_left_behind_does_not_disturb_what_follows(open_video):
    with open_video(Server()) as video:
        results = video.track_many([FRAME] * 9)
        next(results)
        sent = video.track(FRAME).frame_index
        assert video.track(FRAME).frame_index == sent + 1


def test_at_least_one_frame_must_be_in_flight(open_video):
    with open_video(Server()) as video, pytest.raises(ValueError, match="at least 1"):
        video.track_many([FRAME], in_flight=0)


def test_requests_are_sent_in_the_order_in_which_they_were_made_whatever_thread_makes_them(monkeypatch):
    plain = MockStream.send

    def slow_at_first(stream, request):
        time.sleep(0.05 if request.start else 0)
        plain(stream, request)

    monkeypatch.setattr(MockStream, "send", slow_at_first)
    with Tracker("test:1", transport=Server().transport, timeout_s=2) as tracker, tracker.open() as video, ThreadPoolExecutor(4) as pool:
        sizes = [(8 + number, 9) for number in range(4)]
        results = list(pool.map(lambda size: video.track(np.zeros((*size, 3), dtype=np.uint8)), sizes))
    assert [result.masks.shape[1:] for result in results] == sizes
