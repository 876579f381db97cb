"""A camera does not wait: where the server is slower, the catch-up leaves frames out, and says so."""

from __future__ import annotations

import logging
import time
from itertools import pairwise

import pytest

from masklet import Tracker
from masklet.sources.frame import Frame
from tests.client.rewinds import CLICKS, FRAMES, same
from tests.fakes.recalling import SIDE, Recalling


@pytest.fixture
def stride(monkeypatch):
    """Of how many frames one can be tracked again, as the rates say from now on."""
    told = [1]
    monkeypatch.setattr("masklet.history.pace.Pace.stride", lambda *_: told[0])
    monkeypatch.setattr("masklet.history.log.EVERY", 100)
    return told


def filmed(index, camera=True):
    return Frame(index, index / 30, f"{index:05}", FRAMES[index], (SIDE, SIDE), time.monotonic() if camera else None)


def play(video, indices, *prompts, camera=True):
    results = []
    for index in indices:
        for at, number, prompt in prompts:
            if at == index:
                video.prompt(number, **prompt)
        results.append(video.track(filmed(index, camera), logits=True, masks="rle"))
    return results


def in_time(indices, *prompts):
    with Tracker("here:1", transport=Recalling()) as tracker, tracker.open() as video:
        return play(video, indices, *prompts), video.snapshot()


def test_frames_are_left_out_by_index_and_counted(make_tracker, stride, caplog):
    prompts = [(0, 1, CLICKS[1]), (12, 2, CLICKS[2])]
    with make_tracker("here:1", transport=Recalling()).open(history_s=1e6) as video:
        play(video, range(30), *prompts)
        stride[0] = 3
        with caplog.at_level(logging.WARNING, "masklet"):
            with video.rewind(5) as past:
                past.prompt(1, **CLICKS[3])
            again = past.wait()
        indices = [result.frame_index for result in again]
        assert 12 in indices, "a frame with a prompt is never left out"
        assert indices[0] == 5
        assert indices[-1] == 29
        assert [result.skipped for result in again] == [0, *(later - one - 1 for one, later in pairwise(indices))]
        assert max(result.skipped for result in again) == 2
        assert all(result.age_s > 0 and result.frame.name == f"{result.frame_index:05}" for result in again)
        expected, state = in_time([*range(5), *indices], *prompts, (5, 1, CLICKS[3]))
        assert same(again, expected[5:])
        assert video.snapshot() == state
        assert len(caplog.records) == 1, "once"
        assert "only every 3. frame or so is tracked again" in caplog.text
        stride[0] = 1
        never, state = in_time(range(30), *prompts)
        assert same(video.undo().wait(), never[5:]), "what was left out is not lost"
        assert video.snapshot() == state


def test_a_video_that_is_sent_as_fast_as_it_goes_lets_the_branch_get_there(make_tracker, monkeypatch):
    monkeypatch.setattr("masklet.history.head._PATIENCE_S", 60.0)
    server = Recalling()
    with make_tracker("here:1", transport=server).open(history_s=1e6) as video:
        play(video, range(30), (0, 1, CLICKS[1]), camera=False)
        server.requests.clear()
        with video.rewind(1) as past:
            past.prompt(1, **CLICKS[3])
        while not past.done:
            video.track(FRAMES[0])
        branch = video.video_id
    ids = [request.video_id for request in server.requests if "FRAME" in request.tensors]
    live = [number for number, one in enumerate(ids) if one != branch]
    replayed = ids[: live[-1] if live else 0].count(branch)
    assert len(live) <= 2 + replayed / 2, "one for two frames that are tracked again"


def test_who_is_no_camera_can_wait_and_loses_nothing(make_tracker, stride):
    with make_tracker("here:1", transport=Recalling()).open(history_s=1e6) as video:
        play(video, range(20), (0, 1, CLICKS[1]), camera=False)
        stride[0] = 3
        with video.rewind(5) as past:
            past.prompt(1, **CLICKS[3])
        play(video, range(20, 30), camera=False)
        assert [result.skipped for result in past.wait()][:15] == [0] * 15
        _, state = in_time(range(30), (0, 1, CLICKS[1]), (5, 1, CLICKS[3]))
        assert video.snapshot() == state
