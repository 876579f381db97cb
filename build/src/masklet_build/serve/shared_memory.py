"""How much of /dev/shm a model repository may need: python models and Triton hand each other frames, tensors and answers through it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from masklet_build.serve.cleanup import SHARED_MEMORY
from masklet_build.serve.launcher import MIB, STUB_SHARED_MEMORY

_CHANNELS = 3
_STATE_COPIES = 3  # a snapshot that restores a video goes into preprocess, out of it and into memory_bank


def needed(repository: Path) -> int:
    """Bytes: what each python model begins with, a full batch of the largest raw frames in every preprocess, and one largest snapshot."""
    total = 0
    for config in _python_models(repository):
        instances = sum(group.count or 1 for group in config.instance_group) or 1
        limits = {name: parameter.string_value for name, parameter in config.parameters.items()}
        frame = _CHANNELS * int(limits.get("max_frame_pixels", 0))
        total += instances * (STUB_SHARED_MEMORY + config.max_batch_size * frame) + _STATE_COPIES * int(limits.get("max_state_bytes", 0))
    return total


def warning(repository: Path, folder: Path = SHARED_MEMORY) -> str | None:
    """What to do where less is free in `folder`; None: it suffices."""
    found = os.statvfs(folder)
    free, wanted = found.f_bavail * found.f_frsize, needed(repository)
    if free >= wanted:
        return None
    return (
        f"{folder} has {free // MIB} MiB free, and the largest requests that this server takes may need {wanted // MIB} MiB there. One that does not "
        f"fit fails with all that share its batch. Make it larger (mount -o remount,size=... {folder}; docker: --shm-size), or send smaller frames."
    )


def _python_models(repository: Path) -> Iterator[model_config_pb2.ModelConfig]:
    for path in sorted(repository.glob("*/config.pbtxt")):
        config = text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())
        if config.backend == "python":
            yield config
