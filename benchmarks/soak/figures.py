"""What a record comes to: figures, and every promise that was broken, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.footprint import slope
from benchmarks.soak.faults import KINDS
from benchmarks.soak.record import KILLED, LIVE, LOST, REFUSED, STOPPED, WHOLE, Look, Record, Struck, Watched
from benchmarks.soak.run import Outcome

_NAMED = 5  # examples of what went wrong that are told
_AFTER_S = 15.0  # a fault is felt for so long after its end
_LATELY_S = 60.0  # what is lost within this after a fault is lost by it: a client waits half of that for an answer
_FEWEST = 6  # looks at a life, for a line through it
_POINTS = 11  # of its way
TOTAL = "all"


@dataclass(frozen=True)
class Bars:
    """What memory may do.

    growth   bytes that a process tree may grow by in a life after its first part, along a straight line: a step counts for more than it is
    least_s  lives that are shorter are told, not judged: allocators settle for minutes
    settled  the first part of a life
    """

    growth: float = 20e6
    least_s: float = 600.0
    settled: float = 0.25


def breaches(outcome: Outcome, bars: Bars) -> list[str]:
    """Every promise that did not hold. None: exit code 0."""
    record, found = outcome.record, []
    found += [f"a wrong answer: {place}" for place in record.wrong[:_NAMED]]
    if record.wrong_count > _NAMED:
        found.append(f"{record.wrong_count - _NAMED} further wrong answers")
    lost = {name: video for name, video in record.videos.items() if video.resilient and (video.ended == LOST or video.ended == LIVE)}
    found += [f"a resilient video was lost: {name}, {video.frames_lost} frames of {video.wanted}: {video.error}" for name, video in lost.items()][
        :_NAMED
    ]
    if len(lost) > _NAMED:
        found.append(f"{len(lost) - _NAMED} further resilient videos were lost")
    found += [
        f"a resilient video ended before its end: {name}"
        for name, video in record.videos.items()
        if video.ended == WHOLE and video.answered < video.wanted
    ]
    found += [f"a plain video was lost and nothing had happened: {name}: {video.error}" for name, video in _without_a_fault(record)][:_NAMED]
    found += record.broken
    found += [f"{server} still held {count} videos when all were closed" for server, count in record.left_behind.items()]
    found += [f"{life}: the bank found {count:.0f} mistakes in what it holds" for life, count in record.mistakes.items() if count]
    for life, line in lives(record.looks, bars).items():
        if line["judged"] and line["growth"][TOTAL] > bars.growth:
            grown, after = line["growth"][TOTAL] / 1e6, bars.settled * line["seconds"] / 60
            found.append(f"{life} grew by {grown:.1f} MB after its first {after:.0f} minutes; {bars.growth / 1e6:.0f} are allowed")
    found += [] if record.waits else ["no frame was answered"]
    return found


def _without_a_fault(record: Record) -> Iterable[tuple[str, Watched]]:
    for name, video in record.videos.items():
        if not video.resilient and video.ended == LOST and not any(one.begin <= video.at <= one.end + _LATELY_S for one in record.struck):
            yield name, video


def videos(record: Record, resilient: bool) -> dict[str, Any]:
    """What became of the resilient videos, or of the plain ones."""
    some = [video for video in record.videos.values() if video.resilient == resilient]
    ends = Counter(video.ended for video in some)
    causes = Counter(one["cause"] for video in some for one in video.interruptions)
    return {
        "videos": len(some),
        "ended": {how: ends[how] for how in (WHOLE, STOPPED, REFUSED, KILLED, LOST, LIVE) if ends[how]},
        "answered": sum(video.answered for video in some),
        "frames_lost": sum(video.frames_lost for video in some),
        "moves": sum(video.moves for video in some),
        "busy": sum(video.busy for video in some),
        "interruptions": dict(causes.most_common()),
        "lost_by_cause": dict(Counter(_cause(record.struck, video) for video in some if video.ended == LOST).most_common()),
    }


def _cause(struck: Sequence[Struck], video: Watched) -> str:
    """The fault before its loss and the kind of its error."""
    cause = cause_of(struck, video.at)
    return f"{cause.kind if cause else 'nothing'}: {video.error.partition(':')[0]}"


def latencies(record: Record) -> dict[str, dict[str, float]]:
    """Seconds from a request to its answer, while a fault was felt and while none was."""
    sorted_out: dict[str, list[float]] = {"quiet": [], "faulty": []}
    felt = [(one.begin, one.end + _AFTER_S) for one in record.struck]
    for at, waited in record.waits:
        faulty = any(at - waited <= end and begin <= at for begin, end in felt)
        sorted_out["faulty" if faulty else "quiet"].append(waited)
    return {name: _percentiles(found) for name, found in sorted_out.items() if found}


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    middle, most, nearly, worst = np.percentile(values, (50, 95, 99, 100)).tolist()
    return {"median": middle, "p95": most, "p99": nearly, "longest": worst, "count": len(values)}


def recoveries(outcome: Outcome) -> dict[str, dict[str, Any]]:
    """By kind of fault: how many there were, what became of them, seconds until the videos that it interrupted had their next new answer, and until
    the supervisor said that the server is ready again."""
    struck = outcome.record.struck
    found: dict[str, dict[str, Any]] = {one.kind: {"count": 0, "videos_s": [], "server_s": [], "said": []} for one in struck}
    for number, one in enumerate(struck):
        kind = found[one.kind]
        kind["count"] += 1
        kind["said"].append(f"{one.target}: {one.said}")
        until = next((other.begin for other in struck[number + 1 :] if other.target == one.target and other.kind != "drain"), float("inf"))
        lines = [at for at, line in outcome.said.get(one.target, []) if line.startswith("ready") and one.begin <= at < until]
        kind["server_s"] += [at - one.begin for at in lines[:1] if one.kind != "drain"]
    for video in outcome.record.videos.values():
        for event in video.interruptions:
            if cause := cause_of(struck, event["at"], draining=event["cause"] == "draining"):
                found[cause.kind]["videos_s"].append(event["at"] + event["seconds"] - cause.begin)
    return {
        kind: {**each, **{name: _percentiles(each[name]) if each[name] else None for name in ("videos_s", "server_s")}}
        for kind, each in found.items()
    }


def cause_of(struck: Sequence[Struck], at: float, *, draining: bool = False) -> Struck | None:
    """The last fault before that breaks streams, if that was lately; else the last one of any kind. draining: the last drain."""
    before = [one for one in struck if one.begin <= at]
    likely = [one for one in before if (one.kind == "drain") == draining and KINDS[one.kind].breaks and at <= one.end + _LATELY_S]
    return likely[-1] if likely else before[-1] if before else None


def lives(looks: Sequence[Look], bars: Bars) -> dict[str, dict[str, Any]]:
    """The memory of each process tree in each of its lives: by process the bytes that it grew by after its first part, along a least-squares line;
    and eleven points of the way."""
    by_life: dict[str, list[Look]] = {}
    for look in looks:
        by_life.setdefault(look.life, []).append(look)
    return {life: _life(some, bars) for life, some in by_life.items() if len(some) >= _FEWEST}


def _life(looks: Sequence[Look], bars: Bars) -> dict[str, Any]:
    begin, end = looks[0].at, looks[-1].at
    later = [look for look in looks if look.at >= begin + bars.settled * (end - begin)]
    at, sizes = [look.at for look in later], [_by_name(look.sizes) for look in later]
    growth = {name: slope(at, [int(size.get(name, 0)) for size in sizes]).per_frame * (end - at[0]) for name in sizes[-1]}
    way = [looks[place] for place in np.linspace(0, len(looks) - 1, _POINTS).astype(int)]
    return {
        "seconds": end - begin,
        "judged": end - begin >= bars.least_s,
        "first": sum(looks[0].sizes.values()),
        "last": sum(looks[-1].sizes.values()),
        "growth": growth,
        "way": [[look.at - begin, _by_name(look.sizes)] for look in way],
    }


def _by_name(sizes: Mapping[str, int]) -> dict[str, int]:
    """Without process ids; and the sum."""
    return {name.rpartition(" (")[0] or name: size for name, size in sizes.items()} | {TOTAL: sum(sizes.values())}
