"""The manifest beside exported engines: what they are, and what they were made of."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from masklet.contract import CONTRACT_VERSION

FILE_NAME = "manifest.json"
WEIGHTS = ".weights"  # a large engine has a second file: the name of the first, and this
FIXTURES = "fixtures.npz"  # beside engines: what the network answers in fp32, for `masklet-build selftest`


class ManifestError(Exception):
    """A folder holds no engines that can be used; the message says why and what to do."""


@dataclass(frozen=True)
class KeptModule:
    """A module that computes in fp32 although the precision is lower.

    engine, module   where: the engine, and the module's path in the network of that stage
    largest          largest absolute value that the range scan saw in it; None: it was not seen at all
    reason           why it keeps fp32
    """

    engine: str
    module: str
    largest: float | None
    reason: str


@dataclass(frozen=True)
class Manifest:
    """Contents of manifest.json.

    variant            name in masklet.families
    checkpoint         {"name": file name, "sha256": and "source": of the file (checkpoint_sha256 and source_of in masklet_build.checkpoints.loading)}
    contract_version   of masklet.contract at the export
    opset              of the ONNX files; 0 where there are none
    precision          of projections and convolutions, in the graphs themselves: fp32, fp16 or bf16. Inputs and outputs are those of masklet.contract
    tools              versions of what made the files
    files              file name -> sha256
    created            UTC, ISO 8601
    attention          of the attention cores, in the same way
    purpose            whom the graphs' forms suit: cpu or tensorrt; torch: they are PyTorch programs
    kept_fp32          modules that keep fp32 all the same
    vanishing          engine -> module -> how many of its weights are not zero but become zero in fp16
    differences        engine -> output -> how far the engine is from PyTorch in fp32 (masklet_build.export.precision.check); none for fp32
    """

    variant: str
    checkpoint: Mapping[str, str]
    contract_version: int
    opset: int
    precision: str
    tools: Mapping[str, str]
    files: Mapping[str, str]
    created: str
    # Manifests of before had none of these: their engines are fp32, in the forms for CPUs.
    attention: str = "fp32"
    purpose: str = "cpu"
    kept_fp32: tuple[KeptModule, ...] = ()
    vanishing: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    differences: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @classmethod
    def now(
        cls,
        *,
        variant: str,
        checkpoint: Mapping[str, str],
        opset: int,
        tools: Mapping[str, str],
        files: Mapping[str, str],
        precision: str = "fp32",
        **further: Any,
    ) -> Manifest:
        """The manifest of files made just now under this contract. further: the fields behind `created`."""
        created = datetime.now(timezone.utc).isoformat(timespec="seconds")
        tools = {"python": platform.python_version(), **tools}
        return cls(variant, checkpoint, CONTRACT_VERSION, opset, precision, tools, files, created, **further)

    def write(self, folder: Path) -> None:
        """Writes manifest.json into `folder`."""
        (folder / FILE_NAME).write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Reads manifest.json of `folder`. Raises FileNotFoundError, or TypeError and ValueError if it is not a manifest."""
        values = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
        kept = tuple(KeptModule(**item) for item in values.pop("kept_fp32", ()))
        return cls(**values, kept_fp32=kept)

    @classmethod
    def found(cls, folder: Path) -> Manifest:
        """As `read`. Raises ManifestError."""
        try:
            return cls.read(folder)
        except FileNotFoundError as error:
            raise ManifestError(f"{folder} has no {FILE_NAME}, so it holds no engines. Make them with: masklet-build export") from error
        except (TypeError, ValueError) as error:
            raise ManifestError(f"{folder / FILE_NAME} cannot be read: {error}. Export again.") from error

    @classmethod
    def checked(cls, folder: Path, variant: str) -> Manifest:
        """The manifest of a folder that has the engines of a variant, for this contract, whole and as they were exported. Raises ManifestError."""
        manifest = cls.found(folder)
        if manifest.variant != variant:
            raise ManifestError(f"{folder} holds engines of {manifest.variant}, not {variant}. Name that variant, or export {variant}.")
        if manifest.contract_version != CONTRACT_VERSION:
            raise ManifestError(
                f"{folder} was exported for contract {manifest.contract_version}; this masklet-build has {CONTRACT_VERSION}. Export again."
            )
        for name, expected in manifest.files.items():
            if not (folder / name).is_file() or file_sha256(folder / name) != expected:
                raise ManifestError(f"{folder / name} is missing or not the file that was exported. Export again.")
        return manifest


def file_sha256(path: str | Path) -> str:
    """The sha256 of a file's bytes, in hex."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
