"""Folders as `export` writes them, whose engines are stand-ins: assembly copies engines and does not look into them."""

from __future__ import annotations

from pathlib import Path

from masklet import contract
from masklet.families import Variant
from masklet_build.manifest import Manifest, file_sha256


def engines_of(variant: Variant, folder: Path, sha256: str = "5" * 64, **further: str) -> Path:
    """Makes `folder`; `sha256`: of the checkpoint that is not there; further: fields of the manifest. With purpose "torch" engines are programs."""
    folder.mkdir()
    for model in contract.engines(variant):
        (folder / f"{model.name}.{'pt2' if further.get('purpose') == 'torch' else 'onnx'}").write_bytes(model.name.encode())
    files = {path.name: file_sha256(path) for path in folder.iterdir()}
    Manifest.now(variant=variant.name, checkpoint={"name": "x.pt", "sha256": sha256}, opset=17, tools={}, files=files, **further).write(folder)
    return folder
