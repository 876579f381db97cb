"""The report of a run, in JSON and Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.report import table
from benchmarks.soak.figures import TOTAL, Bars, breaches, latencies, lives, recoveries, videos
from benchmarks.soak.run import Outcome, Plan
from benchmarks.soak.schedule import Planned
from benchmarks.soak.servers import IDLE_S, LIMIT

_LINES = 12  # that supervisors said, of each server


def content(
    plan: Plan, planned: Sequence[Planned], settings: Mapping[str, Any], outcome: Outcome, bars: Bars, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything that is known of a run."""
    record, begin = outcome.record, outcome.begin
    return {
        "plan": {**asdict(plan), **settings},
        "bars": asdict(bars),
        "breaches": breaches(outcome, bars),
        "seconds": outcome.end - begin,
        "answers": len(record.waits),
        "wrong": record.wrong_count,
        "resilient": videos(record, True),
        "plain": videos(record, False),
        "latencies_s": latencies(record),
        "faults": recoveries(outcome),
        "memory": lives(record.looks, bars),
        "left_behind": record.left_behind,
        "integrity_errors": sum(record.mistakes.values()),
        "schedule": [asdict(one) for one in planned],
        "struck": [{**asdict(one), "begin": one.begin - begin, "end": one.end - begin} for one in record.struck],
        "supervisors": {name: [[at - begin, line] for at, line in lines] for name, lines in outcome.said.items()},
        **facts,
    }


def markdown(found: Mapping[str, Any]) -> list[str]:
    """The report in words and tables."""
    plan, resilient, plain = found["plan"], found["resilient"], found["plain"]
    return [
        "# Soak and chaos",
        "",
        f"{plan['videos']} videos at once of `{plan['variant']}`, {plan['fps']:g} frames/s each, for {found['seconds'] / 60:.1f} minutes; "
        f"{plan['resilient']:.0%} of them resilient. They come and go through {plan['gateway']} to two servers of `masklet-build serve`, each with "
        f"{LIMIT} places, which forget a silent video after {IDLE_S} s. {len(found['struck'])} faults, seed {plan['seed']}.",
        "",
        "**Every promise held.**" if not found["breaches"] else "**What did not hold:**",
        "",
        *(f"* {breach}" for breach in found["breaches"]),
        "",
        f"* Answers: {found['answers']:,}, each compared with that of the same video alone: {found['wrong']} with other bits.",
        *_kept("Resilient videos", resilient),
        *_kept("Plain videos", plain),
        f"* Mistakes that the banks found in what they hold: {found['integrity_errors']:.0f}.",
        "",
        "## Latencies",
        "",
        *table(
            ["", "answers", "median", "95 %", "99 %", "longest"],
            ([name, f"{each['count']:,}", *_seconds(each)] for name, each in found["latencies_s"].items()),
        ),
        "Faulty: from the beginning of a fault until 15 s after its end. Everything shares the CPUs.",
        "",
        "## Faults",
        "",
        *table(
            [
                "fault",
                "times",
                "videos interrupted",
                "until their next new answer: median, 95 %, 99 %, longest",
                "until the server was ready: the same",
            ],
            (
                [kind, each["count"], each["videos_s"]["count"] if each["videos_s"] else 0, _spread(each["videos_s"]), _spread(each["server_s"])]
                for kind, each in found["faults"].items()
            ),
        ),
        "Both from the moment of the fault. An interruption counts for the fault that struck last before it was noticed. Where a server drains, its",
        "videos are answered all the time; there the time is that until the first answer of the other server.",
        "",
        "## Memory",
        "",
        *_memory(found["memory"], found["bars"]),
        "## What the supervisors said",
        "",
        *_said(found["supervisors"]),
    ]


def _kept(what: str, some: Mapping[str, Any]) -> list[str]:
    ended = ", ".join(f"{how} {count}" for how, count in some["ended"].items())
    lines = [
        f"* {what}: {some['videos']:,} with {some['answered']:,} answers; {ended}. Frames lost: {some['frames_lost']}. {some['moves']} moves, "
        f"{some['busy']} times there was no place; interruptions: {_counted(some['interruptions'])}."
    ]
    return [*lines, *([f"  Lost after, with: {_counted(some['lost_by_cause'])}."] if some["lost_by_cause"] else [])]


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{what} {count}" for what, count in counts.items()) or "none"


def _seconds(each: Mapping[str, float]) -> list[str]:
    return [f"{each[name]:.2f} s" for name in ("median", "p95", "p99", "longest")]


def _spread(each: Mapping[str, float] | None) -> str:
    return ", ".join(f"{each[name]:.1f}" for name in ("median", "p95", "p99", "longest")) + " s" if each else ""


def _memory(memory: Mapping[str, Any], bars: Mapping[str, float]) -> list[str]:
    rows = (
        [
            life,
            f"{each['seconds'] / 60:.1f}",
            f"{each['first'] / 1e6:.0f}, {each['last'] / 1e6:.0f}",
            f"{each['growth'][TOTAL] / 1e6:+.1f}",
            ", ".join(f"{name} {grown / 1e6:+.1f}" for name, grown in each["growth"].items() if name != TOTAL),
            "yes" if each["judged"] else "no, too short",
        ]
        for life, each in memory.items()
    )
    return [
        f"Growth along a least-squares line through a life without its first {bars['settled']:.0%}; {bars['growth'] / 1e6:.0f} MB are allowed, "
        f"in lives of {bars['least_s'] / 60:g} minutes and more. A server's: Triton, its python processes, shared memory.",
        "",
        *table(["life", "minutes", "first, last, MB", "growth, MB", "by process", "judged"], rows),
    ]


def _said(supervisors: Mapping[str, Sequence[Sequence[Any]]]) -> Iterable[str]:
    for name, lines in supervisors.items():
        yield from (
            f"{name}, the last {min(_LINES, len(lines))} of {len(lines)} lines (all are in the JSON), seconds after the beginning:",
            "",
            "```",
        )
        yield from (f"{at:8.1f}  {line}" for at, line in lines[-_LINES:])
        yield from ("```", "")
