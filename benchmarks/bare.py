"""The engines alone: the ONNX files that the server runs, in the same runtime and precision, called one after the other in this process.

What a frame costs in the server beyond this is masklet's own: Triton, copies between processes, resizing, masks.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import openvino

from masklet.families import Variant
from masklet_build.models.samples import Sizes, sample_inputs

ENGINES = ("image_encoder", "memory_attention", "mask_decoder", "memory_encoder")
_PRECISION = {"fp32": "f32", "bf16": "bf16"}


class BareEngines:
    """The four engines that a tracked frame meets."""

    def __init__(self, folder: Path, precision: str, threads: int) -> None:
        properties = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": _PRECISION[precision], "INFERENCE_NUM_THREADS": threads}
        core = openvino.Core()
        self._requests = {name: core.compile_model(str(folder / f"{name}.onnx"), "CPU", properties).create_infer_request() for name in ENGINES}

    def frame_ms(self, inputs: dict[str, dict[str, np.ndarray]]) -> dict[str, float]:
        """Milliseconds of each engine for one frame. Inputs and outputs lie where the runtime reads and writes them: nothing is copied."""
        spent = {}
        for name, request in self._requests.items():
            begin = time.perf_counter()
            request.infer(inputs[name], share_inputs=True, share_outputs=True)
            spent[name] = 1000 * (time.perf_counter() - begin)
        return spent


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
