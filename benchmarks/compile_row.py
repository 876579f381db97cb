"""One row of `benchmarks.compile_table`: the steps that each take a process of their own, so that its memory can be told and bounded."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import Any

from benchmarks import ROOT
from masklet.contract import engines
from masklet_build.engines.plans import BuildError
from masklet_build.export.precision.choice import Choice
from masklet_build.models.variants import variant

_TOLD = 600  # characters of an error that a row keeps


def measured(step: str, name: str, precision: str, folder: Path, gib: float) -> dict[str, Any]:
    """Runs a step in its process. What it found, or `error`; `seconds` of the clock, `cpu_seconds`, `gib` of resident memory at its largest.

    step    export; or wide, narrow: compilation with the profiles for TensorRT for RTX, and with those for TensorRT
    folder  where the export leaves <engine>.onnx for the steps after it
    gib     memory that it may take
    """
    result, began = folder / f"{step}.json", monotonic()
    with (folder / f"{step}.out").open("w+", encoding="utf-8") as said:
        command = [sys.executable, "-m", "benchmarks.compile_row", step, name, precision, str(folder)]
        one = {**os.environ, "OMP_NUM_THREADS": "1"}  # threads of torch that wait for each other would count as work
        process = subprocess.Popen(command, cwd=ROOT, env=one, stdout=said, stderr=said)
        resource.prlimit(process.pid, resource.RLIMIT_DATA, (int(gib * 2**30),) * 2)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        last = (said.read().strip() or "nothing").splitlines()[-1][:_TOLD]
    error = f"with {gib:g} GiB at most it ended with {process.returncode}; it said last: {last}"
    found = json.loads(result.read_text()) if process.returncode == 0 else {"error": error}
    times = {"seconds": monotonic() - began, "cpu_seconds": usage.ru_utime + usage.ru_stime}
    return {**found, **times, "gib": usage.ru_maxrss / 2**20}


def choice_of(name: str, precision: str) -> Choice:
    """Types of a row, as `masklet-build export --for tensorrt --precision` takes them."""
    return Choice.of(variant(name), precision, purpose="tensorrt")


def _export(name: str, precision: str, folder: Path) -> dict[str, Any]:
    from benchmarks.engines import write_graphs

    write_graphs(folder, variant(name), choice_of(name, precision))
    return {"bytes": sum(path.stat().st_size for path in folder.glob("*.onnx*"))}


def compiled(name: str, folder: Path, *, wide: bool) -> dict[str, Any]:
    """Engine -> what the compiler made of <engine>.onnx in `folder`, or `error`."""
    from masklet_build.engines.builder import build
    from masklet_build.engines.compilers import compiler_of
    from masklet_build.engines.plans import RTX, Settings
    from masklet_build.export.profiles import Limits, profiles

    made, compiler, subject = {}, compiler_of(RTX), variant(name)
    table = profiles(subject, Limits.of(subject), wide=wide)
    for model in engines(subject):
        ranges = table[model.name]
        try:
            built = build(compiler, model, subject, folder / f"{model.name}.onnx", ranges, Settings(), b"", folder / f"{model.name}.log")
        except BuildError as error:
            made[model.name] = {"error": _reason(error)}
            continue
        if not len(built.kernels) == len(built.memory) == len(ranges):
            made[model.name] = {"error": "built, but its log does not tell kernels and memory by profile"}
            continue
        made[model.name] = {
            "plan_bytes": len(built.plan),
            "seconds": built.seconds,
            "attentions": built.softmax_nodes,
            "warnings": list(built.warnings),
            "profiles": {
                profile.name: {**asdict(kernels), "memory": memory}
                for profile, kernels, memory in zip(ranges, built.kernels, built.memory, strict=True)
            },
        }
    return made


def _reason(error: BuildError) -> str:
    """What the compiler said, without the file that has more, which is gone with the row's folder."""
    return " ".join(str(error).partition("\nAll it said is in")[0].split())[:_TOLD]


def main(words: Sequence[str]) -> int:
    step, name, precision, folder = words[0], words[1], words[2], Path(words[3])
    found = _export(name, precision, folder) if step == "export" else {"engines": compiled(name, folder, wide=step == "wide")}
    (folder / f"{step}.json").write_text(json.dumps(found), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
