"""How much of /dev/shm a model repository may need: python models and Triton hand each other frames, tensors and answers through it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from masklet_build.serve import triton_options
from masklet_build.serve.errors import ServeError
from masklet_build.serve.triton_options import MIB, SHARED_MEMORY, SMALLER_STUBS, STUB_SHARED_MEMORY

_CHANNELS = 3
_STATE_COPIES = 3  # a snapshot that restores a video goes into preprocess, out of it and into memory_bank
_LARGER = f"Make it larger (mount -o remount,size=2g {SHARED_MEMORY}; docker run --shm-size 2g; Kubernetes: an emptyDir of medium Memory)"


def needed(repository: Path, stub: int = STUB_SHARED_MEMORY) -> int:
    """Bytes: what each python model begins with, a full batch of the largest raw frames in every preprocess, and one largest snapshot."""
    total = triton_options.python_instances(repository) * stub
    for config in _python_models(repository):
        instances = sum(group.count or 1 for group in config.instance_group) or 1
        limits = {name: parameter.string_value for name, parameter in config.parameters.items()}
        frame = _CHANNELS * int(limits.get("max_frame_pixels", 0))
        total += instances * config.max_batch_size * frame + _STATE_COPIES * int(limits.get("max_state_bytes", 0))
    return total


def stub_bytes(repository: Path) -> int:
    """What each python model of a repository begins with: less where little is free. Raises ServeError where that is too little for the least."""
    free, instances = triton_options.free_shared_memory(), triton_options.python_instances(repository)
    least = instances * SMALLER_STUBS[-1]
    if free < least:
        raise ServeError(
            f"{SHARED_MEMORY} has {free // MIB} MiB free, and the {instances} python models begin with {least // MIB} MiB there at "
            f"least. {_LARGER}, or remove what others left there."
        )
    return triton_options.stub_bytes(free, instances)


def warning(repository: Path) -> str | None:
    """What a small /dev/shm means for this repository, and what to do; None: it suffices."""
    free, instances = triton_options.free_shared_memory(), triton_options.python_instances(repository)
    stub = triton_options.stub_bytes(free, instances)
    if free >= (wanted := needed(repository, stub)):
        return None
    smaller = f"each of the {instances} python models begins with {stub // MIB} MiB, not {STUB_SHARED_MEMORY // MIB}, and "
    return (
        f"{SHARED_MEMORY} has {free // MIB} MiB free: {smaller if stub < STUB_SHARED_MEMORY else ''}the largest requests that this server takes may "
        f"need {wanted // MIB} MiB there. One that does not fit fails with all that share its batch. {_LARGER}, or send smaller frames."
    )


def _python_models(repository: Path) -> Iterator[model_config_pb2.ModelConfig]:
    for path in sorted(repository.glob("*/config.pbtxt")):
        config = text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())
        if config.backend == "python":
            yield config
