"""ONNX engines on a CPU, in place of a backend that the Triton of the PyPI wheel does not have.

Assembly lays this package beside the python models that run engines: image_encoder, and memory_bank, in whose process the others run.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from masklet_build.embedded.runners import RUNNERS, Runner, Tensors
from masklet_build.embedded.shares import shares

# A second copy of the weights lies in memory for the lanes; larger engines do without: a row of theirs keeps all cores busy.
_LANES_UP_TO = 100 << 20  # bytes of the file


class Engine:
    """One engine. A call of several videos is shared out: each core takes some of them, alone.

    A core that works alone waits for no other after each of the graph's hundreds of nodes, and keeps what it works on in its own cache. That
    gives the small engines of nano 1.3 to 1.5 times the rows per second. A call of fewer videos than cores is run by all cores together.
    """

    def __init__(self, file: Path, parameters: Mapping[str, str], by_video: Collection[str] | None) -> None:
        """Loads and compiles the engine in `file`.

        parameters  of the model's config: `runtime` (openvino, onnxruntime), `precision` (fp32, bf16; bf16 only on OpenVINO), `threads` (0: as
                    many as this process may use)
        by_video    inputs that lead with videos, where others lead with objects and VIDEO says which row each uses; None: not known, so no call is
                    shared out
        Raises ValueError, FileNotFoundError or ModuleNotFoundError where the config, the file or a package is wrong or missing.
        """
        runtime, precision, threads = (_required(parameters, name) for name in ("runtime", "precision", "threads"))
        if runtime not in RUNNERS or precision not in ("fp32", "bf16") or not threads.isdigit():
            raise ValueError(
                f"runtime {runtime!r}, precision {precision!r}, threads {threads!r}: "
                "use runtime openvino or onnxruntime, precision fp32 or bf16, and threads 0 (all cores) or more."
            )
        if not file.exists():
            raise FileNotFoundError(f"{file} is missing. Assemble the model repository again.")
        cores = int(threads) or len(os.sched_getaffinity(0))
        shared_out = by_video is not None and runtime == "openvino" and file.stat().st_size <= _LANES_UP_TO
        lanes = cores if shared_out else 1
        self._together = _start(runtime, file, precision, cores, 1)
        self._apart = _start(runtime, file, precision, cores, lanes) if lanes > 1 else self._together
        self._by_video = frozenset(by_video or ())

    def __call__(self, inputs: Tensors) -> dict[str, np.ndarray]:
        """Outputs by name. They may live only until the next call. Raises what the runtime raises."""
        if self._apart.lanes > 1:
            parts = shares(inputs, self._by_video, self._apart.lanes)
            if len(parts) == self._apart.lanes:
                results = self._apart(parts)
                return {name: np.concatenate([result[name] for result in results]) for name in results[0]}
        return self._together([inputs])[0]


def _start(runtime: str, file: Path, precision: str, threads: int, lanes: int) -> Runner:
    try:
        return RUNNERS[runtime](file, precision, threads, lanes)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"package {error.name!r} is not installed in Triton's python environment. Install it, or assemble with another --runtime."
        ) from error


def _required(parameters: Mapping[str, str], name: str) -> str:
    if name not in parameters:
        raise ValueError(f"config parameter {name!r} is missing. `masklet-build assemble --target embedded` writes it.")
    return parameters[name]
