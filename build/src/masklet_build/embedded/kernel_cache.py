"""Kernels that TensorRT for RTX compiled for this GPU, kept in a file from one start of the server to the next."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from masklet_build.embedded.logs import LOG

_unwritable: set[Path] = set()  # folders of which that was said


class KernelCache:
    """One file: a line that says whose kernels they are, and the kernels. What does not fit is left alone, and replaced at the next `write`."""

    def __init__(self, file: Path, identity: Mapping[str, str]) -> None:
        """identity: what kernels depend on: engine, version, driver. Of others they are not read."""
        self.file, self._identity = file, dict(identity)
        self._kept = b""

    def read(self) -> bytes:
        """The kernels; none where there is no file, or one that is damaged or of something else."""
        try:
            self._check_folder()
            head, _, kernels = self.file.read_bytes().partition(b"\n")
            said = json.loads(head)
        except FileNotFoundError:
            return b""
        except (OSError, ValueError) as error:
            LOG.warning("%s cannot be read (%s): kernels are compiled again", self.file, error)
            return b""
        if said != self._head(kernels):
            LOG.info("%s is of another engine, driver or version, or damaged: kernels are compiled again", self.file)
            return b""
        self._kept = kernels
        return kernels

    def write(self, kernels: bytes) -> None:
        """Keeps kernels, if they are others than before. What goes wrong is said, once for each folder, and costs the next start time alone."""
        if kernels == self._kept:
            return
        draft = self.file.with_name(f".{self.file.name}.{os.getpid()}")
        try:
            self.file.parent.mkdir(mode=0o700, exist_ok=True)
            self._check_folder()
            draft.write_bytes(json.dumps(self._head(kernels)).encode() + b"\n" + kernels)
            draft.replace(self.file)
        except OSError as error:
            self._give_up(draft, error)
        else:
            self._kept = kernels

    def _check_folder(self) -> None:
        """Kernels are code for the GPU: raises PermissionError where others may put some into the folder."""
        found = self.file.parent.stat()
        if found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise PermissionError(f"{self.file.parent} is another user's, or others may write to it: remove it, or chmod 700")

    def _give_up(self, draft: Path, error: OSError) -> None:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        if self.file.parent not in _unwritable:
            _unwritable.add(self.file.parent)
            LOG.warning("kernels cannot be kept in %s (%s), so every start of the server compiles them again", self.file.parent, error)

    def _head(self, kernels: bytes) -> dict[str, str]:
        return {**self._identity, "sha256": hashlib.sha256(kernels).hexdigest()}


def cache_file(engine: Path, gpu: str) -> Path:
    """Where kernels of an engine for a GPU are kept: in REPOSITORY.kernels, beside the repository that the engine is in.

    engine: its file, in a model's folder. Raises FileNotFoundError where it is in no repository.
    """
    engine = engine.resolve()  # the server reaches its repository by a link in a folder that goes with it
    model = next((folder for folder in engine.parents if (folder / "config.pbtxt").is_file()), None)
    if model is None:
        raise FileNotFoundError(f"{engine} is in no model's folder: none above it has a config.pbtxt. Assemble the model repository again.")
    name = "".join(letter if letter.isalnum() or letter in ".-" else "_" for letter in f"{model.name}-{engine.stem}-{gpu}")
    return model.parent.with_name(f"{model.parent.name}.kernels") / f"{name}.kernels"
