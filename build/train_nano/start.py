"""Starts a training: its folder, its processes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import distributed, multiprocessing

from masklet.families import variant
from masklet_build.checkpoints.loading import load_checkpoint
from train_nano.loop import RECIPE, STATE, Setting, Training
from train_nano.recipe import Recipe, RecipeError


def train(recipe: Recipe, setting: Setting, *, resume: bool = False, say: Callable[[str], None] = print) -> None:
    """Trains in `setting.out`: recipe.json, metrics.jsonl, curves.png, state.pt, and in the end checkpoint.safetensors.

    resume: go on from state.pt; the recipe may have changed in phases that have not begun, which nobody checks.
    Raises RecipeError, and CheckpointError for a checkpoint to begin with that does not fit.
    """
    _check(recipe, setting, resume)
    setting.out.mkdir(parents=True, exist_ok=True)
    recipe.write(setting.out / RECIPE)
    if setting.processes == 1:
        Training(recipe, setting, 0, say).run()
        return
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.spawn(_process, (recipe, setting, say, Path(folder) / "meeting"), setting.processes)


def _check(recipe: Recipe, setting: Setting, resume: bool) -> None:
    if setting.processes < 1:
        raise RecipeError(f"{setting.processes} processes: at least 1 is needed.")
    if any(phase.clips % setting.processes for phase in recipe.phases):
        counts = ", ".join(str(phase.clips) for phase in recipe.phases)
        raise RecipeError(f"{setting.processes} processes cannot share {counts} clips per step evenly. Choose another number with --processes.")
    if (setting.out / STATE).exists() and not resume:
        raise RecipeError(f"{setting.out} holds a training. Go on with it by --resume, or choose another folder.")
    if setting.begin_with and not resume:
        load_checkpoint(setting.begin_with, variant(recipe.variant))  # here, where an error has no traceback of a process around it
    if resume and not (setting.out / STATE).exists():
        raise RecipeError(f"{setting.out} holds no {STATE} to go on from. Leave --resume away to begin.")


def _process(rank: int, recipe: Recipe, setting: Setting, say: Callable[[str], None], meeting: Path) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=setting.processes)
    Training(recipe, setting, rank, say if rank == 0 else _silent).run()
    distributed.destroy_process_group()


def _silent(line: str) -> None:
    """The other processes say nothing."""
