"""A gateway ends a stream at a size of its own: a resilient video goes on over new ones, and only a frame that is too large by itself is refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from masklet import Resilience, ServerFault, Tracker, VideoLost
from masklet.testing import Broken, MockTransport, Request
from tests.fakes.toy_replicas import Replica, sent

RESET = Broken("INTERNAL Stream removed (RST_STREAM (Received RST_STREAM with error code 2))")
REFUSED = Broken("UNKNOWN Received http2 header with status: 413")
LIMIT = 1000  # bytes of a stream
SETTINGS = Resilience(snapshot_every=8, watchdog_s=20, give_up_s=60)
LONG_S = 60.0


def limited() -> Callable[[Request], Broken | None]:
    """What nginx does: a stream ends with the request that brings it over the limit; before its first answer with 413. A stream is an id here."""
    seen: Counter[int | str] = Counter()

    def fault(request: Request) -> Broken | None:
        begun = seen[request.video_id] > 0
        seen[request.video_id] += request.nbytes
        return None if seen[request.video_id] <= LIMIT else RESET if begun else REFUSED

    return fault


@pytest.fixture
def gateway() -> MockTransport:
    return MockTransport(Replica(fault=limited()))


def frame(number: int, size: int) -> bytes:
    return str(number).encode().ljust(size, b".")


@pytest.mark.parametrize("in_flight", [1, 4])
@pytest.mark.parametrize("size", [100, 300, 600])  # 600: no stream takes two of them
def test_no_frame_is_lost_to_a_limit_of_the_whole_stream(gateway, make_tracker, size, in_flight):
    frames = [frame(number, size) for number in range(30)]
    with Tracker("alone:1", transport=MockTransport(Replica())) as tracker, tracker.open() as video:
        video.prompt(1, points=[(1, 2)])
        undisturbed = [(result.frame_index, result.scores.tolist()) for result in map(video.track, frames)]
    with make_tracker("test:1", timeout_s=LONG_S, transport=gateway) as tracker, tracker.open(resilient=SETTINGS) as video:
        video.prompt(1, points=[(1, 2)])
        results = [(result.frame_index, result.scores.tolist()) for result in video.track_many(frames, in_flight=in_flight)]
        assert results == undisturbed
        assert video.interruptions
        for interruption in video.interruptions:
            assert "gateway" in interruption.reason
            assert "client_max_body_size" in interruption.reason


def test_a_frame_that_is_too_large_by_itself_is_refused_and_the_video_goes_on(gateway, make_tracker):
    with make_tracker("test:1", timeout_s=LONG_S, transport=gateway) as tracker, tracker.open(resilient=SETTINGS) as video:
        video.prompt(1, points=[(1, 2)])
        assert [video.track(frame(number, 200)).frame_index for number in range(3)] == [0, 1, 2]
        with pytest.raises(ServerFault, match=r"frame 3 in hand.*gateway.*The video goes on without it"):
            video.track(frame(3, 2 * LIMIT))
        assert [video.track(frame(number, 200)).frame_index for number in (4, 5)] == [3, 4]
    assert sent(gateway).count(frame(3, 2 * LIMIT)) <= 4


def test_the_first_frame_too(gateway, make_tracker):
    with make_tracker("test:1", timeout_s=LONG_S, transport=gateway) as tracker, tracker.open(resilient=SETTINGS) as video:
        with pytest.raises(ServerFault, match="413"):
            video.track(frame(0, 2 * LIMIT))
        assert video.track(frame(1, 200)).frame_index == 0


def test_frames_are_not_dropped_one_after_the_other(gateway, make_tracker):
    with make_tracker("test:1", timeout_s=LONG_S, transport=gateway) as tracker:
        video = tracker.open(resilient=SETTINGS)
        video.prompt(1, points=[(1, 2)])
        video.track(frame(0, 200))
        with pytest.raises(ServerFault, match="gateway"):
            video.track(frame(1, 2 * LIMIT))
        with pytest.raises(VideoLost, match="gateway") as caught:
            video.track(frame(2, 2 * LIMIT))
        assert caught.value.state_index == 0
        with tracker.open(state=caught.value.state) as restored:
            assert restored.track(frame(3, 200)).frame_index == 1


def test_a_plain_video_is_told_what_the_stream_had_taken(gateway, make_tracker):
    with make_tracker("test:1", transport=gateway) as tracker, tracker.open() as video:
        video.track(frame(0, 600))
        with pytest.raises(VideoLost, match=r"it may have ended it at a limit of its own, after 0\.00 MB of requests"):
            video.track(frame(1, 600))
    with (
        make_tracker("test:1", transport=gateway) as tracker,
        tracker.open() as video,
        pytest.raises(VideoLost, match=r"ended it as too large \(413\)"),
    ):
        video.track(frame(0, 1600))


@pytest.mark.parametrize("text", ["UNAVAILABLE Socket closed", "CANCELLED", "UNKNOWN Received http2 header with status: 502"])
def test_other_ends_say_nothing_of_limits(make_tracker, text):
    replica = Replica()
    with make_tracker("test:1", transport=MockTransport(replica)) as tracker, tracker.open() as video:
        video.track(b"0")
        replica.fault = lambda request: Broken(text)
        with pytest.raises(VideoLost) as caught:
            video.track(b"1")
    assert "gateway" not in str(caught.value)
