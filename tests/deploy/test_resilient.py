"""Resilient videos on real servers that die, hang, fill up and drain: every mask as on a server without trouble, to the bit, and each once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from masklet import Resilience, ServerBusy, TrackedFrame, Tracker, VideoLost
from masklet.health import Health, probe
from masklet_build.serve import Server
from tests.deploy.nano_server import ServeNano
from tests.serving.agreement import all_equal
from tests.serving.clips import clip, encoded
from tests.serving.scraping import eventually, scrape

pytestmark = pytest.mark.server

FRAMES = [encoded(frame) for frame in clip(22, 96, 128, seed=7)]
PATIENCE_S = 60  # only something broken uses it up
SETTINGS = Resilience(snapshot_every=6, watchdog_s=PATIENCE_S, give_up_s=PATIENCE_S)  # a machine that stands still for a while is no silence
WATCHDOG_S = 8  # where a server hangs; a frame takes some 30 ms here
STRIKE = 11  # in the middle: when this frame is taken


@pytest.fixture(scope="module")
def pair(serve_nano: ServeNano) -> Iterator[list[Server]]:
    with ExitStack() as stack:
        yield [stack.enter_context(serve_nano({"max_videos": "6"})) for _ in range(2)]


@pytest.fixture
def servers(pair: list[Server]) -> list[Server]:
    """Two servers that are well, whatever was done to them before. One that was stopped for seconds may take its own processes for dead."""
    for server in pair:
        if server.returncode() is not None or probe(server.grpc_url, PATIENCE_S).health is not Health.ALIVE:
            server.stop(graceful=False)
            server.start()
    return pair


@pytest.fixture(scope="module")
def undisturbed(pair: list[Server]) -> list[TrackedFrame]:
    with Tracker(pair[1].grpc_url, timeout_s=2 * PATIENCE_S) as tracker, tracker.open() as video:
        return play(video, lambda: None)


def play(video: Any, strike: Callable[[], object]) -> list[TrackedFrame]:
    """All that a caller does with a video, with trouble in the middle while frames are on their way."""

    def taken(first: int, end: int) -> Iterator[bytes]:
        for number in range(first, end):
            if number == STRIKE:
                strike()
            yield FRAMES[number]

    video.prompt(1, points=[(40, 40)])
    video.prompt(4, box=(60, 20, 110, 80))
    results = [video.track(FRAMES[0], logits=True)]
    video.prompt(1, points=[(60, 50)], labels=[0], append=True)
    results.append(video.track(FRAMES[0], refine=True, logits=True))
    results += video.track_many(taken(1, 9), in_flight=3)
    video.prompt(7, points=[(90, 60)])
    results.append(video.track(FRAMES[9], logits=True))
    video.remove(4)
    results += video.track_many(taken(10, 18), in_flight=3)
    results += [video.track(frame, logits=True) for frame in FRAMES[18:]]
    return results


def frame_of_play(video: Any, number: int) -> TrackedFrame:
    """One of frames 5 to 17 of `play`, with what is done before it."""
    if number == 9:
        video.prompt(7, points=[(90, 60)])
    if number == 10:
        video.remove(4)
    return video.track(FRAMES[number], logits=number == 9)


def survived(
    make_tracker: Callable[..., Any], servers: list[Server], strike: Callable[[Server], object], settings: Resilience = SETTINGS
) -> tuple[list[TrackedFrame], Any]:
    """The results of a video that begins on the first server, and its one interruption."""
    one, other = servers
    with make_tracker([one.grpc_url, other.grpc_url], timeout_s=2 * PATIENCE_S).open(resilient=settings) as video:
        results = play(video, lambda: strike(one))
        (interruption,) = video.interruptions
    assert (interruption.from_url, interruption.to_url) == (one.grpc_url, other.grpc_url)
    assert interruption.frames_replayed <= SETTINGS.snapshot_every + 3
    return results, interruption


def kill_server(server: Server) -> None:
    os.kill(server.pid, signal.SIGKILL)


def kill_bank(server: Server) -> None:
    (bank,) = [pid for pid, name in server.stubs().items() if name.startswith("memory_bank")]
    os.kill(bank, signal.SIGKILL)


def test_a_video_survives_the_death_of_its_server(make_tracker, servers, undisturbed):
    results, interruption = survived(make_tracker, servers, kill_server)
    assert all_equal(results, undisturbed)
    assert interruption.cause == "broken", "it was seen at once, not by the watchdog"
    assert interruption.attempts == 1, "and the next server took it"


def test_a_video_survives_the_death_of_its_bank_which_triton_does_not_notice(servers, undisturbed):
    results, interruption = survived(Tracker, servers, kill_bank)
    assert servers[0].is_ready()
    assert all_equal(results, undisturbed)
    assert interruption.cause == "failed"


def test_a_video_leaves_a_server_that_hangs_and_is_not_disturbed_when_that_wakes_up(make_tracker, servers, undisturbed):
    one = servers[0]
    settings = Resilience(snapshot_every=6, watchdog_s=WATCHDOG_S, give_up_s=PATIENCE_S)
    try:
        results, interruption = survived(make_tracker, servers, lambda server: os.killpg(server.pid, signal.SIGSTOP), settings)
    finally:
        os.killpg(one.pid, signal.SIGCONT)
    assert all_equal(results, undisturbed)
    assert interruption.cause == "silent"
    assert WATCHDOG_S <= interruption.waited_s < 2 * PATIENCE_S, "the watchdog woke up, not the timeout of the tracker"


def test_a_video_leaves_a_server_that_drains_without_a_pause(make_tracker, servers, undisturbed):
    one = servers[0]
    file = one.repository.parent / "draining"
    _, numbers = scrape(one)  # there may be some that it was never told the end of, while it hung
    try:
        results, interruption = survived(make_tracker, servers, lambda server: file.touch())
        assert all_equal(results, undisturbed)
        assert interruption.cause == "draining"
        assert eventually(one, lambda now: now["videos"] <= numbers["videos"])["videos"] <= numbers["videos"], "so that it can stop"
    finally:
        file.unlink()


def test_a_full_server_sends_videos_on(servers, undisturbed):
    one, other = servers
    with Tracker(one.grpc_url, timeout_s=2 * PATIENCE_S) as tracker:
        with suppress(ServerBusy):
            while True:
                tracker.open().track(FRAMES[0])
        with Tracker([one.grpc_url, other.grpc_url], timeout_s=2 * PATIENCE_S).open(resilient=SETTINGS) as video:
            assert all_equal(play(video, lambda: None), undisturbed)
            assert video.interruptions == []


def test_a_server_that_is_started_again_goes_on_with_the_video(servers, undisturbed):
    (one, _) = servers

    def restart() -> None:
        kill_server(one)
        one.stop(graceful=False)
        one.start()

    with Tracker(one.grpc_url, timeout_s=2 * PATIENCE_S).open(resilient=SETTINGS) as video:
        assert all_equal(play(video, restart), undisturbed)
        (interruption,) = video.interruptions
    assert interruption.from_url == interruption.to_url == one.grpc_url


def test_when_all_servers_are_gone_the_state_in_the_error_goes_on_where_it_was_taken(servers, undisturbed):
    def end() -> None:
        for server in servers:
            server.stop(graceful=False)

    settings = Resilience(snapshot_every=6, watchdog_s=PATIENCE_S, give_up_s=1.5)
    with Tracker([server.grpc_url for server in servers], timeout_s=2 * PATIENCE_S) as tracker:
        video = tracker.open(resilient=settings)
        with pytest.raises(VideoLost, match=r"no server took the video within 1\.5 s") as caught:
            play(video, end)
        servers[0].start()
        index = caught.value.state_index
        assert index in (4, 10), "it came with the sixth request, or with the twelfth, whose answer a slow end lets through"
        with tracker.open(state=caught.value.state) as restored:
            results = [frame_of_play(restored, number) for number in range(index + 1, 14)]
    assert all_equal(results, undisturbed[index + 2 : 15])
