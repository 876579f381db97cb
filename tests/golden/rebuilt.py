"""Checkpoints that are not trained but rebuilt from a recipe: what golden folders were recorded with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from masklet_build.checkpoints.random_weights import noise


def rebuild(folder: str | Path) -> dict[str, Tensor]:
    """The state dict of a recipe folder: recipe.json (seed; shape, offset and scale of each parameter) and calibrated.npz (stored ones).

    A parameter is offset + scale * standard normal from a generator of its own (`noise`), float32. Its values depend on numpy's generator:
    compare `weights_sha256` with the recorded one.
    """
    folder = Path(folder)
    recipe = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
    with np.load(folder / "calibrated.npz") as stored:
        calibrated = {name: stored[name] for name in stored.files}
    state = {}
    for name, entry in recipe["params"].items():
        array = calibrated.get(name)
        if array is None:
            array = np.float32(entry["offset"]) + np.float32(entry["scale"]) * noise(recipe["seed"], name, tuple(entry["shape"]))
        state[name] = torch.from_numpy(np.asarray(array))  # of one number numpy makes no array; rotary tables are complex
    return state


def weights_sha256(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over all parameters sorted by name: name, a zero byte, little-endian bytes of the array."""
    digest = hashlib.sha256()
    for name in sorted(state):
        array = state[name].contiguous().numpy()
        digest.update(name.encode() + b"\0" + array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
    return digest.hexdigest()
