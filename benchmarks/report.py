"""The figures of a speed run: collected, summed up, written as JSON and Markdown; and what every report says of its run."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from masklet.contract import TIMING_FIELDS
from masklet_build.quality import provenance

_PACKAGES = ("torch", "openvino", "onnxruntime", "numpy", "tritonclient")


@dataclass
class Result:
    """Milliseconds of every frame of one precision and number of objects.

    server, eager  per frame
    bare           per frame, by engine
    timing         what the server says that it spent, by stage (`masklet.contract.TIMING_FIELDS`)
    ends           where each round ends in the three lists
    """

    precision: str
    objects: int
    server: list[float] = field(default_factory=list)
    eager: list[float] = field(default_factory=list)
    bare: list[dict[str, float]] = field(default_factory=list)
    timing: list[dict[str, float]] = field(default_factory=list)
    ends: list[tuple[int, int, int]] = field(default_factory=list)

    def end_round(self) -> None:
        """Every block has had its turn."""
        self.ends.append((len(self.server), len(self.eager), len(self.bare)))

    def ratios(self) -> tuple[list[float], list[float]]:
        """eager / server and server / bare engines of each round, by the medians of that round.

        Shared machines have faster and slower minutes. Within a round they touch all three alike; medians of a whole run they would not.
        """
        gained, cost = [], []
        for begin, end in zip([(0, 0, 0), *self.ends], self.ends, strict=False):
            server = median(self.server[begin[0] : end[0]])
            gained.append(median(self.eager[begin[1] : end[1]]) / server)
            cost.append(server / median([sum(frame.values()) for frame in self.bare[begin[2] : end[2]]]))
        return gained, cost

    def summary(self) -> dict[str, Any]:
        """Medians with quartiles, in milliseconds, and the ratios of medians."""
        bare = [sum(frame.values()) for frame in self.bare]
        server, eager, engines = (spread(values) for values in (self.server, self.eager, bare))
        gained, cost = (spread(values) for values in self.ratios())
        return {
            "precision": self.precision,
            "objects": self.objects,
            "server_ms": server,
            "fps": 1000 / server["median"],
            "eager_ms": eager,
            "bare_ms": engines,
            "times_faster_than_eager": gained,
            "times_the_bare_engines": cost,
            "bare_engine_ms": {name: median([frame[name] for frame in self.bare]) for name in self.bare[0]},
            "server_timing_ms": {name: median([frame[name] for frame in self.timing]) for name in TIMING_FIELDS},
        }

    def line(self) -> str:
        """The medians so far, for people who wait."""
        bare = [sum(frame.values()) for frame in self.bare]
        return f"server {median(self.server):.0f} ms, eager {median(self.eager):.0f} ms, bare engines {median(bare):.0f} ms"


def median(values: list[float]) -> float:
    """The median."""
    return float(np.median(values))


def spread(values: list[float]) -> dict[str, float]:
    """Median, quartiles and number of values."""
    low, middle, high = np.percentile(values, (25, 50, 75)).tolist()
    return {"median": middle, "quartile_1": low, "quartile_3": high, "count": len(values)}


def write(
    out: Path, variant: str, results: list[Result], *, peaks: Mapping[str, float], gflop: Mapping[str, float], threads: int, load: float
) -> None:
    """Prints the table, and writes speed.json and speed.md into `out`.

    peaks  see `peak.peaks`
    gflop  of a frame (`arithmetic.frame_gflop`), by number of objects
    """
    content = {
        "variant": variant,
        "matrix_product_gflops": peaks,
        "gflop": gflop,
        **facts(threads, load),
        "results": [result.summary() for result in results],
    }
    save(out, "speed", content, markdown(content))


def facts(threads: int, load: float) -> dict[str, Any]:
    """What every report says of its run: machine, versions, command, commit. `load`: the load average before the run began."""
    return {
        "threads": threads,
        "load_before": round(load, 2),
        "command": shlex.join(["python", *sys.orig_argv[1:]]),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": provenance.commit(),
        "machine": provenance.machine_facts(),
        "versions": provenance.versions(_PACKAGES) | provenance.server_versions(),
    }


def allowed(gflop: float, peak: float, objects: int, server_fps: float, eager_fps: float) -> str:
    """What arithmetic allows, in a sentence. gflop: of a frame (`arithmetic.frame_gflop`); peak: GFLOP/s of a large product (`peak.peaks`)."""
    best = peak / gflop
    return (
        f"{objects} object(s): {gflop:.1f} GFLOP a frame, so {best:.3g} frames per second or {best / eager_fps:.1f} x eager PyTorch at most; "
        f"the server reaches {100 * server_fps / best:.0f} % of that."
    )


def products(peaks: Mapping[str, float]) -> str:
    """The speed of large matrix products, in a sentence."""
    return "A matrix product of 2048 x 2048 in the same run, GFLOP/s: " + ", ".join(f"{name} {value:.0f}" for name, value in peaks.items()) + "."


def origin(content: dict[str, Any]) -> list[str]:
    """The facts as the last lines of a report."""
    machine = content["machine"]
    return [
        f"{machine['cpu']}, {machine['cores']} cores, {machine['ram_gib']} GiB; {content['threads']} threads, "
        f"load average before the run {content['load_before']}.",
        ", ".join(f"{name} {version}" for name, version in content["versions"].items()) + ".",
        "",
        f"`{content['command']}`, {content['date']}, commit {content['commit']}.",
    ]


def save(out: Path, name: str, content: dict[str, Any], text: str) -> None:
    """Prints a report, and writes NAME.json and NAME.md into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.json").write_text(json.dumps(provenance.rounded(content), indent=1) + "\n", encoding="utf-8")
    (out / f"{name}.md").write_text(text, encoding="utf-8")
    print(text)
    print(f"written: {out / name}.json, {out / name}.md")


def markdown(content: dict[str, Any]) -> str:
    """The tables of a run, and where they come from."""
    results = content["results"]
    lines = [
        f"# Speed of {content['variant']} on a CPU",
        "",
        "Milliseconds per frame late in a video (7 memories and 16 pointers per object): median and quartiles. Ratios are those of each round,",
        "their median and quartiles.",
        "`benchmarks/README.md` says how to read them.",
        "",
        "| precision | objects | server | fps | eager PyTorch fp32 | bare engines | server faster than eager | server / bare engines |",
        "|---|---|---|---|---|---|---|---|",
        *(_row(result) for result in results),
        "",
        "Where the time goes: what the server reports (TIMING), and the bare engine beside it, medians in ms.",
        "",
        "| precision | objects | " + " | ".join(TIMING_FIELDS) + " | outside these |",
        "|---|---|" + "---|" * (len(TIMING_FIELDS) + 1),
        *(_breakdown(result) for result in results),
        "",
        products(content["matrix_product_gflops"]) + " At this speed the products of the engines alone would allow:",
        "",
        *(f"* {result['precision']}, {_allowed(result, content)}" for result in results),
        "",
        *origin(content),
    ]
    return "\n".join(lines) + "\n"


def _allowed(result: dict[str, Any], content: dict[str, Any]) -> str:
    gflop, peak = content["gflop"][str(result["objects"])], content["matrix_product_gflops"][f"openvino {result['precision']}"]
    return allowed(gflop, peak, result["objects"], result["fps"], 1000 / result["eager_ms"]["median"])


def _row(result: dict[str, Any]) -> str:
    times = [with_quartiles(result[name]) for name in ("server_ms", "eager_ms", "bare_ms")]
    ratios = " | ".join(with_quartiles(result[name], 2) for name in ("times_faster_than_eager", "times_the_bare_engines"))
    return f"| {result['precision']} | {result['objects']} | {times[0]} | {result['fps']:.2f} | {times[1]} | {times[2]} | {ratios} |"


def with_quartiles(values: dict[str, float], digits: int = 0) -> str:
    """What `spread` gave, in words."""
    return f"{values['median']:.{digits}f} ({values['quartile_1']:.{digits}f}-{values['quartile_3']:.{digits}f})"


def _breakdown(result: dict[str, Any]) -> str:
    timing, bare = result["server_timing_ms"], result["bare_engine_ms"]
    cells = [f"{timing[name]:.1f}" + (f" ({bare[name]:.1f})" if name in bare else "") for name in TIMING_FIELDS]
    outside = result["server_ms"]["median"] - sum(timing.values())
    return f"| {result['precision']} | {result['objects']} | " + " | ".join(cells) + f" | {outside:.1f} |"
