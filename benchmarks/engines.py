"""Engines to try things with: made once per folder, and used again while they fit."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from masklet import contract
from masklet.contract import CONTRACT_VERSION
from masklet.families import NANO, Variant
from masklet_build import nano
from masklet_build.export.precision.choice import Choice
from masklet_build.manifest import Manifest, file_sha256

Say = Callable[[str], None]

_SEED = 7


def ready_engines(folder: Path, variant: Variant, checkpoint: Path | None, say: Say) -> Path:
    """The folder of a variant's engines below `folder`, exported unless they are there and fit. Only the export needs torch.

    checkpoint  official file; None: random weights. Raises CheckpointError and ExportError.
    """
    engines = folder / "engines"
    if _fits(engines, variant, checkpoint, _random_name(variant)):
        say(f"engines: those in {engines} fit")
        return engines
    from masklet_build.export.onnx_export import export

    if checkpoint is None:
        checkpoint = random_checkpoint_file(folder, variant, say)
    say(f"engines: exporting {variant.name} to ONNX and checking every engine against PyTorch")
    export(variant, checkpoint, engines, force=True)
    return engines


def _random_name(variant: Variant) -> str:
    return f"random-{variant.name}-{_SEED}.pt"


def random_checkpoint_file(folder: Path, variant: Variant, say: Say) -> Path:
    """A checkpoint of random weights, made in `folder`."""
    from masklet_build.checkpoints.random_weights import random_checkpoint, save_official

    say("engines: no checkpoint given, making one with RANDOM weights: everything works as with trained ones, but the masks will mean nothing")
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / _random_name(variant)
    save_official(random_checkpoint(variant, _SEED), file)
    return file


def _fits(engines: Path, variant: Variant, checkpoint: Path | None, random_name: str) -> bool:
    try:
        manifest = Manifest.read(engines)
    except (OSError, TypeError, ValueError):
        return False
    if (manifest.variant, manifest.contract_version) != (variant.name, CONTRACT_VERSION):
        return False
    if checkpoint is None and manifest.checkpoint["name"] != random_name:
        return False
    if checkpoint is not None and (not checkpoint.is_file() or manifest.checkpoint["sha256"] != file_sha256(checkpoint)):
        return False
    return all((engines / name).is_file() and file_sha256(engines / name) == expected for name, expected in manifest.files.items())


def prepared(variant: Variant, given: Path | None, folder: Path, say: Say) -> tuple[Path, Path]:
    """Checkpoint and engines to measure with, exported into `folder`; nano has its own. `given`: None for random weights."""
    from masklet_build.export.onnx_export import export
    from masklet_build.models.samples import Sizes

    if variant is NANO and given is None:
        return nano.CHECKPOINT, nano.ENGINES
    if given is None and variant.name == "sam2.1_t":
        from benchmarks.baseline.session import random_weights

        given = random_weights(folder)
    checkpoint = given or random_checkpoint_file(folder, variant, say)
    say(f"exporting {variant.name}")
    export(variant, checkpoint, folder / "engines", sizes=(Sizes(),))
    return checkpoint, folder / "engines"


def write_graphs(folder: Path, variant: Variant, choice: Choice) -> None:
    """<engine>.onnx of the five engines with random weights, as `masklet-build export` writes them, but unchecked: nothing is run, so nothing is
    known of ranges, and no module keeps fp32 for them."""
    from masklet_build.checkpoints.random_weights import random_parameters
    from masklet_build.export.onnx_export import export_engine, opset_of
    from masklet_build.export.precision.plan import Plan
    from masklet_build.models.network import build_stages

    stages, plan = build_stages(random_parameters(variant, _SEED), variant), Plan(choice)
    for model in contract.engines(variant):
        stage = plan.stage(model.name, stages.pop(model.name))  # each is gone when it is written: the largest have gigabytes
        with without_products():
            export_engine(stage, model, variant, folder / f"{model.name}.onnx", opset_of(choice))


@contextmanager
def without_products() -> Iterator[None]:
    """Inside, PyTorch's matrix products on CPUs have the right shape and wrong numbers. A trace is the same, and takes seconds instead of minutes in
    fp16, which CPUs have no units for."""
    from torch import library

    def outer(a: Any, b: Any) -> Any:
        return a.narrow(-1, 0, 1) * b.narrow(-2, 0, 1)

    with warnings.catch_warnings(), library._scoped_library("aten", "IMPL") as kernels:
        warnings.simplefilter("ignore")  # that kernels are replaced is meant
        kernels.impl("mm", outer, "CPU")
        kernels.impl("bmm", outer, "CPU")
        kernels.impl("addmm", lambda bias, a, b, **_: outer(a, b), "CPU")
        yield
