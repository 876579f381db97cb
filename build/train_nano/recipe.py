"""The recipe of a training: everything that decides what comes out, in a JSON file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from masklet.families import variant
from masklet_build.clips import STORIES


class RecipeError(Exception):
    """A recipe cannot be followed."""


@dataclass(frozen=True)
class Phase:
    """Steps that are alike.

    side             of the square image, pixels, a multiple of the variant's stride
    frames           per clip
    every            of so many frames of a drawn clip one is seen: objects move that much farther from one to the next
    clips            per step
    steps            optimiser steps
    stories          of the clips, in turn (`masklet_build.clips.STORIES`); empty: every clip draws its own
    rate, end_rate   learning rate at the beginning and at the end; in between it falls (or rises) like a half cosine
    """

    side: int
    frames: int
    clips: int
    steps: int
    rate: float
    end_rate: float
    stories: tuple[str, ...] = ()
    every: int = 1


@dataclass(frozen=True)
class Recipe:
    """A training, from random weights or from a checkpoint.

    variant        name in masklet.families
    seed           of weights and prompts; clips are numbered, and every clip is seen once
    objects        tracked per clip
    phases         one after another
    weight_decay   of matrices, by AdamW; norms, biases and tables have none
    average        what the averaged weights keep of themselves per step; they are what is kept in the end
    clip_norm      gradients are scaled down to this norm
    """

    variant: str
    seed: int
    objects: int
    phases: tuple[Phase, ...]
    weight_decay: float
    average: float
    clip_norm: float

    @property
    def steps(self) -> int:
        """Steps of all phases."""
        return sum(phase.steps for phase in self.phases)

    def most_processes(self, limit: int) -> int:
        """The largest number of processes, up to `limit`, that can share the clips of every step evenly."""
        return max(number for number in range(1, limit + 1) if all(phase.clips % number == 0 for phase in self.phases))

    def remaining(self, step: int) -> Iterator[tuple[Phase, int, int]]:
        """Each phase that is not over after `step` steps, the steps of it that are done, and the number of its first unseen clip."""
        clip = 0
        for phase in self.phases:
            done = min(max(step, 0), phase.steps)
            if done < phase.steps:
                yield phase, done, clip + done * phase.clips
            step -= phase.steps
            clip += phase.steps * phase.clips

    @classmethod
    def read(cls, path: Path) -> Recipe:
        """Reads a recipe. Raises RecipeError."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            phases = tuple(Phase(**{**phase, "stories": tuple(phase.get("stories", ()))}) for phase in content.pop("phases"))
            recipe = cls(phases=phases, **content)
            stride = variant(recipe.variant).stride
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise RecipeError(f"{path} is not a recipe: {error}. See the one in masklet_build/nano.") from error
        if not phases or any(phase.side % stride or min(phase.side, phase.frames, phase.clips, phase.steps, phase.every) < 1 for phase in phases):
            raise RecipeError(f"{path}: every phase needs steps, clips, frames and every of at least 1, and a side that is a multiple of {stride}.")
        unknown = {story for phase in phases for story in phase.stories} - set(STORIES)
        if unknown:
            raise RecipeError(f"{path}: no such story: {', '.join(sorted(unknown))}. There are {', '.join(STORIES)}.")
        return recipe

    def write(self, path: Path) -> None:
        """Writes the recipe as JSON."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")
