"""What becomes of the videos of a server that is killed without warning, behind each gateway: round after round, with every answer compared.

20 videos go through a gateway to two servers, all resilient. In the middle of each round the server that has more of them is killed, and
started again after the round: loading takes both cores of a small machine, which pods have for themselves. A round is good when every frame of
every video was answered once, in order, with the masks of an undisturbed run.

    python -m tests.failover.rounds --envoy .venv/build/bin/envoy --haproxy .venv/build/bin/haproxy
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import RESULTS
from benchmarks.films import Film, Played, film, play_all
from tests.failover.fleet import NANO, Fleet, Network, small
from tests.failover.gateways import Envoy, Gateway, HAProxy, wait_until_healthy
from tests.failover.report import Round, write


@dataclass(frozen=True)
class Plan:
    """How much of everything."""

    videos: int
    frames: int
    fps: float
    rounds: int
    network: str


def alone(url: str, films: Sequence[Film]) -> list[Played]:
    """What each film is answered when nothing disturbs it and nothing else is there."""
    return [played for one in films for played in asyncio.run(play_all(url, [one], fps=1000))]


async def disturbed(gateway: Gateway, fleet: Fleet, films: Sequence[Film], plan: Plan, expected: Sequence[Played]) -> Round:
    """One round."""
    killed_at, held, pod = 0.0, 0, fleet.pods[0]

    async def kill() -> None:
        nonlocal killed_at, held, pod
        await asyncio.sleep(plan.frames / plan.fps / 2)
        pod = await asyncio.to_thread(fleet.fullest)
        held = (await asyncio.to_thread(pod.bank)).videos
        killed_at = time.time()
        pod.kill()

    played, _ = await asyncio.gather(play_all(gateway.url, films, plan.fps, resilient=True), kill())
    await asyncio.to_thread(pod.revive)
    return Round.of(killed_at, held, played, expected)


def run(plan: Plan, network: Network, programs: dict[type[Envoy] | type[HAProxy], str], folder: Path, python: Path) -> dict[str, list[Round]]:
    """All rounds, by gateway."""
    films = [film(number, plan.frames) for number in range(plan.videos)]
    rounds: dict[str, list[Round]] = {}
    with Fleet(folder / "fleet", python, 2, network=network, supervised=False) as fleet:
        expected = alone(fleet.pods[0].server.grpc_url, films)
        print(f"{plan.videos} films alone: done", flush=True)
        for kind, program in programs.items():
            (folder / kind.name).mkdir()
            with kind(program, folder / kind.name, fleet.ports) as gateway:
                for number in range(1, plan.rounds + 1):
                    wait_until_healthy(gateway, 2)
                    done = asyncio.run(disturbed(gateway, fleet, films, plan, expected))
                    rounds.setdefault(kind.name, []).append(done)
                    print(f"{kind.name} {number}/{plan.rounds}: {done}", flush=True)
    return rounds


def main() -> int:
    """Returns the exit code: 0 if every round was good."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--envoy", metavar="FILE", help="the program; without it Envoy is left out")
    parser.add_argument("--haproxy", metavar="FILE", help="the program; without it HAProxy is left out")
    parser.add_argument("--network", choices=("small", "nano"), default="small", help="small: random weights for 64 x 64 (default: %(default)s)")
    parser.add_argument("--videos", type=int, default=20, help="(default: %(default)s)")
    parser.add_argument("--frames", type=int, default=12, help="per video (default: %(default)s)")
    parser.add_argument("--fps", type=float, default=1.0, help="per video (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=10, help="per gateway (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for failover_NETWORK.json and .md (default: %(default)s)")
    args = parser.parse_args()
    programs = {kind: program for kind, program in ((Envoy, args.envoy), (HAProxy, args.haproxy)) if program}
    if not programs:
        parser.error("name at least one gateway's program: --envoy FILE, --haproxy FILE")
    plan = Plan(args.videos, args.frames, args.fps, args.rounds, args.network)
    load, python = os.getloadavg()[0], Path(os.environ.get("MASKLET_SERVING_PYTHON", sys.executable))
    with tempfile.TemporaryDirectory(prefix="masklet-failover-") as folder:
        network = NANO if args.network == "nano" else small(Path(folder))
        rounds = run(plan, network, programs, Path(folder), python)
    good = write(args.out, asdict(plan), {kind.name: program for kind, program in programs.items()}, rounds, load)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
