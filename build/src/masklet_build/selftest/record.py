"""Makes fixtures: tracks the drawn clip with the float32 network in PyTorch, and keeps rows of what its engines were asked and answered.

For the nano in the package, after a change of its weights or of its tensors:

    python -m masklet_build.selftest.record
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from masklet.contract import Model, engines
from masklet.families import Variant
from masklet.tracker import Tracker
from masklet_build.in_process import InProcess, Stages
from masklet_build.manifest import FIXTURES
from masklet_build.selftest.bars import BARS, compare
from masklet_build.selftest.fixtures import SHIPPED, Expected, Fixtures, Row, halved, taken, write
from masklet_build.selftest.recorder import Recorder
from masklet_build.selftest.rows import attention_rows, decoder_rows, mask_rows, memory_rows
from masklet_build.selftest.scenario import answered, drawn, play

if TYPE_CHECKING:
    from masklet_build.torch_stages import TorchStages

CLIP_FRAMES = 24  # of the nano in the package, which knows drawn clips
FEW_FRAMES = 3  # of other weights: a frame of a large network takes seconds on a CPU

Say = Callable[[str], None]


def record(variant: Variant, stages: Stages, checkpoint_sha256: str, frames: int, made: Mapping[str, str], progress: Say) -> Fixtures:
    """The fixtures of a network. `stages` compute in float32; `made`: versions of what computes."""
    clip, recorder = drawn(frames), Recorder(variant, stages)
    with Tracker("in this process", transport=InProcess(variant, recorder)) as tracker:
        answers = []
        for number, result in enumerate(play(tracker, clip), 1):
            answers.append(answered(result))
            progress(f"fixtures: frame {number} of {len(clip.steps)} tracked")
    kept = (0, len(recorder.features) - 1)  # frames that are stored: the one with prompts of all kinds, and the one with the most memories
    features = [{name: halved(array) for name, array in recorder.features[number].items()} for number in kept]
    asked = [
        *(Row("image_encoder", place, {"IMAGE": recorder.features[number]["IMAGE"]}) for place, number in enumerate(kept)),
        *mask_rows(recorder),
        *attention_rows(recorder, variant),
        *decoder_rows(recorder, variant, kept),
        *memory_rows(recorder, variant, kept),
    ]
    progress(f"fixtures: asking the network {len(asked)} rows")
    models = {model.name: model for model in engines(variant)}
    rows = [_answered(row, models[row.engine], stages, features) for row in asked]
    clear = [row for row in rows if row.engine != "mask_decoder" or not _near_tie(row, models[row.engine], stages, features)]
    told = {"python": platform.python_version(), "numpy": np.__version__, **made, "near_ties": str(len(rows) - len(clear))}
    return Fixtures(variant.name, checkpoint_sha256, features, clear, replace(clip, answers=answers), told)


def _answered(row: Row, model: Model, stages: Stages, features: list[dict[str, np.ndarray]]) -> Row:
    """The row with rounded inputs, and the network's answer to it alone."""
    inputs = {name: halved(array) for name, array in row.inputs.items()}
    outputs = _ask(Row(row.engine, row.frame, inputs), model, stages, features)
    expected = {name: Expected(array.shape[1:], taken(array[0]).copy()) for name, array in outputs.items()}
    return Row(row.engine, row.frame, inputs, expected)


def _near_tie(row: Row, model: Model, stages: Stages, features: list[dict[str, np.ndarray]]) -> bool:
    """Whether another mask is chosen, or presence decided otherwise, when the features are off by the rounding of bfloat16. An engine of reduced
    precision may rightly differ there, so the row would say nothing."""
    noise = np.random.default_rng(0).standard_normal(row.inputs["FEATURES"].shape, dtype=np.float32)
    moved = {**row.inputs, "FEATURES": row.inputs["FEATURES"] * (1 + 2.0**-9 * noise)}
    outputs = _ask(Row(row.engine, row.frame, moved), model, stages, features)
    return any(compare(name, array, [row], BARS["bf16"]).problem(BARS["bf16"]) for name, array in outputs.items())


def _ask(row: Row, model: Model, stages: Stages, features: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    call = {name: array[np.newaxis] for name, array in row.inputs.items()}
    for tensor in model.inputs:
        if tensor.name == "VIDEO":
            call["VIDEO"] = np.zeros(1, np.int32)
        elif tensor.dims[0] == "V":
            assert row.frame is not None
            call[tensor.name] = features[row.frame][tensor.name][np.newaxis]
    return dict(stages.call(row.engine, call))


def write_beside(folder: Path, variant: Variant, reference: TorchStages, checkpoint_sha256: str, progress: Say) -> None:
    """Writes fixtures.npz beside exported engines. `reference`: the network in float32."""
    import torch

    frames = FEW_FRAMES if variant.official else CLIP_FRAMES
    write(record(variant, reference, checkpoint_sha256, frames, {"torch": torch.__version__}, progress), folder / FIXTURES)


def main() -> None:
    """Writes the fixtures of the nano in the package."""
    import torch

    from masklet.families import NANO
    from masklet_build.checkpoints import checkpoint_sha256, load_checkpoint
    from masklet_build.nano import CHECKPOINT
    from masklet_build.torch_stages import TorchStages

    stages = TorchStages(load_checkpoint(CHECKPOINT, NANO), NANO)
    sha256 = checkpoint_sha256(CHECKPOINT)
    write(record(NANO, stages, sha256, CLIP_FRAMES, {"torch": torch.__version__}, print), SHIPPED)
    print(f"wrote {SHIPPED}, {SHIPPED.stat().st_size >> 10} KiB")


if __name__ == "__main__":
    main()
