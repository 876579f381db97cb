"""The network in several types, each as a server in this process, to compare their masks over clips."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from masklet.contract import engines
from masklet.errors import ServerUnavailable
from masklet.families import Variant
from masklet_build.checkpoints.loading import checkpoint_sha256, load_checkpoint
from masklet_build.checkpoints.torch_files import CheckpointError
from masklet_build.export.onnx_export import CHECKED_SIZES, ExportError, export
from masklet_build.export.precision.check import RoundingStages
from masklet_build.export.precision.choice import PLAIN, Choice
from masklet_build.export.precision.plan import make_plan
from masklet_build.in_process import InProcess, Stages
from masklet_build.models.stages import TorchStages
from masklet_build.quality.served import Served


def typed_servers(variant: Variant, checkpoint: Path, choices: Sequence[Choice], say: Callable[[str], None]) -> list[AbstractContextManager[Served]]:
    """One server in fp32, and one for each choice; each is made when it is entered, which raises ServerUnavailable where that is not possible."""

    @cache
    def reference() -> TorchStages:
        return TorchStages(load_checkpoint(checkpoint, variant), variant)

    def made(choice: Choice, folder: Path) -> Stages:
        if choice == PLAIN:
            return reference()
        if "bf16" in (choice.precision, choice.attention):
            return make_plan(reference(), variant, choice, progress=say).stages(reference())
        export(variant, checkpoint, folder, choice=choice, sizes=CHECKED_SIZES[:1], progress=say)
        return RoundingStages({model.name: folder / f"{model.name}.onnx" for model in engines(variant)})

    @contextmanager
    def served(choice: Choice) -> Iterator[Served]:
        with TemporaryDirectory(prefix="masklet-typed-") as scratch:
            try:
                stages = made(choice, Path(scratch) / "engines")
            except (CheckpointError, ExportError) as error:
                raise ServerUnavailable(str(error)) from error
            yield Served("this process", variant.name, str(choice), checkpoint_sha256(checkpoint), InProcess(variant, stages))

    return [served(choice) for choice in (PLAIN, *choices)]
