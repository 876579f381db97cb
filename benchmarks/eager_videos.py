"""Videos tracked by plain PyTorch, ready to be timed."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import torch
from masklet_build.checkpoints.loading.loading import load_checkpoint
from PIL import Image
from torch import Tensor

from benchmarks.eager import Eager, EagerVideo
from benchmarks.engines import Say
from benchmarks.stagewise import differences
from benchmarks.steady import STEADY, Setting
from masklet.families import Variant
from masklet_build.models.stages import TorchStages


def checked_eager(checkpoint: Path, variant: Variant, threads: int, say: Say, device: str = "cpu") -> Eager:
    """The plain PyTorch model on the server's weights, after it has shown that it computes what masklet's stages compute.

    Raises SystemExit where it does not, CheckpointError for a file that is not the variant's.
    """
    torch.set_num_threads(threads)
    state = load_checkpoint(checkpoint, variant)
    model, family = Eager(state, variant), variant.family
    found = differences(model, TorchStages(state, variant), frames=family.num_memories, pointers=family.num_pointers, seed=1)
    say("eager PyTorch beside masklet's stages, largest difference: " + ", ".join(f"{name} {value:.1e}" for name, value in found.items()))
    if max(found.values()) > 1e-3:
        raise SystemExit("eager PyTorch does not compute the same, so its speed means nothing. Run the tests in tests/benchmarks.")
    return model if device == "cpu" else Eager(state, variant, device)


def clicked_eager(model: Eager, setting: Setting) -> tuple[EagerVideo, list[Tensor]]:
    """A video whose first object was clicked on the first frame, and the frames, resized and normalised as the official predictor does at loading."""
    side = model.variant.image_size
    images = [np.array(Image.fromarray(frame).resize((side, side))) for frame in setting.frames]
    x, y = setting.clicks[0]
    video = EagerVideo(model, setting.height, setting.width)
    video.click(images[0], [(x * side / setting.width, y * side / setting.height)])
    return video, [model.normalised(image) for image in images]


def steady_eager(model: Eager, setting: Setting) -> tuple[EagerVideo, list[Tensor]]:
    """The same, tracked until its memory is full."""
    video, pixels = clicked_eager(model, setting)
    for frame in itertools.islice(itertools.cycle(pixels), 1, STEADY + 1):
        video.track(frame)
    return video, pixels
