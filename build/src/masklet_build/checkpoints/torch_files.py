"""Reading files of torch.save without running what they say, whatever objects of training programs they hold."""

from __future__ import annotations

import pickle
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

_SHOWN = 3
_CLASS = re.compile(r"GLOBAL (\S+)")
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_UNREADABLE = (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError, TypeError, OSError)


class CheckpointError(Exception):
    """A file is not the checkpoint that was asked for."""


class _StandIn:
    """In place of an object whose class is not loaded: takes whatever the file says of it, and does nothing."""

    def __new__(cls, *args: object, **kwargs: object) -> _StandIn:
        return object.__new__(cls)

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def read_torch(path: Path) -> Any:
    """What a file of torch.save holds. Classes that PyTorch does not trust are not imported: their objects, as of a trainer's settings, are inert.

    Raises CheckpointError.
    """
    foreign = foreign_classes(path)
    stand_ins = [(type(name.rpartition(".")[2], (_StandIn,), {}), name) for name in foreign]
    try:
        with safe_globals(stand_ins):
            return torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        # PyTorch goes on with how to load it nevertheless, which would run what a hostile file says.
        reason = _ANSI.sub("", str(error))
        if "TorchScript" in reason:
            raise CheckpointError(f"{path} is a TorchScript program, not a checkpoint. {SAVE_ALONE}") from error
        if named := _CLASS.findall(reason) or (foreign if isinstance(error, pickle.UnpicklingError) else []):
            raise CheckpointError(f"{path} is whole, but {of_classes(named)} {SAVE_ALONE}") from error
        first = reason.splitlines()[0].partition(" In PyTorch 2.6")[0] if reason else type(error).__name__
        raise CheckpointError(
            f"{path} ({path.stat().st_size:,} bytes) cannot be read as a PyTorch checkpoint: {first} "
            "It may be an incomplete download or another kind of file. Download it again."
        ) from error


def foreign_classes(path: Path) -> list[str]:
    """Full names of the classes and functions in a file that PyTorch does not trust; empty where they cannot be listed, as in files before 1.6."""
    try:
        return sorted(get_unsafe_globals_in_checkpoint(str(path)))
    except _UNREADABLE:
        return []


def of_classes(names: Sequence[str]) -> str:
    """Why such a file is not read, in words."""
    shown = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
    return f"holds objects of {shown}, which are not loaded: that would run code that the file names."


SAVE_ALONE = 'Save the parameters alone, in the program that has the model: torch.save({"model": model.state_dict()}, "weights.pt")'
