"""Two real servers behind each real gateway: where videos go, and what becomes of them when a server dies, hangs, drains or joins.

The gateways run the configs of docker/gateways. Every answer is compared to the last bit with that of the same film on a server alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as grpc
from grpc import RpcError

from benchmarks.films import Film, Played, digest, film, play_all
from masklet import Resilience, Tracker
from masklet.cli import main
from masklet.errors import FrameTooLarge, ServerBusy
from tests.deploy.streams import frame_of, opened, raw_frame
from tests.deploy.tools import tool
from tests.failover.fleet import Fleet, Pod
from tests.failover.gateways import Envoy, Gateway, HAProxy, wait_until_healthy
from tests.serving.scraping import scrape

pytestmark = pytest.mark.server

FILMS, FRAMES, FPS = 8, 12, 4.0  # where both servers must have some, all films twice: ids are random, and of 8 one run in 128 has all on one server
FLOOD = 300  # frames sent at once: far more than are answered meanwhile
SLOW = 1.5  # frames per second where something takes its time: name servers, health checks
HOLD = 5  # before this frame the films wait for what happens in their middle, where the machine is slow
PATIENCE_S = 60  # only something broken uses it up; longer than a fleet keeps a video that nobody ends


@pytest.fixture(scope="module")
def films() -> list[Film]:
    return [film(number, FRAMES) for number in range(FILMS)]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, serving_python: Path) -> Iterator[Fleet]:
    """Three servers, of which gateways know two."""
    with Fleet(tmp_path_factory.mktemp("fleet"), serving_python, 3, known=2) as fleet:
        yield fleet


@pytest.fixture(scope="module")
def alone(fleet: Fleet, films: list[Film]) -> list[Played]:
    """The films, undisturbed, each by itself, on the server that no gateway knows."""
    url = fleet.pods[2].server.grpc_url
    return [played for one in films for played in asyncio.run(play_all(url, [one], fps=1000))]


@pytest.fixture(scope="module", params=[Envoy, pytest.param(HAProxy, marks=pytest.mark.slow)], ids=lambda kind: kind.name)
def running(request: pytest.FixtureRequest, fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    kind = request.param
    with kind(tool(kind.name), tmp_path_factory.mktemp(kind.name), fleet.ports) as gateway:
        yield gateway


@pytest.fixture
def gateway(running: Gateway, fleet: Fleet) -> Gateway:
    """A gateway that knows two servers, both of them healthy and empty."""
    for pod in fleet.pods:
        pod.drain_file.unlink(missing_ok=True)
        pod.wait()
    fleet.names.addresses = tuple(pod.host for pod in fleet.pods[:2])
    wait_until_healthy(running, 2)
    deadline = time.monotonic() + PATIENCE_S
    while any(fleet.holders().values()):
        assert time.monotonic() < deadline, f"videos of an earlier test were not ended: {fleet.holders()}"
        time.sleep(0.1)
    return running


def as_alone(played: list[Played], alone: list[Played]) -> None:
    """Every frame of every film was answered once, in order, with the bits that it gets alone."""
    for one, other in zip(played, alone, strict=True):
        assert (one.error, [index for index, _ in one.answers]) == ("", list(range(FRAMES)))
        assert one.answers == other.answers


async def disturbed(
    gateway: Gateway,
    fleet: Fleet,
    films: list[Film],
    at_frame: float,
    fault: Callable[[], Awaitable[None]],
    fps: float = FPS,
    *,
    until_over: bool = False,
    seen: asyncio.Event | None = None,
    **opened: object,
) -> list[Played]:
    """Plays the films, and in the middle something happens: none goes on before it begins, or is `seen`, or ends before it is `until_over`."""
    going_on = seen or asyncio.Event()

    async def gate(index: int) -> None:
        if index >= (FRAMES - 1 if until_over else HOLD):
            await going_on.wait()

    async def later() -> None:
        await asyncio.sleep(at_frame / fps)
        deadline = time.monotonic() + PATIENCE_S
        while sum((await asyncio.to_thread(fleet.holders)).values()) < len(films):  # on a busy machine they begin late
            assert time.monotonic() < deadline, f"not all videos began: {fleet.holders()}"
            await asyncio.sleep(0.05)
        if not until_over and seen is None:
            going_on.set()
        await fault()
        going_on.set()

    played, _ = await asyncio.gather(play_all(gateway.url, films, fps, timeout_s=2 * PATIENCE_S, gate=gate, **opened), later())
    return played


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:  # also where it ends between opening and reading
        return False


async def until_gone(pid: int) -> None:
    """Returns once a killed process has ended, whoever has to hear of it."""
    deadline = time.monotonic() + PATIENCE_S
    while _runs(pid):
        assert time.monotonic() < deadline, f"process {pid} does not end"
        await asyncio.sleep(0.02)


def test_every_video_stays_on_one_server_and_both_have_some(gateway: Gateway, fleet: Fleet, films: list[Film], alone: list[Played]) -> None:
    many = 2 * films
    seen: list[dict[str, int]] = []

    async def look() -> None:
        for _ in range(4):
            seen.append(await asyncio.to_thread(fleet.holders))
            await asyncio.sleep(0.4)

    as_alone(asyncio.run(disturbed(gateway, fleet, many, 4, look, until_over=True)), 2 * alone)
    one, two, other = (pod.host for pod in fleet.pods)
    for counts in seen:
        assert counts == seen[0], "a video moved"
        assert counts[one] + counts[two] == len(many)
        assert min(counts[one], counts[two]) > 0
        assert counts[other] == 0


def test_calls_that_come_one_by_one_reach_the_server_of_their_video(gateway: Gateway) -> None:
    """Each over a connection of its own, so that only the hash of the id can lead it there."""
    for video_id in range(1, 9):
        for index in range(4):
            with grpc.InferenceServerClient(gateway.url) as client:
                answer = client.infer(
                    "tracker",
                    frame_of(index),
                    sequence_id=video_id,
                    sequence_start=index == 0,
                    sequence_end=index == 3,
                    headers={"x-video-id": str(video_id)},
                    client_timeout=PATIENCE_S,
                )
            assert answer.as_numpy("FRAME_INDEX").item() == index


def test_a_killed_server_costs_plain_clients_its_videos_and_no_other_and_new_ones_begin_elsewhere(
    gateway: Gateway, fleet: Fleet, films: list[Film], alone: list[Played]
) -> None:
    held: list[int] = []
    renewed: list[Played] = []

    async def kill() -> None:
        pod = fleet.fullest()
        held.append(pod.bank().videos)
        pid = pod.server.pid
        pod.kill()
        await until_gone(pid)
        await asyncio.sleep(0.2)  # what is on its way to a server at that moment is lost
        renewed.extend(await play_all(gateway.url, [one.first(2) for one in films], FPS))

    played = asyncio.run(disturbed(gateway, fleet, 2 * films, 4, kill))
    lost = [one for one in played if one.error]
    assert len(lost) == held[0] > 0
    unbegun = [one for one in lost if one.error.startswith("ServerUnavailable")]  # on a slow machine a first frame may still be on its way
    assert [one.error for one in lost if one not in unbegun and not one.error.startswith("VideoLost")] == []
    assert not any(one.answers for one in unbegun)
    kept = [(one, other) for one, other in zip(played, 2 * alone, strict=True) if not one.error]
    assert kept
    as_alone([one for one, _ in kept], [other for _, other in kept])
    assert [one.error for one in renewed] == [""] * FILMS
    assert [one.answers for one in renewed] == [other.answers[:2] for other in alone]


def test_a_frame_over_the_gateways_limit_is_refused_and_its_video_and_the_others_go_on(
    gateway: Gateway, fleet: Fleet, films: list[Film], alone: list[Played]
) -> None:
    clip = films[0].frames

    def oversized() -> None:
        with Tracker(gateway.url, timeout_s=PATIENCE_S) as tracker, tracker.open() as video:
            video.prompt(1, points=[films[0].click])
            first = video.track(clip[0])
            with pytest.raises(FrameTooLarge, match="this gateway takes"):
                video.track(np.zeros((6800, 6800, 3), np.uint8))
            answers.extend([(first.frame_index, digest(first)), *((one.frame_index, digest(one)) for one in map(video.track, clip[1:4]))])

    answers: list[tuple[int, str]] = []
    as_alone(asyncio.run(disturbed(gateway, fleet, films, 2, lambda: asyncio.to_thread(oversized))), alone)
    assert answers == alone[0].answers[:4]


def test_frames_over_what_may_wait_are_refused_in_their_turn_and_the_video_ends_in_order(gateway: Gateway) -> None:
    tokens = [str(number) for number in range(FLOOD)]
    with opened(gateway) as stream:
        stream.send(*(raw_frame(token, start=token == tokens[0]) for token in tokens))
        answers = []
        try:
            answers.extend(stream.receive() for _ in tokens)
            stream.send(raw_frame("end", end=True))
            assert stream.end() == [("end", None)]
        except RpcError:  # HAProxy ends a stream whose refusals find no room in its buffer; what came before must be right
            assert isinstance(gateway, HAProxy)
            assert len(answers) >= 64
    assert [token for token, _ in answers] == tokens[: len(answers)]
    errors = [error for _, error in answers]
    assert errors[:64] == [None] * 64
    refused = {type(error) for error in errors[64:] if error}
    assert refused == {ServerBusy} or (refused == set() and len(answers) < FLOOD)


def started(pod: Pod) -> float:
    """Videos that ever began there."""
    return scrape(pod.server)[1]["videos_started_total"]


async def kill(pod: Pod, *_: object) -> None:
    pod.kill()


async def kill_stub(pod: Pod, *_: object) -> None:
    pod.kill_stub("memory_bank")


async def hang(pod: Pod, fleet: Fleet, *_: object) -> None:
    """Until all its videos have begun elsewhere."""
    others = [one for one in fleet.pods if one is not pod]
    goal = pod.bank().videos + sum(map(started, others))
    deadline = time.monotonic() + PATIENCE_S
    with pod.paused():
        while sum(await asyncio.gather(*(asyncio.to_thread(started, one) for one in others))) < goal:
            assert time.monotonic() < deadline, "its videos do not begin elsewhere"
            await asyncio.sleep(0.1)


async def drain(pod: Pod, fleet: Fleet, seen: asyncio.Event) -> None:
    """`seen` is set when the server knows. As Kubernetes has it: the pod leaves the Service, is drained, and only then ends."""
    fleet.names.addresses = tuple(host for host in fleet.names.addresses if host != pod.host)
    words = ["drain", "--drain-file", str(pod.drain_file), "--metrics-url", pod.server.metrics_url, "--deadline-s", str(2 * PATIENCE_S)]
    ended = asyncio.ensure_future(asyncio.to_thread(main, words))
    while not ended.done() and not (await asyncio.to_thread(pod.bank)).draining:
        await asyncio.sleep(0.05)
    seen.set()
    assert await ended == 0
    pod.kill()


@pytest.mark.parametrize("fault", [kill, kill_stub, hang, drain])
def test_resilient_videos_outlive_their_server(
    gateway: Gateway, fleet: Fleet, films: list[Film], alone: list[Played], fault: Callable[..., Awaitable[None]]
) -> None:
    held: list[int] = []
    seen = asyncio.Event()

    async def strike() -> None:
        pod = fleet.fullest()
        held.append(pod.bank().videos)
        await fault(pod, fleet, seen)

    watchful = Resilience(watchdog_s=3 if fault is hang else PATIENCE_S)
    played = asyncio.run(disturbed(gateway, fleet, films, 2, strike, SLOW, seen=seen if fault is drain else None, resilient=watchful))
    as_alone(played, alone)
    if fault is drain:  # they were told before anything ended
        assert all(move.cause == "draining" for one in played for move in one.interruptions)
    moved = sum(bool(one.interruptions) for one in played)
    if fault is hang:  # on a busy machine a slow server is taken for one that hangs
        assert moved >= held[0] > 0
    else:
        assert moved == held[0] > 0, "those of the other server noticed nothing"


def test_a_server_that_joins_moves_no_live_video_and_gets_new_ones(gateway: Gateway, fleet: Fleet, films: list[Film], alone: list[Played]) -> None:
    third = fleet.pods[2]
    counts: list[dict[str, int]] = []

    async def join() -> None:
        before = fleet.holders()
        fleet.names.addresses = (*fleet.names.addresses, third.host)
        await asyncio.to_thread(wait_until_healthy, gateway, 3)
        counts.extend((before, fleet.holders()))

    as_alone(asyncio.run(disturbed(gateway, fleet, films, 2, join, SLOW, until_over=True)), alone)
    begun = started(third)
    assert counts[0] == counts[1]
    assert counts[1][third.host] == 0
    deadline = time.monotonic() + PATIENCE_S
    while started(third) == begun:
        asyncio.run(play_all(gateway.url, [one.first(1) for one in films], FPS))
        assert time.monotonic() < deadline, "no new video reaches the third server"
