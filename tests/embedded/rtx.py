"""A repository of nano for TensorRT for RTX, as much of it as runners look at; for tests over tests/fakes/rtx_world.py."""

from __future__ import annotations

import json
from pathlib import Path

import tensorrt_rtx_bindings as trt

from masklet import contract
from masklet.families import NANO
from masklet_build.embedded.engine import Engine
from masklet_build.export.profiles import Limits, profiles
from tests.fakes.rtx_world import HEADER

TABLES = {name: [profile.inputs for profile in table] for name, table in profiles(NANO, Limits.of(NANO), wide=True).items()}
ENGINES = {model.name: model for model in contract.engines(NANO)}
PARAMETERS = {"runtime": "tensorrt-rtx", "precision": "fp32", "threads": "0", "device": "auto"}
GPU = "Stub GPU"


def repository_in(tmp_path: Path) -> Path:
    """As much of one as runners look at."""
    for model, folder, name in [
        ("image_encoder", "image_encoder/1", "engine"),
        *((name, "memory_bank/1/engines", name) for name in ENGINES if name != "image_encoder"),
    ]:
        version = tmp_path / "repo" / folder
        version.mkdir(parents=True, exist_ok=True)
        (version / f"{name}.plan").write_bytes(b"h" * HEADER + model.encode())
        machine = {"compiler": "tensorrt-rtx", "version": trt.__version__, "gpu": "", "targets": ["8.6", "8.9"], "driver": ""}
        (version / "plans.json").write_text(json.dumps({"machine": machine}))
        (tmp_path / "repo" / folder.split("/")[0] / "config.pbtxt").touch()
    return tmp_path / "repo"


def engine(repository: Path, name: str, **parameters: str) -> Engine:
    place = "image_encoder/1/engine" if name == "image_encoder" else f"memory_bank/1/engines/{name}"
    return Engine(repository / place, PARAMETERS | parameters, () if name == "image_encoder" else ["EMBEDDING"])


def kept(repository: Path) -> dict[str, list[str]]:
    """Kernels that are kept, by file."""
    folder = repository.with_name("repo.kernels")
    return {file.name: json.loads(file.read_bytes().split(b"\n", 1)[1]) for file in sorted(folder.iterdir())}
