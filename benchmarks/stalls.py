"""What becomes of videos when a process of the server stands still for a second and more, as when a machine is paused or swaps.

Eight resilient videos are in flight. In each round one process of a python model, or the whole server with its supervisor, is stopped (SIGSTOP) for
1.1 to 1.7 seconds and goes on (SIGCONT). A round is good when every answer that was given as a success has the bits of the video alone, and every
frame was answered in the end.

    .venv/build/bin/python -m benchmarks.stalls --each 20
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks import RESULTS
from benchmarks.films import Film, Played, film, play_all
from benchmarks.report import facts, save, table
from benchmarks.supervised import Supervised, signalled

VIDEOS, FRAMES, FPS = 8, 12, 4.0
SHORTEST_S, LONGEST_S = 1.1, 1.7
WHOLE = "everything"
_SETTLE_S = 1.0  # after which a process that was hurt is seen to be dead


@dataclass
class Round:
    """What became of the videos of one stall.

    target    the model instance that was stopped, or WHOLE
    stopped_s for how long
    frames    that were sent
    answered  answers given as a success
    wrong     of these, with other bits than alone, or out of order: "film 3, frame 5"
    errors    of videos that ended early
    causes    why videos were interrupted, one for each interruption
    still_s   how long each of these videos stood still: what its oldest request had waited, and the time from then until its next new result
    restarts  what the supervisor said
    """

    target: str
    stopped_s: float
    frames: int = 0
    answered: int = 0
    wrong: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    causes: list[str] = field(default_factory=list)
    still_s: list[float] = field(default_factory=list)
    restarts: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether nobody could tell from the answers that anything happened."""
        return not self.wrong and not self.errors and self.answered == self.frames

    def __str__(self) -> str:
        still = f", stood still for {max(self.still_s):.1f} s at most" if self.still_s else ""
        return (
            f"{self.target} stopped for {self.stopped_s:.2f} s: {self.answered} of {self.frames} answered, {len(self.wrong)} wrong, "
            f"{len(self.errors)} videos ended, {len(self.causes)} interruptions{still}, {len(self.restarts)} restarts"
        )


def alone(url: str, films: Sequence[Film]) -> list[Played]:
    """What each film is answered when nothing else is there. Raises RuntimeError where one is not answered whole."""
    played = [one for each in films for one in asyncio.run(play_all(url, [each], fps=1000))]
    if any(one.error or len(one.answers) < len(each.frames) for one, each in zip(played, films, strict=True)):
        raise RuntimeError(f"a video alone was not answered: {[one.error for one in played]}")
    return played


def compare(done: Round, played: Sequence[Played], expected: Sequence[Played]) -> None:
    """Adds to a round what was played, beside what each film gets alone."""
    for number, (one, wanted) in enumerate(zip(played, expected, strict=True)):
        done.frames += len(wanted.answers)
        done.answered += len(one.answers)
        done.wrong += [f"film {number}, frame {place}" for place, answer in enumerate(one.answers) if answer != wanted.answers[place]]
        done.errors += [one.error] if one.error else []
        done.causes += [interruption.cause for interruption in one.interruptions]
        done.still_s += [interruption.waited_s + interruption.seconds for interruption in one.interruptions]


async def stalled(server: Supervised, films: Sequence[Film], target: str, seconds: float, after_s: float) -> tuple[list[Played], list[int]]:
    """Plays the films and stops a target in the middle. What was played, and the processes that were stopped."""
    pids = server.everything() if target == WHOLE else [pid for pid, name in server.stubs().items() if name == target]

    async def strike() -> None:
        await asyncio.sleep(after_s)
        for pid in pids:
            signalled(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            for pid in reversed(pids):  # Triton goes on before its stubs, and the supervisor last, as when a machine goes on in any order
                signalled(pid, signal.SIGCONT)

    played, _ = await asyncio.gather(play_all(server.url, films, FPS, resilient=True), strike())
    return played, pids


def run_round(server: Supervised, films: Sequence[Film], expected: Sequence[Played], target: str, chance: random.Random) -> Round:
    """One stall. Returns when the server is well again."""
    before = len(server.restarts)
    done = Round(target, chance.uniform(SHORTEST_S, LONGEST_S))
    played, pids = asyncio.run(stalled(server, films, target, done.stopped_s, after_s=chance.uniform(0.3, 0.6) * FRAMES / FPS))
    assert pids, f"no process of {target}"
    compare(done, played, expected)
    time.sleep(_SETTLE_S)
    server.wait_until_up()
    done.restarts = server.restarts[before:]
    return done


def targets(server: Supervised) -> list[str]:
    """The instances of python models, and the whole server."""
    return [*sorted(server.stubs().values()), WHOLE]


def run(folder: Path, each: int, seed: int, only: Sequence[str] = (), python: Path | None = None) -> list[Round]:
    """`each` stalls of every target, in turn. only: targets whose names begin so; none: all."""
    chance, films, rounds = random.Random(seed), [film(number, FRAMES) for number in range(VIDEOS)], []
    with Supervised(folder, python) as server:
        expected = alone(server.url, films)
        chosen = [name for name in targets(server) if not only or name.startswith(tuple(only))]
        for number in range(each):
            for target in chosen:
                rounds.append(run_round(server, films, expected, target, chance))
                print(f"{number + 1}/{each} {rounds[-1]}", flush=True)
    return rounds


def markdown(rounds: Sequence[Round]) -> list[str]:
    """The report."""
    return [
        "# A server that stands still for a second",
        "",
        f"{VIDEOS} resilient videos of `nano`, {FRAMES} frames at {FPS:g} frames/s each, one supervised server. In every "
        f"round a process is stopped for {SHORTEST_S:g} to {LONGEST_S:g} s (SIGSTOP, SIGCONT); everything: Triton, its stubs and the supervisor.",
        "",
        *table(
            ["stopped", "rounds", "answered", "wrong", "videos ended early", "interruptions", "stood still: median, longest", "restarts"],
            (_row(target, [one for one in rounds if one.target == target]) for target in dict.fromkeys(one.target for one in rounds)),
        ),
        "Wrong: an answer given as a success whose bits are not those of the video alone. Stood still: for each interruption, what the oldest",
        "request had waited when it was noticed, and the time from then until the next new result.",
        "",
    ]


def _row(target: str, rounds: Sequence[Round]) -> list[object]:
    still = sorted(seconds for one in rounds for seconds in one.still_s)
    stood = f"{still[len(still) // 2]:.1f}, {still[-1]:.1f} s" if still else "never"
    return [
        target,
        len(rounds),
        f"{sum(one.answered for one in rounds)} of {sum(one.frames for one in rounds)}",
        *(sum(len(found) for found in each) for each in zip(*((one.wrong, one.errors, one.causes) for one in rounds), strict=True)),
        stood,
        sum(len(one.restarts) for one in rounds),
    ]


def main() -> int:
    """Returns the exit code: 0 if every round was good."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", type=int, default=3, metavar="N", help="stalls of every target (default: %(default)s)")
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME", help=f"targets whose names begin so, {WHOLE!r} among them (default: all)")
    parser.add_argument("--seed", type=int, default=1, help="of how long and when (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="DIR", help="for stalls.json and stalls.md (default: benchmarks/results)")
    args = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="masklet-stalls-") as folder:
        rounds = run(Path(folder), args.each, args.seed, args.only)
    content = {"rounds": [asdict(one) for one in rounds], **facts(load)}
    save(args.out, "stalls", content, markdown(rounds))
    return 0 if all(one.good for one in rounds) else 1


if __name__ == "__main__":
    sys.exit(main())
