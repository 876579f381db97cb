"""Several threads wait for one video: one of them listens on behalf of all."""

from __future__ import annotations

import asyncio
import threading
import time

import numpy as np
import pytest

from masklet import Tracker
from masklet.concurrency.event_loop import LoopCondition
from masklet.concurrency.threads import ThreadCondition, finish
from masklet.concurrency.turns import Turns
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

    def wait(pending):
        finish(connection.settle(pending))
        return pending.result()

    toy = ToyTracker()
    with serving(handler) as (url, _, _), Tracker(url, timeout_s=60) as tracker, tracker.open() as video:
        video.track(FRAME)
        connection = video._video._connection
        one = connection.frame(FRAME)
        other = connection.frame(np.zeros((40, 32, 3), np.uint8))
        waits = [threading.Thread(target=wait, args=(other,)), threading.Thread(target=lambda: wait(one) and got.set())]
        for thread in waits:
            thread.start()
            time.sleep(0.02)
        assert got.wait(LONG_S / 2)
        held.set()
        for thread in waits:
            thread.join()


def test_who_waits_for_anothers_turn_can_be_woken_for_something_else():
    turns, listening, heard, done = Turns(ThreadCondition()), threading.Event(), threading.Event(), []

    async def listen():
        listening.set()
        heard.wait(LONG_S)

    async def nothing():
        pass

    leader = threading.Thread(target=lambda: finish(turns.attempt(listen)))
    leader.start()
    listening.wait(LONG_S)
    follower = threading.Thread(target=lambda: finish(turns.wait(lambda: bool(done), nothing)))
    follower.start()
    time.sleep(0.02)
    done.append(True)
    turns.wake()
    follower.join(LONG_S / 2)
    assert not follower.is_alive()
    heard.set()
    leader.join()


def test_a_task_that_waits_for_anothers_turn_can_be_woken_for_something_else():
    async def play():
        turns, heard, done = Turns(LoopCondition()), asyncio.Event(), []
        leader = asyncio.create_task(turns.attempt(heard.wait))
        await asyncio.sleep(0)
        follower = asyncio.create_task(turns.wait(lambda: bool(done), heard.wait))
        await asyncio.sleep(0)
        done.append(True)
        turns.wake()
        await asyncio.wait_for(follower, LONG_S / 2)
        assert not leader.done()
        heard.set()
        await leader

    asyncio.run(play())


def test_a_task_that_is_cancelled_in_its_turn_leaves_it_to_others():
    async def play():
        turns, never, got = Turns(LoopCondition()), asyncio.Event(), []
        leader = asyncio.create_task(turns.wait(lambda: False, never.wait))
        await asyncio.sleep(0)

        async def listen():
            got.append(True)

        follower = asyncio.create_task(turns.wait(lambda: bool(got), listen))
        await asyncio.sleep(0)
        assert got == []
        leader.cancel()
        await asyncio.wait_for(follower, LONG_S / 2)
        assert got == [True]

    asyncio.run(play())


def test_a_wait_in_an_event_loop_ends_by_a_notice_by_time_or_by_being_cancelled_and_leaves_nothing_behind():
    async def play():
        condition, true = LoopCondition(), []
        assert not await condition.wait_for(lambda: true, 0.01)
        waits = [asyncio.create_task(condition.wait_for(lambda: true, LONG_S)) for _ in range(2)]
        await asyncio.sleep(0)
        waits[0].cancel()
        condition.notify_all()  # nothing is true yet
        await asyncio.sleep(0)
        true.append(1)
        condition.notify_all()
        assert await asyncio.wait_for(waits[1], LONG_S / 2)
        assert waits[0].cancelled()
        return condition

    assert asyncio.run(play())._waiters == set()


def test_a_coroutine_that_would_need_an_event_loop_is_a_mistake_of_ours():
    with pytest.raises(AssertionError, match="gave way"):
        finish(asyncio.sleep(0))
