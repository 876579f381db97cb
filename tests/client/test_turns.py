"""Several threads wait for one video: one of them listens on behalf of all."""

from __future__ import annotations

import threading
import time

import numpy as np

from masklet import Tracker
from masklet.turns import Turns
from tests.fakes.toy_grpc import serving
from tests.fakes.toy_tracker import ToyTracker

FRAME = np.zeros((24, 32, 3), dtype=np.uint8)
LONG_S = 120.0  # nobody waits that long where all is well


def test_one_callers_result_does_not_wait_for_anothers():
    """Two threads wait; the one that listens has to tell the other at once, not when its own answer is there."""
    held, got = threading.Event(), threading.Event()

    def handler(request):
        if "FRAME" in request.tensors and request.tensors["FRAME_SIZE"][0, 0] == 40:
            held.wait(LONG_S)
        return toy(request)

    toy = ToyTracker()
    with serving(handler) as (url, _, _), Tracker(url, timeout_s=60) as tracker, tracker.open() as video:
        video.track(FRAME)
        one = video._send_frame(FRAME)
        other = video._send_frame(np.zeros((40, 32, 3), np.uint8))
        waits = [threading.Thread(target=video._wait, args=(other,)), threading.Thread(target=lambda: video._wait(one) and got.set())]
        for thread in waits:
            thread.start()
            time.sleep(0.02)
        assert got.wait(LONG_S / 2)
        held.set()
        for thread in waits:
            thread.join()


def test_who_waits_for_anothers_turn_can_be_woken_for_something_else():
    turns, listening, heard, done = Turns(), threading.Event(), threading.Event(), []
    leader = threading.Thread(target=turns.attempt, args=(lambda: listening.set() or heard.wait(LONG_S),))
    leader.start()
    listening.wait(LONG_S)
    follower = threading.Thread(target=turns.wait, args=(lambda: bool(done), lambda: None))
    follower.start()
    time.sleep(0.02)
    done.append(True)
    turns.wake()
    follower.join(LONG_S / 2)
    assert not follower.is_alive()
    heard.set()
    leader.join()
