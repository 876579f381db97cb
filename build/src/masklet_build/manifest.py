"""The manifest beside exported engines: what they are, and what they were made of."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

from masklet.contract import CONTRACT_VERSION

FILE_NAME = "manifest.json"
WEIGHTS = ".weights"  # a large engine has a second file: the name of the first, and this


@dataclass(frozen=True)
class Manifest:
    """Contents of manifest.json.

    variant            name in masklet.families
    checkpoint         {"name": file name, "sha256": of the file (masklet_build.checkpoints.checkpoint_sha256)}
    contract_version   of masklet.contract at the export
    opset              of the ONNX files
    precision          of weights and arithmetic
    tools              versions of what made the files
    files              file name -> sha256
    created            UTC, ISO 8601
    """

    variant: str
    checkpoint: Mapping[str, str]
    contract_version: int
    opset: int
    precision: str
    tools: Mapping[str, str]
    files: Mapping[str, str]
    created: str

    @classmethod
    def now(cls, *, variant: str, checkpoint: Mapping[str, str], opset: int, tools: Mapping[str, str], files: Mapping[str, str]) -> Manifest:
        """The manifest of files made just now, float32, under this contract."""
        created = datetime.now(timezone.utc).isoformat(timespec="seconds")
        tools = {"python": platform.python_version(), **tools}
        return cls(variant, checkpoint, CONTRACT_VERSION, opset, "fp32", tools, files, created)

    def write(self, folder: Path) -> None:
        """Writes manifest.json into `folder`."""
        (folder / FILE_NAME).write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Reads manifest.json of `folder`. Raises FileNotFoundError, or TypeError and ValueError if it is not a manifest."""
        return cls(**json.loads((folder / FILE_NAME).read_text(encoding="utf-8")))


def file_sha256(path: str | Path) -> str:
    """The sha256 of a file's bytes, in hex."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
