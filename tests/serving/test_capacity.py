"""A full server answers: who comes too many is refused at once, with a reason and a hint, and nobody is left waiting."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from masklet import Tracker, errors
from masklet_build.models.variants import variant
from masklet_build.serve import Server
from tests.serving.clips import clip
from tests.serving.small import VARIANT, Serve
from tests.serving.wire import Answer, Wire

pytestmark = [pytest.mark.server, pytest.mark.torch]

MAX_VIDEOS = 3
AT_ONCE = 10 * MAX_VIDEOS  # videos that begin at the same moment
PATIENCE_S = 60  # within which all of them have their answer; none of them ends by itself in less than ten times as long
FIT = (1 << 20) // variant(VARIANT).object_bytes()  # objects in a budget of 1 MiB
FRAME = clip(1)[0]
_ids = itertools.count(1)


@pytest.fixture(scope="module")
def tight(serve_small: Serve) -> Iterator[Server]:
    bank = {"max_videos": MAX_VIDEOS, "max_bank_mib": 1, "idle_seconds": 10 * PATIENCE_S}
    with serve_small({f"memory_bank.{name}": str(value) for name, value in bank.items()}) as server:
        yield server


def begin_at_once(server: Server, count: int) -> dict[int, Answer | errors.MaskletError]:
    """Begins so many videos, each on a stream of its own, and ends none of them."""
    with ExitStack() as stack:
        wires = {next(_ids): stack.enter_context(Wire(server.grpc_url)) for _ in range(count)}
        for video_id, wire in wires.items():
            wire.send(video_id, {"FRAME": FRAME}, start=True)
        return {video_id: wire.receive() for video_id, wire in wires.items()}


def test_every_start_beyond_the_limit_is_refused_at_once(tight: Server) -> None:
    """Who waited for a place would wait in vain: none becomes free. Nor do places run out that refused videos take in Triton, which hears of none."""
    answers = begin_at_once(tight, AT_ONCE)
    refused = {video_id: answer for video_id, answer in answers.items() if isinstance(answer, errors.MaskletError)}
    assert len(refused) == AT_ONCE - MAX_VIDEOS
    for answer in refused.values():
        assert type(answer) is errors.ServerBusy
        assert re.search(rf"{MAX_VIDEOS} videos are live, which is this server's limit\. Retry in \d+ s, or open the video on another", str(answer))
        assert answer.retry_after_s == 30, "nothing ends here, and nothing expires within the longest wait"
    live, late = set(answers) - set(refused), min(refused)
    with Wire(tight.grpc_url) as wire:
        for video_id in live:
            assert wire.ask(video_id, {"FRAME": FRAME})["FRAME_INDEX"] == 1, "those that were taken noticed nothing"
            assert wire.ask(video_id, {"PROMPTS": []}, end=True)["FRAME_INDEX"] == 1
        assert wire.ask(late, {"FRAME": FRAME}, start=True, end=True)["FRAME_INDEX"] == 0, "later there is room"


def test_objects_and_videos_beyond_the_byte_budget_are_refused_at_once(tight: Server) -> None:
    with Tracker(tight.grpc_url, timeout_s=PATIENCE_S) as tracker, tracker.open() as video, tracker.open() as other:
        for object_id in range(FIT):
            video.prompt(object_id, points=[(20, 20)])
        assert len(video.track(FRAME).object_ids) == FIT
        video.prompt(FIT, points=[(20, 20)])
        with pytest.raises(errors.ServerBusy, match=r"objects of this request grow by .* of the 1\.0 MiB .* Retry in \d+ s, or remove objects"):
            video.track(FRAME)
        with pytest.raises(errors.ServerBusy, match=r"0 MiB of the 1 MiB that this server may use\. Retry in \d+ s, or open the video on another"):
            other.track(FRAME)
        video.remove(FIT)  # which the client keeps for a second try
        assert len(video.track(FRAME).object_ids) == FIT
        video.remove(0)
        assert other.track(FRAME).frame_index == 0
