"""Folders as `export` writes them, whose engines are stand-ins: assembly copies engines and does not look into them."""

from __future__ import annotations

from pathlib import Path

from masklet import contract
from masklet.families import Variant
from masklet_build.manifest import Manifest, file_sha256


def engines_of(variant: Variant, folder: Path, sha256: str = "5" * 64) -> Path:
    """Makes `folder`; `sha256`: of the checkpoint that is not there."""
    folder.mkdir()
    for model in contract.engines(variant):
        (folder / f"{model.name}.onnx").write_bytes(model.name.encode())
    files = {path.name: file_sha256(path) for path in folder.iterdir()}
    Manifest.now(variant=variant.name, checkpoint={"name": "x.pt", "sha256": sha256}, opset=17, tools={}, files=files).write(folder)
    return folder
