"""Engines in a python model, in place of a backend that the Triton of the PyPI wheel does not have.

Assembly lays this package beside the python models that run engines: image_encoder, and memory_bank, in whose process the others run.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from masklet_build.embedded.cores import usable_cores
from masklet_build.embedded.runners import RUNTIMES, Runner, Tensors
from masklet_build.embedded.shares import shares

# Every lane has a copy of the weights, some two times the bytes of the file; larger engines do without: a row of theirs keeps all cores busy.
_LANES_UP_TO = 256 << 20  # bytes of the file, once for each lane


class Engine:
    """One engine. A call of several videos is shared out: each core takes some of them, alone.

    A core that works alone waits for no other after each of the graph's hundreds of nodes, and keeps what it works on in its own cache. That
    gives the small engines of nano 1.3 to 1.5 times the rows per second. A call of fewer videos than cores is run by all cores together.
    """

    def __init__(self, file: Path, parameters: Mapping[str, str], by_video: Collection[str] | None) -> None:
        """Loads and compiles an engine.

        file        its path, without the suffix, which the runtime decides
        parameters  of the model's config: `runtime` (openvino, onnxruntime, torch, tensorrt-rtx), `precision` (OpenVINO: fp32 or bf16; else that of
                    the program or plan), `threads` (0: as many as this process can keep busy), and for the last two `device` (auto, cuda, cuda:1 ...,
                    torch: or cpu)
        by_video    inputs that lead with videos, where others lead with objects and VIDEO says which row each uses; None: not known, so no call is
                    shared out
        Raises ValueError, FileNotFoundError or ModuleNotFoundError where the config, the file, a package or the GPU is wrong or missing; and what
        the runtime raises.
        """
        runtime, precision, threads = (_required(parameters, name) for name in ("runtime", "precision", "threads"))
        if runtime not in RUNTIMES or precision not in RUNTIMES[runtime].precisions or not threads.isdigit():
            known = ", ".join(f"{name} in {' or '.join(RUNTIMES[name].precisions)}" for name in RUNTIMES)
            raise ValueError(
                f"runtime {runtime!r}, precision {precision!r}, threads {threads!r}: use runtime {known}; and threads 0 (all cores) or more."
            )
        file = file.with_suffix(RUNTIMES[runtime].suffix)
        if not file.exists():
            raise FileNotFoundError(f"{file} is missing. Assemble the model repository again.")
        cores = int(threads) or usable_cores()
        shared_out = by_video is not None and runtime == "openvino" and cores * file.stat().st_size <= _LANES_UP_TO
        lanes = cores if shared_out else 1
        device = _required(parameters, "device") if RUNTIMES[runtime].arrays else "cpu"
        self._together = _start(runtime, file, precision, cores, 1, device)
        self._apart = _start(runtime, file, precision, cores, lanes, device) if lanes > 1 else self._together
        self._by_video = frozenset(by_video or ())
        self.place = f"{runtime} on {self._together.place}"

    def __call__(self, inputs: Tensors) -> dict[str, Any]:
        """Outputs by name, where the inputs lie. They may live only until the next call of any engine. Raises what the runtime raises."""
        if self._apart.lanes > 1:
            parts = shares(inputs, self._by_video, self._apart.lanes)
            if len(parts) == self._apart.lanes:
                results = self._apart(parts)
                return {name: np.concatenate([result[name] for result in results]) for name in results[0]}
        return self._together([inputs])[0]


def device_arrays(parameters: Mapping[str, str], copied: Any, of_module: Callable[[Any, Any], Any]) -> Any:
    """What does the array operations of memory_bank where its engines take arrays on a device; None: they take numpy's.

    copied: counts the bytes that cross (masklet_bank.arrays.Copied); of_module: makes it of a module with numpy's functions, and of that count
    (masklet_bank.arrays.DeviceArrays). Raises ValueError where there is no such device.
    """
    arrays = RUNTIMES[_required(parameters, "runtime")].arrays
    return arrays(_required(parameters, "device"), copied, of_module) if arrays else None


def _start(runtime: str, file: Path, precision: str, threads: int, lanes: int, device: str) -> Runner:
    try:
        return RUNTIMES[runtime].start(file, precision, threads, lanes, device)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"package {error.name!r} is not installed in Triton's python environment. Install it there: pip install {error.name}; "
            "or assemble with another --runtime."
        ) from error


def _required(parameters: Mapping[str, str], name: str) -> str:
    if name not in parameters:
        raise ValueError(f"config parameter {name!r} is missing. `masklet-build assemble --target embedded` writes it.")
    return parameters[name]
