"""The network that the tests serve, and the way to serve it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from masklet_build.models.variants import variant
from masklet_build.serve import Server

VARIANT = "efficienttam_ti_512@64"


class Serve(Protocol):
    """Assembles a server with settings ("model.parameter" -> value) and other options of `assemble`, and runs it."""

    def __call__(self, settings: Mapping[str, str], **options: str) -> AbstractContextManager[Server]: ...


def export_small(folder: Path) -> Path:
    """Exports engines with random weights into a folder there; which."""
    from masklet_build.checkpoints.random_weights import random_checkpoint, save_official
    from masklet_build.export.onnx_export import export  # torch, which not every test of this folder needs

    save_official(random_checkpoint(variant(VARIANT), seed=1), folder / "checkpoint.pt")
    export(variant(VARIANT), folder / "checkpoint.pt", folder / "engines")
    return folder / "engines"
