"""What this CPU can do at best: a large matrix product in each runtime. Engines cannot be faster than this, so it bounds every ratio."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import openvino
import torch

SIDE = 2048
ROUNDS = 8


def peaks(threads: int) -> dict[str, float]:
    """GFLOP/s of a product of two SIDE x SIDE matrices: medians, the runtimes taking turns."""
    rng = np.random.default_rng(0)
    one, other = (rng.standard_normal((SIDE, SIDE), dtype=np.float32) for _ in range(2))
    torch.set_num_threads(threads)
    runs: dict[str, Callable[[], object]] = {"torch fp32": lambda: torch.from_numpy(one) @ torch.from_numpy(other)}
    for precision, hint in (("fp32", "f32"), ("bf16", "bf16")):
        request = _product(other, hint, threads)
        runs[f"openvino {precision}"] = lambda request=request: request.infer([one], share_inputs=True, share_outputs=True)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            begin = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - begin)
    return {name: 2e-9 * SIDE**3 / float(np.median(values[1:])) for name, values in seconds.items()}


def _product(other: np.ndarray, hint: str, threads: int) -> openvino.InferRequest:
    """A network that multiplies its input by `other`, which stands for weights."""
    ops = openvino.opset13
    given = ops.parameter(other.shape, np.float32)
    model = openvino.Model([ops.matmul(given, ops.constant(other), False, False)], [given])
    properties = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": threads}
    return openvino.Core().compile_model(model, "CPU", properties).create_infer_request()
