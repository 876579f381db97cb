"""Two real servers behind the real nginx: with the config of docker/gateways nothing is lost, and limits of nginx's own are named where they bite."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as grpc

from masklet import Resilience, ServerFault, TrackedFrame, Tracker, VideoLost
from masklet.transport.grpc_channel import channel_options
from masklet_build.serve import Server
from tests.deploy.nano_server import ServeNano
from tests.deploy.streams import frame_of
from tests.deploy.tools import tool
from tests.failover.gateways import Nginx
from tests.serving.agreement import all_equal
from tests.serving.clips import clip
from tests.serving.scraping import scrape

pytestmark = pytest.mark.server

PATIENCE_S = 60
FRAMES = [np.asarray(frame) for frame in clip(14, 360, 640, seed=7)]  # 0.7 MB each: of nginx's default no stream takes two
SETTINGS = Resilience(watchdog_s=PATIENCE_S, give_up_s=PATIENCE_S)
DEFAULT = {"client_max_body_size 0": "client_max_body_size 1m"}


@pytest.fixture(scope="module")
def servers(serve_nano: ServeNano) -> Iterator[list[Server]]:
    with ExitStack() as stack:
        yield [stack.enter_context(serve_nano({})) for _ in range(2)]


@pytest.fixture
def behind(servers: list[Server], tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Starts nginx before both servers, with changes of its config; its address."""
    with ExitStack() as stack:

        def start(**changes: dict[str, str]) -> str:
            nginx = Nginx(tool("nginx"), tmp_path, [server.grpc_url for server in servers], **changes)
            return str(stack.enter_context(nginx).wait().url)

        yield start


@pytest.fixture(scope="module")
def undisturbed(servers: list[Server]) -> list[TrackedFrame]:
    with Tracker(servers[0].grpc_url) as tracker, tracker.open() as video:
        return play(video)


def play(video: object, in_flight: int = 4) -> list[TrackedFrame]:
    video.prompt(1, points=[(300, 180)])
    return list(video.track_many(iter(FRAMES), in_flight=in_flight))


def test_videos_are_spread_by_their_ids_and_pass_unharmed(behind, servers, undisturbed):
    url = behind()
    before = [scrape(server)[1]["videos_started_total"] for server in servers]
    with Tracker(url, timeout_s=PATIENCE_S) as tracker:
        for number in range(1, 9):
            with tracker.open(number) as video:
                assert all_equal(play(video), undisturbed)
    assert all(scrape(server)[1]["videos_started_total"] > count for server, count in zip(servers, before, strict=True)), "both had some"


def test_calls_that_come_one_by_one_reach_the_server_of_their_video(behind):
    url = behind()
    for video_id in range(1, 9):
        for index in range(3):
            with grpc.InferenceServerClient(url, channel_args=channel_options()) as client:
                headers = {"x-video-id": str(video_id)}
                flags = {"sequence_id": video_id, "sequence_start": index == 0, "sequence_end": index == 2}
                answer = client.infer("tracker", frame_of(index), headers=headers, client_timeout=PATIENCE_S, **flags)
            assert answer.as_numpy("FRAME_INDEX").item() == index


@pytest.mark.parametrize("in_flight", [1, 4])
def test_a_resilient_video_passes_a_gateway_that_ends_its_streams_at_a_megabyte(behind, undisturbed, in_flight):
    with Tracker(behind(changes=DEFAULT), timeout_s=2 * PATIENCE_S) as tracker, tracker.open(resilient=SETTINGS) as video:
        assert all_equal(play(video, in_flight), undisturbed)
        assert video.interruptions
        assert all("gateway" in interruption.reason for interruption in video.interruptions)


def test_signs_of_life_keep_a_silent_stream_open_where_the_gateways_timeouts_would_end_it(behind, monkeypatch):
    monkeypatch.setattr("masklet.connection.keep_alive.SILENCE_S", 1.0)
    monkeypatch.setattr("masklet.connection.keep_alive.LOOK_S", 0.25)
    url = behind(changes={"grpc_read_timeout 1h": "grpc_read_timeout 6s", "client_body_timeout 1h": "client_body_timeout 6s"})
    with Tracker(url, timeout_s=PATIENCE_S) as tracker, Tracker(url, timeout_s=PATIENCE_S, keep_alive_s=0) as silent:
        video, other = tracker.open(), silent.open()
        for one in (video, other):
            one.track(FRAMES[0])
        time.sleep(15)
        with pytest.raises(VideoLost, match="has timeouts"):
            other.track(FRAMES[1])
        assert video.track(FRAMES[1]).frame_index == 1
        video.close()


def test_a_plain_video_and_a_frame_that_is_too_large_are_told_of_the_limit(behind):
    url = behind(changes=DEFAULT)
    large = np.zeros((720, 1280, 3), np.uint8)
    with Tracker(url, timeout_s=PATIENCE_S) as tracker:
        with tracker.open() as video, pytest.raises(VideoLost, match="client_max_body_size"):
            play(video)
        with tracker.open() as video, pytest.raises(VideoLost, match=r"\(413\)"):
            video.track(large)
        with tracker.open(resilient=SETTINGS) as video:
            video.prompt(1, points=[(300, 180)])
            first = video.track(FRAMES[0][::2, ::2])
            with pytest.raises(ServerFault, match="client_max_body_size"):
                video.track(large)
            assert video.track(FRAMES[1][::2, ::2]).frame_index == first.frame_index + 1


def test_a_killed_server_costs_resilient_videos_nothing_and_new_ones_begin_elsewhere(behind, servers, undisturbed):
    url = behind()
    with Tracker(url, timeout_s=2 * PATIENCE_S) as tracker, ExitStack() as stack:
        videos = [stack.enter_context(tracker.open(number, resilient=SETTINGS)) for number in range(1, 9)]
        for video in videos:
            video.prompt(1, points=[(300, 180)])
        results = [[video.track(FRAMES[0])] for video in videos]
        os.kill(servers[1].pid, signal.SIGKILL)
        for video, seen in zip(videos, results, strict=True):
            seen.extend(map(video.track, FRAMES[1:4]))
        moved = sum(bool(video.interruptions) for video in videos)
        with tracker.open(9) as new:
            new.track(FRAMES[0])
    assert 0 < moved < len(videos)
    assert all(all_equal(seen, undisturbed[:4]) for seen in results)
