"""Every report: how figures are summed up, what is said of their run, and how both are written, as JSON and Markdown."""

from __future__ import annotations

import importlib.metadata
import json
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from masklet_build.embedded.cores import usable_cores
from masklet_build.quality import provenance

_PACKAGES = ("torch", "transformers", "openvino", "numpy", "tritonclient", "grpcio")  # some environments have fewer

Spread = Mapping[str, float]


def median(values: Sequence[float]) -> float:
    """The median."""
    return float(np.median(values))


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, quartiles and number of values."""
    low, middle, high = np.percentile(values, (25, 50, 75)).tolist()
    return {"median": middle, "quartile_1": low, "quartile_3": high, "count": len(values)}


def ratios(some: Sequence[float], others: Sequence[float]) -> list[float]:
    """Of each round: a shared machine has faster and slower minutes, which touch both alike within a round."""
    return [one / other for one, other in zip(some, others, strict=True)]


def with_quartiles(values: Spread, digits: int = 0) -> str:
    """What `spread` gave, in words."""
    return f"{values['median']:.{digits}f} ({values['quartile_1']:.{digits}f}-{values['quartile_3']:.{digits}f})"


def table(heads: Sequence[object], rows: Iterable[Sequence[object]]) -> list[str]:
    """The lines of a table, and an empty one."""
    cells = [list(map(str, row)) for row in (heads, ["---"] * len(heads), *rows)]
    assert {len(row) for row in cells} == {len(heads)}, cells
    return [*(f"| {' | '.join(row)} |" for row in cells), ""]


def facts(load: float, threads: int | None = None) -> dict[str, Any]:
    """What every report says of its run: machine, versions, command, commit.

    load     the load average before the run began
    threads  of the run; None: as many CPUs as this process may use
    """
    installed = {distribution.name for distribution in importlib.metadata.distributions()}
    return {
        "threads": threads or usable_cores(),
        "load_before": round(load, 2),
        "command": shlex.join(["python", *sys.orig_argv[1:]]),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": provenance.commit(),
        "machine": provenance.machine_facts(),
        "versions": provenance.versions(name for name in _PACKAGES if name in installed) | provenance.server_versions(),
    }


def origin(content: Mapping[str, Any]) -> list[str]:
    """The facts as the last lines of a report."""
    machine = content["machine"]
    return [
        f"{machine['cpu']}, {machine['cores']} cores, {machine['ram_gib']} GiB; {content['threads']} threads, "
        f"load average before the run {content['load_before']}.",
        ", ".join(f"{name} {version}" for name, version in content["versions"].items()) + ".",
        "",
        f"`{content['command']}`, {content['date']}, commit {content['commit']}.",
    ]


def save(out: Path, name: str, content: Mapping[str, Any], lines: Iterable[str]) -> None:
    """Prints a report that ends with its origin, and writes NAME.json and NAME.md into `out`. content: with the `facts`."""
    print(write(out, name, content, lines))
    print(f"written: {out / name}.json, {out / name}.md")


def write(out: Path, name: str, content: Mapping[str, Any], lines: Iterable[str]) -> str:
    """The same without printing; the text of NAME.md."""
    text = "\n".join([*lines, *origin(content)]) + "\n"
    out.mkdir(parents=True, exist_ok=True)
    for kind, what in (("json", json.dumps(provenance.rounded(dict(content)), indent=1) + "\n"), ("md", text)):
        draft = out / f".{name}.{kind}.draft"  # whole or not at all: a run that goes on reads it again
        draft.write_text(what, encoding="utf-8")
        draft.replace(out / f"{name}.{kind}")
    return text
