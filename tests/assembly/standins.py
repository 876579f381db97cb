"""Folders as `export` and `engine` write them, whose engines are stand-ins: assembly copies engines and does not look into them."""

from __future__ import annotations

from pathlib import Path

from masklet import contract
from masklet.families import Variant
from masklet_build.engines.kernels import Kernels
from masklet_build.engines.plans import Machine, Plan, Plans, Settings
from masklet_build.export.profiles import Limits, profiles
from masklet_build.manifest import Manifest, file_sha256


def engines_of(variant: Variant, folder: Path, sha256: str = "5" * 64, **further: str) -> Path:
    """Makes `folder`; `sha256`: of the checkpoint that is not there; further: fields of the manifest. With purpose "torch" engines are programs."""
    folder.mkdir()
    for model in contract.engines(variant):
        (folder / f"{model.name}.{'pt2' if further.get('purpose') == 'torch' else 'onnx'}").write_bytes(model.name.encode())
    files = {path.name: file_sha256(path) for path in folder.iterdir()}
    Manifest.now(variant=variant.name, checkpoint={"name": "x.pt", "sha256": sha256}, opset=17, tools={}, files=files, **further).write(folder)
    return folder


L4 = Machine("tensorrt", "11.1.0.106", "NVIDIA L4", ("8.9",), "13.0")
RTX = Machine("tensorrt-rtx", "1.7.1.116", "", ("8.6", "8.9", "12.0"), "")


def plans_of(variant: Variant, folder: Path, sha256: str = "5" * 64, limits: Limits | None = None, machine: Machine = L4) -> Path:
    """Makes `folder` with plans.json as a build writes it, its profiles those of masklet_build.export.profiles."""
    folder.mkdir()
    limits = limits or Limits.of(variant)
    plans = {}
    for engine, table in profiles(variant, limits, wide=machine.compiler == "tensorrt-rtx").items():
        file = folder / f"{engine}.plan"
        file.write_bytes(f"plan of {engine}".encode())
        memory = tuple(1 << 20 for _ in table)
        plans[engine] = Plan(file_sha256(file), {f"{engine}.onnx": "6" * 64}, table, 60.0, memory, 4, (Kernels(100, 4, 0, 2, 3),) * len(table), ())
    Plans(
        variant=variant.name,
        checkpoint={"name": "x.pt", "sha256": sha256},
        contract_version=contract.CONTRACT_VERSION,
        precision="bf16",
        attention="fp16",
        limits=limits,
        settings=Settings(),
        machine=machine,
        engines=plans,
        created="2026-11-22T00:00:00+00:00",
    ).write(folder)
    return folder
