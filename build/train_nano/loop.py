"""The training loop: steps, their record, and a state from which it goes on after any interruption.

On a CPU it runs as several processes of one thread, each with its share of a step's clips: faster than one process of several threads, whose
threads wait for one another. On a GPU it is one process.
"""

from __future__ import annotations

import copy
import math
import multiprocessing
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import distributed

from masklet.families import variant
from masklet_build.checkpoints.loading import load_checkpoint, save_checkpoint
from train_nano.data import Batch, Clips, batches, share_of_numbers
from train_nano.episode import Plan, run_episode
from train_nano.network import state
from train_nano.recipe import Phase, Recipe
from train_nano.record import Record
from train_nano.validation import validate
from train_nano.weights import Average, fresh_model, parameter_groups

STATE, RECIPE, CHECKPOINT = "state.pt", "recipe.json", "checkpoint.safetensors"

_WARM_UP = 200  # steps from a hundredth of the first rate to all of it
_BETAS = (0.9, 0.98)


@dataclass(frozen=True)
class Setting:
    """Where and how a training runs.

    begin_with   a checkpoint of the variant to begin with; None: random weights
    processes    that share the clips of a step (CPU). Each draws prompts of its own and weighs its own clips, so another number trains another model
    workers      processes that draw clips, for each of them
    save_every   seconds between two saved states
    log_every, validate_every   steps
    """

    out: Path
    device: str
    processes: int
    begin_with: Path | None = None
    workers: int = 1
    save_every: float = 300.0
    log_every: int = 20
    validate_every: int = 400


class Training:
    """One process's part of a training."""

    def __init__(self, recipe: Recipe, setting: Setting, rank: int, say: Callable[[str], None]) -> None:
        self.recipe, self.setting, self.rank, self.say = recipe, setting, rank, say
        self.device = torch.device(setting.device)
        self.model = fresh_model(variant(recipe.variant), recipe.seed).to(self.device)
        if setting.begin_with:
            self.model.network.load_state_dict(load_checkpoint(setting.begin_with, self.model.variant))
        self.optimiser = torch.optim.AdamW(parameter_groups(self.model, recipe.weight_decay), lr=0.0, betas=_BETAS)
        self.average = Average(self.model, recipe.average)
        self.record = Record(setting.out)
        self.step, self.seconds = 0, 0.0
        if (setting.out / STATE).exists():
            self._restore()

    def run(self) -> None:
        """Every step that is left, then the checkpoint."""
        self._begin = self._saved = time.monotonic()
        for phase, done, first in self.recipe.remaining(self.step):
            self.say(f"phase: {phase.clips} clips of {phase.frames} frames at {phase.side} pixels, {phase.steps - done} steps")
            for index, batch in enumerate(self._batches(phase, done, first), done):
                self._one_step(phase, index, batch)
        self._validate()
        if self.rank == 0:
            self._save()
            self._write_checkpoint()

    def _batches(self, phase: Phase, done: int, first: int) -> Iterator[Batch]:
        clips = Clips("train", phase.frames, phase.side, self.recipe.objects, phase.stories, phase.every)
        numbers = share_of_numbers(first, phase.steps - done, phase.clips, self.rank, self.setting.processes)
        return batches(clips, numbers, phase.clips // self.setting.processes, self.setting.workers)

    def _one_step(self, phase: Phase, index: int, batch: Batch) -> None:
        parent = multiprocessing.parent_process()
        if parent is not None and not parent.is_alive():
            raise SystemExit("the process that started this training is gone")
        rate = _rate(phase, index) * min(1.0, 0.01 + self.step / _WARM_UP)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        torch.manual_seed(hash((self.recipe.seed, self.step, self.rank)) % 2**31)
        plan = Plan.draw(random.Random(f"{self.recipe.seed} {self.step}"), phase.frames)
        images, masks = (tensor.to(self.device, non_blocking=True) for tensor in batch)
        with torch.autocast(self.device.type, torch.bfloat16):
            outcome = run_episode(self.model, images, masks, plan)
        outcome.total.backward()
        self._share_gradients()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip_norm)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.average.update(self.model, self.step)
        self.step += 1
        if self.rank == 0:
            self.record.step(outcome, plan.kind)
        self._now_and_then(rate)

    def _share_gradients(self) -> None:
        """Every process gets the mean gradient of all."""
        if self.setting.processes == 1:
            return
        gradients = [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(flat)
        flat /= self.setting.processes
        for gradient, part in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def _now_and_then(self, rate: float) -> None:
        if self.step % self.setting.validate_every == 0 and self.step < self.recipe.steps:  # `run` ends with one
            self._validate()
        if self.rank:
            return
        if self.step % self.setting.log_every == 0:
            seconds = self._spent()
            left = (self.recipe.steps - self.step) * seconds / self.step
            line = self.record.log(step=self.step, seconds=round(seconds, 1), rate=rate)
            self.say(f"step {self.step}/{self.recipe.steps} ({_clock(seconds)}, about {_clock(left)} left): {line}")
        if time.monotonic() - self._saved > self.setting.save_every:
            self._save()

    def _validate(self) -> None:
        averaged = copy.deepcopy(self.model)
        averaged.load_state_dict(self.average.weights)
        figures = validate(averaged, self.recipe.objects, self.rank, self.setting.processes)
        if self.rank == 0:
            self.record.validation(step=self.step, seconds=round(self._spent(), 1), **figures)
            self.say("validation: " + ", ".join(f"{name} {value:.3f}" for name, value in figures.items()))

    def _spent(self) -> float:
        """Seconds of training, with those before the last resumption."""
        return self.seconds + time.monotonic() - self._begin

    def _save(self) -> None:
        self._saved = time.monotonic()
        content = {
            "step": self.step,
            "seconds": self._spent(),
            "model": self.model.state_dict(),
            "average": self.average.weights,
            "optimiser": self.optimiser.state_dict(),
        }
        path = self.setting.out / STATE
        torch.save(content, path.with_suffix(".new"))
        path.with_suffix(".new").replace(path)  # an interruption leaves the old state or the new one
        self.record.plot()

    def _restore(self) -> None:
        content = torch.load(self.setting.out / STATE, map_location=self.device, weights_only=True)
        self.model.load_state_dict(content["model"])
        self.average.weights = content["average"]
        self.optimiser.load_state_dict(content["optimiser"])
        self.step, self.seconds = content["step"], content["seconds"]
        if self.rank == 0:
            self.record.cut(self.step)

    def _write_checkpoint(self) -> None:
        self.model.load_state_dict(self.average.weights)
        metadata = {"variant": self.recipe.variant, "steps": str(self.step), "seconds": f"{self._spent():.0f}", "licence": "Apache-2.0"}
        save_checkpoint(self.setting.out / CHECKPOINT, state(self.model), metadata=metadata)


def _rate(phase: Phase, index: int) -> float:
    """Learning rate of a phase's step: half a cosine from `rate` to `end_rate`."""
    return phase.end_rate + (phase.rate - phase.end_rate) * 0.5 * (1 + math.cos(math.pi * index / phase.steps))


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 3600}:{int(seconds) // 60 % 60:02d} h"
