"""Recordings sent again: what is sent, what is compared, and what is left out."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from masklet import BadFrame, BadPrompt, MaskletError, ServerBusy, Tracker, VideoLost
from masklet.recording import read
from masklet.recording.replay import Comparison, replay
from masklet.testing import MockTransport, Request, answer
from masklet.wire import Options

MASK = np.zeros((8, 8), bool)
MASK[2:6, 2:6] = True
COUNT = 5


def picture(number: int) -> np.ndarray:
    return np.full((8, 8, 3), number, np.uint8)


class Server:
    """Gives each frame the masks that `answers` says for its index, or the refusal; else MASK for object 1."""

    def __init__(self, answers: dict | None = None) -> None:
        self.answers, self.count = answers or {}, 0

    def __call__(self, request: Request):
        if "FRAME" not in request.tensors:
            return answer(request, {})
        given = self.answers.get(int(request.tensors["FRAME"].flat[0]), {1: MASK})
        if isinstance(given, MaskletError):
            return given
        return answer(request, given, int(request.tensors["FRAME"].flat[0]))


class Other(Server):
    """Its numbers and frame indices are not those of Server."""

    def __call__(self, request: Request):
        if "FRAME" not in request.tensors:
            return answer(request, {})
        given = answer(request, {1: MASK}, int(request.tensors["FRAME"].flat[0]) + 1)
        return replace(given, tensors={**given.tensors, "IOUS": given.tensors["IOUS"] - np.float32(0.25)})


def recorded(folder: Path, server: Server) -> None:
    with Tracker("test:1", transport=MockTransport(server), record=folder) as tracker, tracker.open("mine") as video:
        for number in range(COUNT):
            with suppress(MaskletError):
                video.track(picture(number))


def again(folder: Path, server: Server) -> tuple[Comparison, list[Request]]:
    transport = MockTransport(server)
    return replay(read(folder), transport), transport.requests


def test_what_is_the_same_is_equal_and_the_video_is_another(tmp_path: Path) -> None:
    recorded(tmp_path, Server())
    compared, requests = again(tmp_path, Server())
    assert str(compared) == f"{COUNT + 1} answers, {COUNT} masks: all equal"
    assert [one.end for one in requests] == [False] * COUNT + [True]
    assert len({one.video_id for one in requests} | {"mine"}) == 2
    assert len({one.parameters["owner"] for one in requests}) == 1


HALF = MASK.copy()
HALF[2:4] = False


@pytest.mark.parametrize(
    ("answers", "told", "iou"),
    [
        ({3: {1: HALF}}, "frame 3, object 1: the mask has IoU 0.5000 with the recorded one", 0.5),
        ({3: {}}, "frame 3: object 1 is missing now", 1.0),
        ({3: {1: MASK, 2: MASK}}, "frame 3: object 2 was not there", 1.0),
        ({3: BadFrame("no. Send another.")}, "frame 3 was answered, and is refused now: MASKLET_BAD_FRAME: no. Send another.", 1.0),
    ],
)
def test_what_differs_is_said(tmp_path: Path, answers: dict, told: str, iou: float) -> None:
    recorded(tmp_path, Server())
    compared, _ = again(tmp_path, Server(answers))
    assert [one.text.split(" [request")[0] for one in compared.differences] == [told]
    assert (compared.differences[0].request, compared.differences[0].frame_index, compared.lowest_iou) == (3, 3, iou)
    assert asdict(compared)["answers"] == COUNT + 1


def test_a_refusal_that_is_none_now_and_another_one_are_said(tmp_path: Path) -> None:
    recorded(tmp_path, Server({2: BadFrame("no. Send another.")}))
    for now, told in (({}, "is answered now"), ({2: BadPrompt("other. Do so.")}, "was refused otherwise"), ({2: BadFrame("words. Others.")}, "")):
        compared, _ = again(tmp_path, Server(now))
        assert [told in one.text for one in compared.differences] == [True] * bool(told)


@pytest.mark.parametrize("refusal", [ServerBusy("full. Retry in 1 s."), BadFrame("no. Send another.")])
def test_refusals_of_the_moment_are_left_out_and_the_first_request_may_be_one(tmp_path: Path, refusal: MaskletError) -> None:
    recorded(tmp_path, Server({0: refusal}))
    compared, requests = again(tmp_path, Server())
    of_the_moment = isinstance(refusal, ServerBusy)
    assert [one.request for one in compared.differences] == ([] if of_the_moment else [0])
    assert requests[0].start
    assert int(requests[0].tensors["FRAME"].flat[0]) == of_the_moment


def test_where_nothing_can_be_compared_nothing_is_called_equal(tmp_path: Path) -> None:
    recorded(tmp_path, Server())
    session = tmp_path / "session.jsonl"
    session.write_bytes(session.read_bytes().split(b"\n")[0] + b"\n")
    compared, _ = again(tmp_path, Server())
    assert (compared.answers, str(compared)) == (0, "no answer to compare")


def test_a_replay_that_is_stopped_and_a_recording_without_an_end_free_their_video(tmp_path: Path) -> None:
    recorded(tmp_path, Server())
    transport = MockTransport(Server())

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replay(read(tmp_path), transport, tell=stop)
    first, last = transport.requests[0], transport.requests[-1]
    assert (last.end, last.video_id, last.parameters["owner"]) == (True, first.video_id, first.parameters["owner"])
    session = tmp_path / "session.jsonl"
    session.write_bytes(session.read_bytes()[: session.read_bytes().rindex(b'{"request":')])
    compared, requests = again(tmp_path, Server())
    assert (compared.answers, [one.end for one in requests]) == (COUNT, [False] * COUNT + [True])


def test_nothing_follows_a_first_request_that_is_refused_now(tmp_path: Path) -> None:
    recorded(tmp_path, Server())
    transport = MockTransport(Server({0: ServerBusy("full. Retry in 1 s.")}))
    with pytest.raises(ServerBusy, match="full"):
        replay(read(tmp_path), transport)
    assert len([one for one in transport.requests if "FRAME" in one.tensors]) == 1


def test_a_stream_that_breaks_is_an_error_that_says_where(tmp_path: Path) -> None:
    recorded(tmp_path, Server())
    with pytest.raises((VideoLost, MaskletError), match="request 0"):
        replay(read(tmp_path), MockTransport(lambda request: None), timeout_s=0.05)


def test_options_of_the_recording_are_sent_again(tmp_path: Path) -> None:
    with Tracker("test:1", transport=MockTransport(Server()), record=tmp_path) as tracker, tracker.open() as video:
        video.track(picture(0), masks="none", frame_index=7)
    _, requests = again(tmp_path, Server())
    options = Options.parse(requests[0].parameters)
    assert (options.masks, options.frame_index) == ("none", 7)


def test_other_numbers_and_other_frames_are_said(tmp_path: Path) -> None:
    recorded(tmp_path, Server())
    compared, _ = again(tmp_path, Other())
    assert [one.text for one in compared.differences] == [f"frame {number} is frame {number + 1} now" for number in range(COUNT)]
    assert (compared.numbers, compared.equal) == (0.25, COUNT)


def test_at_recorded_times_nothing_is_sent_before_its_time(tmp_path: Path) -> None:
    recorded(tmp_path, Server())
    whole = read(tmp_path)
    late = replace(whole, exchanges=[replace(one, sent_s=0.05 * number) for number, one in enumerate(whole.exchanges)])
    began = time.monotonic()
    replay(late, MockTransport(Server()), at_recorded_times=True)
    assert time.monotonic() - began >= 0.05 * COUNT
