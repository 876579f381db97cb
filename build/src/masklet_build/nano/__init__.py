"""masklet's own model, which travels with the package: the checkpoint of variant `nano` and the engines exported from it.

So a server runs without torch and without a download. After a change of the checkpoint, make the engines again:

    masklet-build export nano --half-storage --force --out build/src/masklet_build/nano/engines
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from masklet.families import NANO

CHECKPOINT: Final = Path(__file__).parent / NANO.checkpoint
ENGINES: Final = Path(__file__).parent / "engines"  # five ONNX files and manifest.json, as `masklet-build export` writes them
RECIPE: Final = Path(__file__).parent / "recipe.json"  # of the training that made the checkpoint
