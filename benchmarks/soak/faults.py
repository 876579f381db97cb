"""The kinds of faults. Each is a function that does it, returns when it is over, and says to whom it was done and what became of it."""

from __future__ import annotations

import asyncio
import random
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.films import digest
from benchmarks.fuzz.attackers import Attacker, Shot
from benchmarks.fuzz.registry import World
from benchmarks.fuzz.tally import Tally
from benchmarks.soak.clients import Clients
from benchmarks.soak.late import read_late
from benchmarks.soak.record import Record
from benchmarks.soak.scripts import Script
from benchmarks.soak.servers import LIMIT, Cluster, Serve
from benchmarks.supervised import signalled
from masklet import AsyncTracker, MaskletError

_HOSTILE = 40  # requests of an attack
_BURST = 2 * LIMIT + 16  # videos that want to begin at once: more than both servers take
_TOGETHER = 32  # of these, so many wait for an answer at a time


@dataclass(frozen=True)
class Stage:
    """What faults may touch.

    script    that some of them play
    world     what attackers know; shots: what they send, one attack after the other
    stopping  the run is over, do not wait
    """

    cluster: Cluster
    clients: Clients
    record: Record
    script: Script
    world: World
    shots: Iterator[Shot]
    stopping: threading.Event


Strike = Callable[[Stage, float, random.Random], tuple[str, str]]  # seconds -> target, what became of it


@dataclass(frozen=True)
class Kind:
    """One kind.

    strike   does it
    seconds  from, to; drawn for each
    breaks   streams of videos break by it
    waits    until the server that it is for is there
    """

    strike: Strike
    seconds: tuple[float, float] = (0.0, 0.0)
    breaks: bool = False
    waits: bool = False


def _client_killed(stage: Stage, seconds: float, chance: random.Random) -> tuple[str, str]:
    """SIGKILL; its videos stay where they are until the server forgets them."""
    return f"client {stage.clients.kill_one()}", "killed"


def _server_killed(stage: Stage, seconds: float, chance: random.Random) -> tuple[str, str]:
    """Triton, by SIGKILL."""
    server = stage.cluster.mortal
    server.kill(server.pid)
    return server.name, "Triton killed"


def _supervisor_killed(stage: Stage, seconds: float, chance: random.Random) -> tuple[str, str]:
    """The supervisor alone, whose server ends with it, or all of its processes at once. Somebody starts it again."""
    server = stage.cluster.mortal
    whole = chance.random() < 0.5
    server.kill(*(server.everything() if whole else [server.supervisor]))
    return server.name, "supervisor, Triton and stubs killed" if whole else "supervisor killed"


def _stub_killed(stage: Stage, seconds: float, chance: random.Random) -> tuple[str, str]:
    """The process of one python model, by SIGKILL."""
    server = stage.cluster.mortal
    pid, name = _some_stub(server, chance)
    server.kill(pid)
    return server.name, f"{name} killed"


def _stub_stopped(stage: Stage, seconds: float, chance: random.Random) -> tuple[str, str]:
    """The process of one python model stands still, as on a machine that is paused or swaps."""
    server = stage.cluster.mortal
    pid, name = _some_stub(server, chance)
    with _stopped(pid):
        stage.stopping.wait(seconds)
    return server.name, f"{name} stopped"


def _drain(stage: Stage, seconds: float, chance: random.Random) -> tuple[str, str]:
    """One server takes no new videos, and is taken out of the gateway's names, until that is taken back."""
    servers = stage.cluster.servers
    server = chance.choice(servers)
    server.drain_file.touch()
    stage.cluster.name(*(other for other in servers if other is not server))
    try:
        stage.stopping.wait(seconds)
        bank = server.bank()
    finally:
        server.drain_file.unlink()
        stage.cluster.name(*servers)
    return server.name, "it did not answer" if bank is None else f"{bank.videos} videos were left on it"


def _gateway_restarted(stage: Stage, seconds: float, chance: random.Random) -> tuple[str, str]:
    """Killed with all its connections, and started again at the same port."""
    gateway = stage.cluster.gateway
    gateway.__exit__(None, None, None)
    stage.stopping.wait(seconds)
    gateway.__enter__()
    return "gateway", f"{gateway.name} killed and started again"


def _slow_client(stage: Stage, seconds: float, chance: random.Random) -> tuple[str, str]:
    """A client that sends frames and does not read."""
    came, sent, problems = read_late(stage.cluster.url, stage.script, stage.stopping, seconds, chance)
    if came != sent[: len(came)]:
        stage.record.is_wrong(f"slow client: answers came in another order than requests: {came}, not {sent}")
    return "a client", f"{len(came)} of {len(sent)} answers came; {problems}"


def _hostile(stage: Stage, seconds: float, chance: random.Random) -> tuple[str, str]:
    """Requests of `benchmarks.fuzz`, through the gateway."""
    tally = Tally(wanted=_HOSTILE)
    stage.world.honest[:] = stage.record.live_ids()
    attacker = Attacker(stage.shots, chance, lambda: stage.cluster.url, stage.world, tally)
    attacker.start()
    while attacker.is_alive() and not stage.stopping.is_set():
        attacker.join(0.5)
    tally.stopping.set()
    return "gateway", ", ".join(f"{what} {count}" for what, count in tally.by_code().most_common(4))


def _burst(stage: Stage, seconds: float, chance: random.Random) -> tuple[str, str]:
    """More new videos than both servers take."""
    return "gateway", asyncio.run(_crowd(stage))


async def _crowd(stage: Stage) -> str:
    step, came, gate = stage.script.steps[0], Counter[str](), asyncio.Semaphore(_TOGETHER)
    all_came = asyncio.Event()

    async def one(tracker: AsyncTracker) -> None:
        try:
            async with tracker.open() as video:
                async with gate:
                    for prompt in step.prompts:
                        video.prompt(**prompt)
                    result = await video.track(step.frame)
                stage.record.compare("burst", 0, 0, (result.frame_index, digest(result)))
                came["taken"] += 1
                if sum(came.values()) == _BURST:
                    all_came.set()
                await all_came.wait()
        except MaskletError as error:
            came[type(error).__name__] += 1
            if sum(came.values()) == _BURST:
                all_came.set()

    async with AsyncTracker(stage.cluster.url) as tracker:
        await asyncio.gather(*(one(tracker) for _ in range(_BURST)))
    return ", ".join(f"{what} {count}" for what, count in came.most_common())


KINDS: dict[str, Kind] = {
    "client killed": Kind(_client_killed),
    "server killed": Kind(_server_killed, breaks=True, waits=True),
    "supervisor killed": Kind(_supervisor_killed, breaks=True, waits=True),
    "stub killed": Kind(_stub_killed, breaks=True, waits=True),
    "stub stopped": Kind(_stub_stopped, (0.3, 3), breaks=True, waits=True),
    "drain": Kind(_drain, (5, 15), breaks=True, waits=True),
    "gateway restarted": Kind(_gateway_restarted, (0, 2), breaks=True),
    "slow client": Kind(_slow_client, (5, 15)),
    "hostile": Kind(_hostile),
    "burst": Kind(_burst),
}


def _some_stub(server: Serve, chance: random.Random) -> tuple[int, str]:
    stubs = sorted(server.stubs().items(), key=lambda pair: pair[1])
    return chance.choice(stubs)


@contextmanager
def _stopped(pid: int) -> Iterator[None]:
    signalled(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        signalled(pid, signal.SIGCONT)
