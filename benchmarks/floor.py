"""What a frame costs at least: the server's engines alone, the products in them, and the speed of one large product on this CPU.

What a frame costs in the server beyond its engines is masklet's own: Triton, copies between processes, resizing, masks. What an engine costs
beyond its products at the speed of a large one is the runtime's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import openvino
import torch
from torch.utils.flop_counter import FlopCounterMode

from masklet.families import Variant
from masklet_build.checkpoints.loading import load_checkpoint
from masklet_build.embedded.runners import openvino_core
from masklet_build.models.samples import Sizes, sample_inputs
from masklet_build.models.stages import TorchStages

ENGINES = ("image_encoder", "memory_attention", "mask_decoder", "memory_encoder")
_HINT = {"fp32": "f32", "bf16": "bf16"}
_SIDE, _ROUNDS = 2048, 8


class BareEngines:
    """The four ONNX files that a tracked frame meets, in the server's runtime and precision, one after the other in this process."""

    def __init__(self, folder: Path, precision: str, threads: int) -> None:
        core = openvino_core()
        self._requests = {
            name: core.compile_model(str(folder / f"{name}.onnx"), "CPU", _properties(precision, threads)).create_infer_request() for name in ENGINES
        }

    def frame_ms(self, inputs: dict[str, dict[str, np.ndarray]]) -> dict[str, float]:
        """Milliseconds of each engine for one frame. Inputs and outputs lie where the runtime reads and writes them: nothing is copied."""
        spent = {}
        for name, request in self._requests.items():
            begin = time.perf_counter()
            request.infer(inputs[name], share_inputs=True, share_outputs=True)
            spent[name] = 1000 * (time.perf_counter() - begin)
        return spent


def _properties(precision: str, threads: int) -> dict[str, object]:
    return {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": _HINT[precision], "INFERENCE_NUM_THREADS": threads}


def steady_inputs(variant: Variant, objects: int, videos: int = 1) -> dict[str, dict[str, np.ndarray]]:
    """Inputs as the server gives them late in a video: all objects in one call, every memory and pointer in place, no prompts.

    objects  of all videos together
    """
    family = variant.family
    sizes = Sizes(V=videos, B=objects, F=family.num_memories, P=family.num_pointers, N=2)
    inputs = {name: sample_inputs(name, variant, sizes, seed=0) for name in ENGINES}
    inputs["mask_decoder"] |= {"LABELS": np.full((objects, 2), -1, np.int32), "HAS_MASK": np.zeros(objects, np.int32)}
    inputs["mask_decoder"] |= {"KIND": np.zeros(objects, np.int32), "MULTIMASK": np.ones(objects, np.int32)}
    return inputs


def frame_gflop(checkpoint: Path, variant: Variant, objects: int) -> dict[str, float]:
    """Products and sums of all matrix products and convolutions for a frame late in a video, by engine, in units of 10^9."""
    stages, inputs = TorchStages(load_checkpoint(checkpoint, variant), variant), steady_inputs(variant, objects)
    found = {}
    for name in ENGINES:
        with FlopCounterMode(display=False) as counter:
            stages.call(name, inputs[name])
        found[name] = counter.get_total_flops() / 1e9
    return found


def peaks(threads: int) -> dict[str, float]:
    """GFLOP/s of a product of two large matrices, by library and precision: medians, taking turns."""
    rng = np.random.default_rng(0)
    one, other = (rng.standard_normal((_SIDE, _SIDE), dtype=np.float32) for _ in range(2))
    runs: dict[str, Callable[[], object]] = {}
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        left, right = (torch.from_numpy(each).to(dtype) for each in (one, other))
        runs[f"torch {precision}"] = lambda left=left, right=right: left @ right
        request = _product(other, precision, threads)
        runs[f"openvino {precision}"] = lambda request=request: request.infer([one], share_inputs=True, share_outputs=True)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(_ROUNDS):
        for name, run in runs.items():
            begin = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - begin)
    return {name: 2e-9 * _SIDE**3 / float(np.median(values[1:])) for name, values in seconds.items()}


def _product(other: np.ndarray, precision: str, threads: int) -> openvino.InferRequest:
    """A network that multiplies its input by `other`, which stands for weights."""
    ops = openvino.opset13
    given = ops.parameter(other.shape, np.float32)
    model = openvino.Model([ops.matmul(given, ops.constant(other), False, False)], [given])
    return openvino_core().compile_model(model, "CPU", _properties(precision, threads)).create_infer_request()
