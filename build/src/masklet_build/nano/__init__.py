"""masklet's own model, which travels with the package: the checkpoint of variant `nano` and the engines exported from it.

So a server runs without torch and without a download. After a change of the checkpoint, make the engines again:

    masklet-build export nano --half-storage --force --out build/src/masklet_build/nano/engines
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from masklet.families import NANO
from masklet_build.models import variants

CHECKPOINT: Final = Path(__file__).parent / NANO.checkpoint
ENGINES: Final = Path(__file__).parent / "engines"  # five ONNX files and manifest.json, as `masklet-build export` writes them
RECIPE: Final = Path(__file__).parent / "recipe.json"  # of the training that made the checkpoint


def shipped(args: argparse.Namespace, option: str, path: Path, advice: str) -> Path:
    """What the package has for a command's variant. Exits with 2, wrong arguments, where it has nothing."""
    if variants.variant(args.variant).official:
        args.refuse(f"{option} is required for {args.variant}: the package has weights of nano only. {advice}")
    return path
