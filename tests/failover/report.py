"""The figures of rounds in which a server was killed, as JSON and Markdown."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.films import Played
from benchmarks.report import facts, save, table

_OBJECTIVE_S = 2.0  # from the loss until the next new answer


@dataclass(frozen=True)
class Round:
    """What became of the videos of one round.

    held           videos of the server that was killed
    frames         sent
    answered_once  frames that were answered exactly once, in order
    equal          frames whose answer has the bits of the undisturbed run
    errors         of videos that ended early
    noticed_s      per interruption: from the kill until its client noticed, which is when the gateway ended the stream
    back_s         per interruption: from then until the next new answer
    replayed       per interruption: frames that were computed again
    attempts       per interruption: servers that were asked
    """

    held: int
    frames: int
    answered_once: int
    equal: int
    errors: list[str]
    noticed_s: list[float]
    back_s: list[float]
    replayed: list[int]
    attempts: list[int]

    @classmethod
    def of(cls, killed_at: float, held: int, played: Sequence[Played], expected: Sequence[Played]) -> Round:
        """From what was played, and what is expected; `killed_at` is `time.time()`."""
        pairs = list(zip(played, expected, strict=True))
        interruptions = [interruption for one in played for interruption in one.interruptions]
        return cls(
            held=held,
            frames=sum(len(other.answers) for other in expected),
            answered_once=sum(_in_order(one.answers) for one in played),
            equal=sum(one == other for done, wanted in pairs for one, other in zip(done.answers, wanted.answers, strict=False)),
            errors=[one.error for one in played if one.error],
            noticed_s=[interruption.at - killed_at for interruption in interruptions],
            back_s=[interruption.seconds for interruption in interruptions],
            replayed=[interruption.frames_replayed for interruption in interruptions],
            attempts=[interruption.attempts for interruption in interruptions],
        )

    @property
    def complete(self) -> bool:
        """Whether nobody could tell from the answers that anything happened, and something did."""
        return not self.errors and self.answered_once == self.equal == self.frames and 0 < self.held <= len(self.back_s)

    def __str__(self) -> str:
        worst = f"back within {max(self.back_s):.2f} s" if self.back_s else "nobody was interrupted"
        return f"{len(self.back_s)} of {self.held} videos moved, {worst}; {self.equal} of {self.frames} answers equal; {len(self.errors)} errors"


def _in_order(answers: Sequence[tuple[int, str]]) -> int:
    """How many answers are those of frames 0, 1, 2 and so on."""
    return sum(index == place for place, (index, _) in enumerate(answers))


def write(out: Path, plan: Mapping[str, Any], programs: Mapping[str, str], rounds: Mapping[str, Sequence[Round]], load: float) -> bool:
    """Writes failover_NETWORK.json and .md into `out`. Whether every round was complete."""
    every = [one for done in rounds.values() for one in done]
    content = {
        "plan": dict(plan),
        "gateways": {name: _version(program) for name, program in programs.items()},
        "rounds": {name: [asdict(one) for one in done] for name, done in rounds.items()},
        **facts(load),
    }
    save(out, f"failover_{plan['network']}", content, markdown(content, rounds))
    return all(one.complete for one in every)


def _version(program: str) -> str:
    for word in ("--version", "-v"):
        said = subprocess.run([program, word], capture_output=True, text=True).stdout.strip()
        if said:
            return said.splitlines()[0].rpartition("version: ")[2]  # Envoy begins with its own path
    return "unknown"


def markdown(content: Mapping[str, Any], rounds: Mapping[str, Sequence[Round]]) -> list[str]:
    """The report."""
    plan = content["plan"]
    return [
        "# A server killed without warning",
        "",
        f"{plan['videos']} videos of `{plan['network']}`, {plan['frames']} frames at {plan['fps']:g} frames/s each, go through a gateway to "
        "two servers on one machine. In the middle of every round the server with more of them is killed (SIGKILL), and started again after it. "
        "Videos are opened with `resilient=True`; undisturbed: each film alone.",
        "",
        *table(
            [
                *("gateway", "rounds", "answered once", "equal to the undisturbed run", "videos moved", "noticed after"),
                *("back after: median, 95 %, longest", f"above {_OBJECTIVE_S:g} s", "frames replayed", "servers asked"),
            ],
            (_row(name, done) for name, done in rounds.items()),
        ),
        "Noticed: from the kill until the client knew. The gateway ends the stream at once; the client looks when its next frame is due. Back: from "
        "then until its next new answer, so with the connection, the restored snapshot and the frames computed again. All share the CPUs.",
        "",
        *(f"{name}: {version}." for name, version in content["gateways"].items()),
    ]


def _row(name: str, done: Sequence[Round]) -> list[object]:
    frames, back = sum(one.frames for one in done), np.concatenate([one.back_s for one in done])
    median, most, worst = np.percentile(back, (50, 95, 100)).tolist() if len(back) else (0.0, 0.0, 0.0)
    noticed = max((seconds for one in done for seconds in one.noticed_s), default=0.0)
    return [
        name,
        len(done),
        f"{sum(one.answered_once for one in done)} of {frames}",
        f"{sum(one.equal for one in done)} of {frames}",
        len(back),
        f"at most {noticed:.2f} s",
        f"{median:.2f}, {most:.2f}, {worst:.2f} s",
        f"{int((back > _OBJECTIVE_S).sum())} of {len(back)}",
        f"at most {max((count for one in done for count in one.replayed), default=0)}",
        f"at most {max((count for one in done for count in one.attempts), default=0)}",
    ]
