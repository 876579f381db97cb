"""A video used where it was not opened: in a forked child, in another event loop, in a process that gevent has patched."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from masklet import AsyncTracker, Tracker
from tests.fakes.toy_grpc import serving
from tests.fakes.toy_tracker import Server, ToyTracker

FRAME = np.zeros((24, 32, 3), dtype=np.uint8)
ROOT = Path(__file__).resolve().parents[2]

# In a process of its own: this one has threads, with which one does not fork.
FORKED = """
import os, sys
sys.path.insert(0, {root!r})
import numpy as np
from tests.fakes.toy_tracker import Server
import masklet

frame, server = np.zeros((24, 32, 3), np.uint8), Server()
tracker = masklet.Tracker("test:1", transport=server.transport)
video = tracker.open(resilient={resilient})
video.track(frame)
results = video.track_many([frame] * 3)
if os.fork() == 0:
    calls = (lambda: video.track(frame), lambda: next(results), lambda: video.track_many([frame]), video.snapshot, lambda: video.remove(1),
             lambda: video.prompt(1, points=[(1, 2)]))
    for call in calls:
        try:
            call()
            print("nothing happened", flush=True)
        except RuntimeError as error:
            print("told" if str(os.getppid()) in str(error) and "open a new video" in str(error) else error, flush=True)
    video.close()
    tracker.close()
    print(len(server.transport.requests), flush=True)
    os._exit(0)
os.wait()
print("parent", video.track(frame).frame_index, flush=True)
video.close()
"""

PATCHED = """
import sys
from gevent import monkey
monkey.patch_all()
{extra}
import numpy as np, masklet
try:
    with masklet.Tracker(sys.argv[1], timeout_s=20) as tracker, tracker.open(resilient={resilient}) as video:
        print([result.frame_index for result in video.track_many([np.zeros((24, 32, 3), np.uint8)] * 3)])
except RuntimeError as error:
    print(error)
"""
TOLD = "import grpc.experimental.gevent; grpc.experimental.gevent.init_gevent()"


@pytest.mark.parametrize("resilient", [False, True])
def test_a_forked_child_is_told_that_the_video_is_the_parents_and_does_not_disturb_it(resilient):
    code = FORKED.format(root=str(ROOT), resilient=resilient)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split("\n")[:-1] == [*["told"] * 6, "1", "parent 1"], done.stderr


def test_a_tracker_in_a_child_of_a_process_that_used_grpc_warns(monkeypatch):
    monkeypatch.setattr("masklet.transport.grpc_transport._used_in", os.getppid())
    with pytest.warns(RuntimeWarning, match="forked from process .* 'spawn'"):
        Tracker("localhost:1")
    Tracker("localhost:1")


@pytest.mark.parametrize("resilient", [False, True])
def test_another_event_loop_is_told_to_open_a_video_of_its_own(resilient):
    async def opened():
        video = await AsyncTracker("test:1", transport=Server().transport).open(resilient=resilient)
        await video.track(FRAME)
        return video, video.track_many([FRAME])

    async def used(call):
        with pytest.raises(RuntimeError, match=r"another event loop.*open a new video in this loop"):
            await call()

    video, results = asyncio.run(opened())
    for call in (lambda: video.track(FRAME), lambda: anext(results), video.snapshot, lambda: video.remove(1), video.close):
        asyncio.run(used(call))


@pytest.mark.parametrize(
    ("extra", "resilient"), [("", False), ("", True), (TOLD, False), (TOLD, True)], ids=["plain", "resilient", "told", "told_resilient"]
)
def test_a_process_that_gevent_has_patched_is_told_what_to_add_and_works_with_it(extra, resilient):
    with serving(ToyTracker()) as (url, _, _):
        code = PATCHED.format(extra=extra, resilient=resilient)
        done = subprocess.run([sys.executable, "-c", code, url], capture_output=True, text=True, timeout=60, check=False)
    says = "[0, 1, 2]" if extra else "Add these two lines"
    assert says in done.stdout, done.stderr
