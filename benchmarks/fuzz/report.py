"""The report of a run, in JSON and Markdown."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Any

import numpy as np

from benchmarks.fuzz.honest import VIDEOS
from benchmarks.fuzz.run import ALLOWED_GROWTH, IDLE_S, Outcome, Plan
from benchmarks.report import table

_NAMED = 12


def content(plan: Plan, outcome: Outcome, facts: dict[str, Any]) -> dict[str, Any]:
    """Everything that is known of a run."""
    waited = [seconds for seen in outcome.witnesses for seconds in seen.waited]
    median, late, longest = np.percentile(waited, (50, 99, 100)).tolist() if waited else (0.0, 0.0, 0.0)
    line = outcome.line()
    kinds: dict[str, Counter[str]] = {}
    for (kind, what), count in outcome.tally.counts.items():
        kinds.setdefault(kind, Counter())[what] += count
    return {
        "plan": asdict(plan),
        "sent": outcome.tally.sent,
        "seconds": outcome.seconds,
        "faults": outcome.faults(plan),
        "kinds": {kind: dict(found.most_common()) for kind, found in sorted(kinds.items())},
        "longest_s": dict(sorted(outcome.tally.longest.items(), key=lambda pair: -pair[1])),
        "lost_with_a_stream": dict(outcome.tally.lost.most_common()),
        "codes": dict(outcome.tally.by_code().most_common()),
        "foreign": outcome.foreign(),
        "honest": {
            "compared": sum(seen.compared for seen in outcome.witnesses),
            "wrong": [place for seen in outcome.witnesses for place in seen.wrong],
            "failed": [text for seen in outcome.witnesses for text in seen.failed],
            "films": sum(seen.films for seen in outcome.witnesses),
            "found_no_place": sum(seen.busy for seen in outcome.witnesses),
            "waited_s": {"median": median, "p99": late, "longest": longest},
        },
        "twins": {"refused": outcome.twins.refused, "compared": outcome.twins.compared, "differences": outcome.twins.differences},
        "restarts": outcome.restarts,
        "memory": {
            "before": outcome.before,
            "after": outcome.after,
            "growth": outcome.growth,
            "slope_bytes_per_s": line.per_frame if line else None,
            "slope_error": line.error if line else None,
        },
        **facts,
    }


def markdown(found: dict[str, Any]) -> list[str]:
    """The report in words and tables."""
    plan, people, twins = found["plan"], found["honest"], found["twins"]
    waited = people["waited_s"]
    return [
        "# Hostile requests",
        "",
        f"{found['sent']:,} requests (the first {plan['warm_up']:,} to warm up) of {len(found['kinds'])} kinds from {plan['workers']} attackers, "
        f"seed {plan['seed']}, in {found['seconds'] / 60:.1f} minutes ({found['sent'] / found['seconds']:.0f}/s), beside {VIDEOS} honest videos at "
        f"{plan['fps']:g} frames/s and pairs of twins. One server of `nano`.",
        "",
        "**Every invariant held.**" if not found["faults"] else "**What did not hold:**",
        "",
        *(f"* {fault}" for fault in found["faults"]),
        "",
        f"* Restarts: {len(found['restarts'])}.",
        f"* Honest videos: {people['compared']:,} answers compared with the video alone, {len(people['wrong'])} with other bits, "
        f"{len(people['failed'])} errors, {people['films']} films whole; {people['found_no_place']} times there was no place. An answer took "
        f"{waited['median']:.2f} s (median), {waited['p99']:.2f} s (p99), {waited['longest']:.2f} s (longest).",
        f"* Twins: {twins['refused']:,} refused requests, {twins['compared']:,} answers compared with those of the video without them, "
        f"{len(twins['differences'])} different.",
        *_memory(found["memory"]),
        "",
        *table(["answer", "requests"], ([what, f"{count:,}"] for what, count in found["codes"].items())),
        *table(
            ["kind", "requests", "what came back", "slowest, with what was before it on its stream"],
            (_row(kind, counts, found["longest_s"].get(kind, 0.0)) for kind, counts in found["kinds"].items()),
        ),
        *_lost(found["lost_with_a_stream"]),
    ]


def _memory(found: dict[str, Any]) -> list[str]:
    if not found["before"]:
        return ["* Memory: the server is not ours, so nobody looked."]
    before, after = found["before"], found["after"]
    if set(before) != set(after):
        return ["* Memory: processes were replaced, so what they had before says nothing."]
    through, error = found["slope_bytes_per_s"], found["slope_error"]
    parts = ", ".join(f"{name} {(after[name] - size) / 1e6:+.1f}" for name, size in before.items())
    return [
        f"* Memory at rest, after silent videos were forgotten ({IDLE_S} s): {sum(before.values()) / 1e6:.1f} MB after the warm-up, "
        f"{sum(after.values()) / 1e6:.1f} MB at the end: {found['growth'] / 1e6:+.1f} MB, {ALLOWED_GROWTH / 1e6:.0f} are allowed.",
        *([f"* Memory while attacked: {through / 1e3:+.2f} kB/s (standard error {error / 1e3:.2f})."] if error else []),
        f"* Growth by process, MB: {parts}.",
    ]


def _row(kind: str, counts: dict[str, int], longest: float) -> list[str]:
    said = ", ".join(f"{what} {count:,}" for what, count in counts.items())
    return [kind, f"{sum(counts.values()):,}", said, f"{longest:.1f} s"]


def _lost(lost: dict[str, int]) -> list[str]:
    if not lost:
        return []
    most = list(lost.items())[:_NAMED]
    return ["On their way when streams broke, most often: " + ", ".join(f"{kind} {count}" for kind, count in most) + ".", ""]
