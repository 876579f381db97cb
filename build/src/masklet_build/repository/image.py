"""Repositories that the Triton of the PyPI wheel cannot run, since their engines need a backend that only NVIDIA's image has."""

from __future__ import annotations

import json
from pathlib import Path

# Engines below a repository, and the backend that runs them.
_NEEDS_IMAGE = {"*/1/model.plan": "tensorrt", "*/1/model.onnx": "onnxruntime"}

# Bytes for tensors between models. Triton's default of 64 MiB holds the features of four frames of 1024 pixels; what finds no place goes by the host.
_CUDA_POOL = 1 << 30


def backend(repository: Path) -> str | None:
    """The backend of Triton's image that the repository needs; None: it runs on the wheel."""
    return next((name for pattern, name in _NEEDS_IMAGE.items() if any(repository.glob(pattern))), None)


def command(repository: Path) -> str:
    """What to run instead of `masklet-build serve`, where Docker and the image of docker/server.Dockerfile are."""
    run = ["docker run --rm --shm-size 2g -p 127.0.0.1:8001:8001", f"-v {repository.absolute()}:/models:ro", "masklet-server"]
    if backend(repository) == "tensorrt":
        run[0] += " --gpus '\"device=0\"'"
        run.append(f"--cuda-memory-pool-byte-size=0:{_CUDA_POOL}")
    return " ".join(run)


def advice(repository: Path) -> str | None:
    """How to serve a repository that the wheel cannot; None: it can."""
    needed = backend(repository)
    if needed is None:
        return None
    return (
        f"{repository} needs Triton's {needed} backend, which the Triton of the PyPI wheel does not have. "
        f"Serve it with the image of docker/server.Dockerfile:\n  {command(repository)}\nor assemble again with --target embedded."
    )


def warnings(repository: Path) -> list[str]:
    """What the selftest has not shown of the TensorRT plans in a repository, one line for each memory_bank."""
    doubts = {plans.parent.name: _doubt(plans) for plans in sorted(repository.glob("memory_bank*/plans.json"))}
    return [
        f"{bank}: {doubt}. TensorRT can fuse attention wrongly without a word; before you trust its masks: masklet-build selftest PLANS"
        for bank, doubt in doubts.items()
        if doubt
    ]


def _doubt(plans: Path) -> str | None:
    """What is wrong with the report beside plans.json."""
    report = plans.with_name("selftest.json")
    if not report.exists():
        return "no selftest report lies beside the plans"
    try:
        built = {engine["sha256"] for engine in json.loads(plans.read_text())["engines"].values()}
        told = json.loads(report.read_text())
        passed, tested = told["passed"], set(told["files"].values())
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        return f"{report} cannot be read ({type(error).__name__}: {error})"
    if not built <= tested:
        return f"{report} is about other plans"
    return None if passed else f"the plans failed their selftest, see {report}"
