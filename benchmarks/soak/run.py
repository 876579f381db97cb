"""One run: record every script alone, let videos come and go, strike, look at memory, and see what is left."""

from __future__ import annotations

import pickle
import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.footprint import memory_by_process
from benchmarks.fuzz.attackers import Attacker, shots
from benchmarks.fuzz.registry import INNER, World, chosen
from benchmarks.fuzz.stream import inputs
from benchmarks.fuzz.tally import Tally
from benchmarks.soak import client
from benchmarks.soak.clients import Clients
from benchmarks.soak.faults import KINDS, Stage
from benchmarks.soak.record import LIVE, LOST, WHOLE, Look, Record, Struck
from benchmarks.soak.schedule import Planned
from benchmarks.soak.scripts import Script, answers, scripts
from benchmarks.soak.servers import IDLE_S, Cluster, Fleet, running
from masklet import Tracker

_ATTACKERS, _HOSTILE, _ATTACK_S = 4, 600, 60.0  # to warm up: at once, requests of all, at most so long
_LOOK_S = 5.0
_SAID_S = 20.0  # between lines of progress


@dataclass(frozen=True)
class Plan:
    """How much of everything.

    minutes    from the first video until the last one is told to end
    videos     at once
    fps        of each
    resilient  the share of videos that are to survive
    scripts    different videos, of `steps` frames
    """

    minutes: float
    seed: int
    videos: int
    fps: float
    scripts: int
    resilient: float = 0.75
    steps: int = 90


@dataclass
class Outcome:
    """What is known after a run. begin, end: of its minutes, `time.time()`. said: server -> what its supervisor said, and when"""

    record: Record
    begin: float = 0.0
    end: float = 0.0
    said: dict[str, list[tuple[float, str]]] = field(default_factory=dict)


def run(plan: Plan, planned: Sequence[Planned], fleet: Fleet, folder: Path, stopping: threading.Event, say: Callable[[str], object]) -> Outcome:
    """Runs until the time is over or `stopping` is set. Leaves no process behind. Raises RuntimeError or MaskletError where it cannot begin."""
    given = scripts(plan.seed, plan.scripts, plan.steps)
    outcome = Outcome(Record(given))
    with running(fleet, folder) as cluster:
        world = _prepared(cluster.lasting.url, given, stopping)
        say(f"{sum(len(script.expected) for script in given)} answers of {len(given)} scripts recorded, each alone")
        _warm_up(cluster.lasting.url, outcome.record, given, stopping)
        _attack(cluster.lasting.url, world, plan.seed)
        say(f"the same, all at once: {outcome.record.wrong_count} wrong")
        file = folder / "scripts.pickle"
        file.write_bytes(pickle.dumps(given))
        for_clients = client.Plan(cluster.url, str(file), str(plan.seed), "threads", 1, plan.fps, plan.resilient)
        over = threading.Event()
        outcome.begin = time.time()
        watch = threading.Thread(target=_watch, args=(plan, outcome, cluster, over, say), daemon=True)
        try:
            with Clients(for_clients, plan.videos, outcome.record) as clients:
                lookers = threading.Thread(target=_look, args=(outcome.record, cluster, clients, over), daemon=True)
                for thread in (watch, lookers):
                    thread.start()
                sent = shots(random.Random(f"attack {plan.seed}"), chosen([]), world)
                stage = Stage(cluster, clients, outcome.record, given[0], world, sent, stopping)
                _strike_all(stage, planned, outcome.begin, say)
                stopping.wait(outcome.begin + 60 * plan.minutes - time.time())
                outcome.end = time.time()
                say("videos are told to end")
        finally:
            over.set()
        for thread in (watch, lookers):
            thread.join()
        try:
            cluster.gateway.check()
        except RuntimeError as error:
            outcome.record.broken.append(str(error))
        _left_behind(outcome.record, cluster)
        outcome.said = {server.name: [(at, line.replace(str(folder), "DIR")) for at, line in server.lines] for server in cluster.servers}
    return outcome


def _prepared(url: str, given: Sequence[Script], stopping: threading.Event) -> World:
    """Records what is expected, and what attackers know."""
    for script in given:
        script.expected = list(answers(url, script, stopping))
    with Tracker(url) as tracker, tracker.open() as video:
        for prompt in given[0].steps[0].prompts:
            video.prompt(**prompt)
        video.track(given[0].steps[0].frame)
        return World(snapshot=video.snapshot(), models={model: inputs(url, model) for model in INNER})


def _warm_up(url: str, record: Record, given: Sequence[Script], stopping: threading.Event) -> None:
    """All scripts at once, compared too: engines meet most of the batches that they will meet, and take the memory for them."""

    def play(number: int) -> None:
        for step, answer in enumerate(answers(url, given[number], stopping)):
            record.compare(f"warm-up, script {number}, step {step}", number, step, answer)

    with ThreadPoolExecutor(len(given)) as pool:
        list(pool.map(play, range(len(given))))


def _attack(url: str, world: World, seed: int) -> None:
    """Hostile requests of all kinds by several at once: shared memory never shrinks, and takes what the largest requests together need."""
    tally = Tally(wanted=_HOSTILE)
    rngs = [random.Random(f"warm-up {seed} {number}") for number in range(_ATTACKERS)]
    attackers = [Attacker(shots(rng, chosen([]), world), rng, lambda: url, world, tally) for rng in rngs]
    for attacker in attackers:
        attacker.start()
    deadline = time.monotonic() + _ATTACK_S
    for attacker in attackers:
        attacker.join(max(0.0, deadline - time.monotonic()))
    tally.stopping.set()


def _strike_all(stage: Stage, planned: Sequence[Planned], begin: float, say: Callable[[str], object]) -> None:
    """Every fault when it is due; one that cannot be done, because what it needs is not there in time, is told."""
    for fault in planned:
        if stage.stopping.wait(max(0.0, begin + fault.at_s - time.time())):
            return
        start, kind = time.time(), KINDS[fault.kind]
        try:
            if kind.waits:
                stage.cluster.mortal.wait_until_alive()
                start = time.time()
            target, said = kind.strike(stage, fault.seconds, random.Random(fault.number))
        except Exception as error:  # the rest of the run is worth having
            target, said = "nobody", f"could not be done: {type(error).__name__}: {error}"
            stage.record.broken.append(f"{fault.kind}, after {start - begin:.0f} s: {said}")
        stage.record.struck.append(Struck(fault.kind, target, start, time.time(), said))
        say(f"{start - begin:8.1f} s  {fault.kind}: {target}: {said}")


def _look(record: Record, cluster: Cluster, clients: Clients, over: threading.Event) -> None:
    """Looks at the memory of servers and lasting clients, and at what banks find in what they hold."""
    while not over.wait(_LOOK_S):
        for server in cluster.servers:
            if life := server.life:
                _look_at(record, life, server.pid)
                record.mistakes[life] = max(record.mistakes.get(life, 0.0), server.metric("masklet_integrity_errors_total", default=0.0))
        for process in clients.lasting:
            _look_at(record, f"client {process.name}", process.pid)


def _look_at(record: Record, life: str, session: int) -> None:
    with suppress(OSError):  # a process ended while we looked
        sizes = memory_by_process(session)
        if len(sizes) > 1:  # more than shared memory: it is there
            record.looks.append(Look(time.time(), life, sizes))


def _watch(plan: Plan, outcome: Outcome, cluster: Cluster, over: threading.Event, say: Callable[[str], object]) -> None:
    """Says how far it is."""
    while not over.wait(_SAID_S):
        seen, minutes = outcome.record, (time.time() - outcome.begin) / 60
        say(
            f"{minutes:.1f} of {plan.minutes:g} min: {seen.count(LIVE)} videos live, {seen.count(WHOLE)} ended whole, {len(seen.waits)} answers, "
            f"{seen.wrong_count} wrong, {seen.count(LOST, resilient=True)} resilient and {seen.count(LOST, resilient=False)} plain videos lost, "
            f"{len(seen.struck)} faults, {sum(len(server.restarts) for server in cluster.servers)} restarts"
        )


def _left_behind(record: Record, cluster: Cluster) -> None:
    """Waits until the servers have forgotten the videos that nobody ended."""
    deadline = time.monotonic() + IDLE_S + 30
    for server in cluster.servers:
        while not (bank := server.bank()) or bank.videos:
            if time.monotonic() > deadline:
                record.left_behind[server.name] = bank.videos if bank else -1
                break
            time.sleep(1)
