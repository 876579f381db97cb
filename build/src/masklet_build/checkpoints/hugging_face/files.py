"""Which safetensors files a checkpoint consists of: one file, an index of several, or a folder with either."""

from __future__ import annotations

import json
from pathlib import Path

_WHOLE = "model.safetensors"
_INDEX = ".safetensors.index.json"


def safetensors_files(path: Path) -> list[Path]:
    """The safetensors files of the checkpoint at `path`, in order of their names; empty if it is of another kind.

    `path` is a .safetensors file, an index as `model.safetensors.index.json`, or a folder as of a repository on Hugging Face.
    Raises ValueError for a folder without any, for an index that is not one, and FileNotFoundError for a part that is missing.
    """
    if path.is_dir():
        return safetensors_files(_in_folder(path))
    if path.name.endswith(_INDEX):
        return _parts(path)
    return [path] if path.suffix == ".safetensors" else []


def _in_folder(folder: Path) -> Path:
    for name in (_WHOLE, f"model{_INDEX}"):
        if (folder / name).is_file():
            return folder / name
    held = sorted(entry.name for entry in folder.iterdir())
    shown = f"It holds {', '.join(held[:6])}{', ...' if len(held) > 6 else ''}." if held else "It is empty."
    raise ValueError(f"the folder has neither {_WHOLE} nor model{_INDEX}. {shown}")


def _parts(index: Path) -> list[Path]:
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it is not an index of safetensors files: it has no weight_map ({error!r}).") from error
    files = [index.parent / Path(name).name for name in sorted(names)]  # parts lie beside their index, wherever it says
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise FileNotFoundError(f"{len(missing)} of its {len(files)} parts are missing beside it: {', '.join(missing)}.")
    return files
