"""What does NVIDIA's compiler make of every variant in every precision? By TensorRT for RTX, which needs no GPU.

Graphs have random weights: they are those of a checkpoint but for modules that its ranges would keep in fp32. Rows that are there are kept, so
the same command goes on with a run that was stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from benchmarks import RESULTS
from benchmarks.compile_row import choice_of, measured
from benchmarks.report import facts, save, table, write
from masklet.families import VARIANTS
from masklet_build.checkpoints.listing import PARAMETERS
from masklet_build.engines.compilers import compiler_of
from masklet_build.engines.plans import RTX, Machine
from masklet_build.export.precision.choice import PRECISIONS
from masklet_build.models.variants import variant
from masklet_build.quality import provenance

NAME = "compile_table"
Row = dict[str, Any]

HEADS = (
    *("variant", "precision", "compiles", "fused", "fused, narrow profiles", "plans, MB", "activations, MiB"),
    *("build, s", "build, GiB", "narrow, s", "graph, s", "graph, GiB"),
)


def small_first() -> list[str]:
    """The variants, by about what an export costs; of those with one checkpoint, which have the same graphs, the first."""
    first = {made.checkpoint: name for name, made in reversed(VARIANTS.items())}
    return sorted(first.values(), key=lambda name: PARAMETERS[name] * VARIANTS[name].image_size ** 2)


def measured_row(name: str, precision: str, steps: Sequence[str], gib: float) -> Row:
    """A row: step -> what `compile_row` found; without a graph there are no further steps."""
    row: Row = {"date": datetime.now(timezone.utc).isoformat(timespec="seconds"), "commit": provenance.commit(), "load_before": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory(prefix="masklet-compile-") as folder:
        for step in ("export", *steps):
            row[step] = measured(step, name, precision, Path(folder), gib)
            if "error" in row[step]:
                break
    return row


def fused(found: Mapping[str, Any], engine: str) -> tuple[int, int, list[str]]:
    """Of an engine: attentions that are fused in every profile, all of them, and the profiles that have fewer."""
    made = found["engines"][engine]
    least = min((profile["attention"] for profile in made["profiles"].values()), default=0)
    return least, made["attentions"], [name for name, profile in made["profiles"].items() if profile["attention"] < made["attentions"]]


def built(found: Mapping[str, Any]) -> dict[str, Any]:
    """The engines that have a plan."""
    return {engine: made for engine, made in found.get("engines", {}).items() if "error" not in made}


def refused(row: Row, step: str) -> dict[str, str]:
    """Engine, or step -> why there is no plan."""
    if (broken := next((name for name in ("export", step) if "error" in row.get(name, {})), None)) is not None:
        return {broken: row[broken]["error"]}
    return {engine: made["error"] for engine, made in row[step]["engines"].items() if "error" in made}


def cells(name: str, precision: str, row: Row) -> list[object]:
    """A line of the table."""
    wide, narrow, export = row.get("wide", {}), row.get("narrow", {}), row["export"]
    engines, absent = built(wide), refused(row, "wide")
    memory = max(((max(profile["memory"] for profile in made["profiles"].values()), engine) for engine, made in engines.items()), default=None)
    return [
        name,
        choice_of(name, precision),
        f"not: {', '.join(absent)}" if absent else "yes",
        _share(wide),
        _share(narrow),
        f"{sum(made['plan_bytes'] for made in engines.values()) / 1e6:.0f}" if engines else "",
        f"{memory[0] / 2**20:.0f} ({memory[1]})" if memory else "",
        f"{wide['cpu_seconds']:.0f}" if wide else "",
        f"{wide['gib']:.1f}" if wide else "",
        f"{narrow['cpu_seconds']:.0f}" if narrow else "",
        f"{export['cpu_seconds']:.0f}",
        f"{export['gib']:.1f}",
    ]


def _share(found: Mapping[str, Any]) -> str:
    counts = [fused(found, engine)[:2] for engine in built(found)]
    return f"{sum(least for least, _ in counts)} of {sum(all_of for _, all_of in counts)}" if counts else ""


def remarks(rows: Mapping[str, Row]) -> Iterator[str]:
    """A sentence on what was refused, warned of, or not fused though its precision allows it; what is alike in several rows once."""
    alike: dict[str, list[str]] = defaultdict(list)
    for key, row in rows.items():
        for step in [step for step in ("wide", "narrow") if step in row] or ["wide"]:
            for said in _remarks(*key.split(), row, step):
                alike[f"{said} ({step} profiles)"].append(f"`{key}`")
    yield from (f"{said}: {', '.join(keys)}." for said, keys in alike.items())


def _remarks(name: str, precision: str, row: Row, step: str) -> Iterator[str]:
    yield from (f"Refused, {place}: {why}" for place, why in refused(row, step).items())
    for engine, made in built(row.get(step, {})).items():
        yield from (f"Warned, {engine}: {line}" for line in made["warnings"])
        short = fused(row[step], engine)[2]
        if short and choice_of(name, precision).attention != "fp32":
            counts = ", ".join(f"{profile} {made['profiles'][profile]['attention']} of {made['attentions']}" for profile in short)
            yield f"Not all fused, {engine}: {counts}"


def markdown(content: Mapping[str, Any]) -> list[str]:
    """The report."""
    rows = in_order(content["rows"])
    return [
        "# Every variant in every precision, by the compiler of TensorRT for RTX",
        "",
        f"TensorRT for RTX {content['compiler']}, on a CPU, for compute capabilities {', '.join(content['targets'])}. Random weights; nothing was "
        "run. `benchmarks/README.md` says how to read it.",
        "",
        *table(HEADS, (cells(*key.split(), row) for key, row in rows.items())),
        *(line for said in remarks(rows) for line in (said, "")),
        "Seconds are those of processors: the machine had other work to do. `compile_table.json` has date, commit and load of each row, and "
        "kernels and memory of each profile.",
        "",
    ]


def in_order(rows: Mapping[str, Row]) -> dict[str, Row]:
    """Rows in the order of families and precisions, whatever they were measured in; those of no known variant last."""
    names = [*VARIANTS, *dict.fromkeys(key.split()[0] for key in rows)]
    return {key: rows[key] for key in sorted(rows, key=lambda key: (names.index(key.split()[0]), PRECISIONS.index(key.split()[1])))}


def kept(out: Path, machine: Machine) -> dict[str, Row]:
    """The rows of an earlier run by the same compiler for the same targets."""
    try:
        content = json.loads((out / f"{NAME}.json").read_text())
    except FileNotFoundError:
        return {}
    return content["rows"] if (content["compiler"], content["targets"]) == (machine.version, list(machine.targets)) else {}


def complete(row: Row, steps: Sequence[str]) -> bool:
    """Whether a row has all of these steps, or an error that ended it."""
    return any("error" in found for found in row.values() if isinstance(found, dict)) or row.keys() >= set(steps)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variants", nargs="*", metavar="VARIANT", help="such as nano, or sam3:16 for half of its trunk; default: all, small first")
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=PRECISIONS, help="default: all")
    parser.add_argument("--narrow", action="store_true", help="count what is fused in the profiles for TensorRT, too: three times as long to build")
    parser.add_argument("--again", action="store_true", help="measure rows that are there already, too")
    parser.add_argument("--memory-gib", type=float, default=16, metavar="G", help="what a process may take; default %(default)g")
    parser.add_argument("--out", type=Path, default=RESULTS, help=f"folder of {NAME}.json and {NAME}.md; default %(default)s")
    args = parser.parse_args()
    machine, load = compiler_of(RTX).machine(), os.getloadavg()[0]
    content = {"compiler": machine.version, "targets": list(machine.targets), "rows": kept(args.out, machine), **facts(load)}
    steps = ("wide", "narrow") if args.narrow else ("wide",)
    names = [variant(name).name for name in args.variants] or small_first()
    for name, precision in ((name, precision) for name in names for precision in args.precision):
        key = f"{name} {precision}"
        if args.again or not complete(content["rows"].get(key, {}), steps):
            content["rows"][key] = measured_row(name, precision, steps, args.memory_gib)
            write(args.out, NAME, content, markdown(content))
            print(" | ".join(map(str, cells(name, precision, content["rows"][key]))), flush=True)
    save(args.out, NAME, content, markdown(content))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
