"""Programs of `masklet-build export --for torch`, run by PyTorch."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.export.passes import move_to_device_pass

from masklet_build.embedded.cuda_graphs import Graphs

SUFFIX = ".pt2"
ONE_FRAME = ".one_frame"  # in front of the suffix: the program of the same engine for a memory of one frame
TENSORS = "tensors.json"  # in a program's file: names of its inputs and outputs, in order


class TorchRunner:
    """A program on a device. Outputs lie where the inputs lay, on the host or on the device; there they live until the next run of any engine."""

    lanes = 1

    def __init__(self, file: Path, precision: str, threads: int, lanes: int, device: str) -> None:
        """precision: of the program, which it keeps whatever is said here; device: see `chosen_device`. Raises ValueError."""
        compute_exactly(threads)
        self.device = chosen_device(device)
        self.place = str(self.device)
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)  # streams and graphs are made on the current one
            self.place += f", {torch.cuda.get_device_name(self.device)}"
        several = _Program(file, self.device)
        alone = file.with_name(f"{file.stem}{ONE_FRAME}{file.suffix}")
        self._several, self._one_frame = several, _Program(alone, self.device) if alone.exists() else several

    def __call__(self, calls: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Runs the program for each call. Inputs are numpy arrays, or tensors on the device."""
        return [self._call(inputs) for inputs in calls]

    def _call(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        one_frame = "MEMORY" in inputs and inputs["MEMORY"].shape[1] == 1
        program = self._one_frame if one_frame else self._several
        given = [inputs[name] for name in program.inputs]
        from_host = isinstance(given[0], np.ndarray)
        with torch.inference_mode():
            outputs = program.run(*(torch.tensor(array, device=self.device) for array in given) if from_host else given)
        return dict(zip(program.outputs, (x.cpu().numpy() for x in outputs) if from_host else outputs, strict=True))


class _Program:
    """One file, loaded. Raises ValueError where this PyTorch cannot read it."""

    def __init__(self, file: Path, device: torch.device) -> None:
        extra = {TENSORS: ""}
        try:
            program = torch.export.load(file, extra_files=extra)
        except Exception as error:  # its reader raises whatever its parts raise
            raise ValueError(
                f"torch {torch.__version__} cannot read {file}: {type(error).__name__}: {error}. Install the torch that manifest.json names, "
                "or export again with this one."
            ) from error
        names: dict[str, list[str]] = json.loads(extra[TENSORS])
        self.inputs, self.outputs = names["inputs"], names["outputs"]
        module = move_to_device_pass(program, str(device)).module()
        self.run = Graphs(module, file.stem) if device.type == "cuda" else module


def chosen_device(name: str) -> torch.device:
    """The device of "auto", "cpu", "cuda" or "cuda:1"; auto: CUDA where there is one. Raises ValueError where it cannot be had."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise ValueError(f"device {name!r}: use auto, cpu, cuda, or cuda:1 for the second GPU.")
    available = torch.cuda.is_available()
    if name == "auto":
        name = "cuda" if available else "cpu"
    if name == "cpu":
        return torch.device("cpu")
    index = int(name.partition(":")[2] or 0)
    if not available or index >= torch.cuda.device_count():
        raise ValueError(
            f"device {name!r}, but torch {torch.__version__} (CUDA {torch.version.cuda or 'not built in'}) sees "
            f"{torch.cuda.device_count() if available else 0} GPUs. Look at nvidia-smi; where that lists the GPU, install a CUDA build: "
            "pip install torch. Or assemble with --device cpu."
        )
    return torch.device("cuda", index)


def compute_exactly(threads: int) -> None:
    """Products of float32 are of float32 and not of TF32, sums of halves are of float32, and equal inputs give equal bits; for this process."""
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision("highest")
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    torch.backends.cudnn.deterministic = True
