"""What runs engines: OpenVINO and ONNX Runtime on a CPU, PyTorch also on a GPU, TensorRT for RTX on a GPU alone."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

Tensors = Mapping[str, Any]  # numpy arrays; runtimes on a device also take its own


class Runner(Protocol):
    """One engine, ready to run.

    lanes   how many runs there are at the same time, each by an equal share of the threads
    place   where it runs, for the log
    """

    lanes: int
    place: str

    def __call__(self, calls: Sequence[Tensors]) -> list[dict[str, Any]]:
        """Runs the engine for each of at most `lanes` calls, side by side. Raises what the runtime raises."""


# Kernels of each kind that a graph keeps; OpenVINO drops those not used for longest. By its default, 5000, the mask_decoder of nano grew by 400 kB
# with every new number of objects or points: by 183 MB with 400 of them. A call takes up to 12 new kernels of a kind.
_KERNELS = 512
_KNOWN = 32  # shapes of a lane that count as known: so few that _KERNELS surely holds what they take


@cache
def openvino_core() -> Any:
    """OpenVINO of this process. There must be one only, and it must stay: each replaces the stack on which the main thread handles signals
    (sigaltstack) by one of its own, which goes with it. After two have gone, the next signal that has a handler in Python, Ctrl-C too, is a SIGSEGV
    (2026.4.1)."""
    import openvino

    return openvino.Core()


class OpenVinoRunner:
    """A graph compiled by OpenVINO for the CPU, once for each lane. The arrays that come back live until the next run.

    Lanes meet a new shape one after another. Where two of them did so at the same moment, one was sometimes left with kernels that computed wrong
    values for that shape, NaN among them, as long as it lived (2026.4.1 on a busy machine: two of 49 servers, with streams of one compiled
    graph and with graphs compiled apart).
    """

    place = "cpu"

    def __init__(self, file: Path, precision: str, threads: int, lanes: int, device: str) -> None:
        properties = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision],
            "INFERENCE_NUM_THREADS": threads // lanes,
            "CPU_RUNTIME_CACHE_CAPACITY": _KERNELS,
        }
        if lanes > 1:
            properties["ENABLE_CPU_PINNING"] = False  # all lanes would take the same core
        core = openvino_core()
        graph = core.read_model(str(file))
        compiled = [core.compile_model(graph, "CPU", properties) for _ in range(lanes)]
        self._requests = [one.create_infer_request() for one in compiled]
        self._names = [output.get_any_name() for output in compiled[0].outputs]
        self._known: OrderedDict[Any, None] = OrderedDict()  # lane and shapes, those used last at the end
        self.lanes = lanes

    def __call__(self, calls: Sequence[Tensors]) -> list[dict[str, np.ndarray]]:
        """Runs the graph. Inputs are read where they lie."""
        busy = self._requests[: len(calls)]
        shapes = [(lane, *((name, array.shape) for name, array in inputs.items())) for lane, inputs in enumerate(calls)]
        if len(calls) > 1 and self._known.keys() >= set(shapes):
            _run_at_once(busy, calls)
        else:
            for request, inputs in zip(busy, calls, strict=True):
                request.infer(dict(inputs), share_inputs=True, share_outputs=True)
        self._used(shapes)
        return [{name: request.get_tensor(name).data for name in self._names} for request in busy]

    def _used(self, shapes: Sequence[Any]) -> None:
        for one in shapes:
            self._known[one] = None
            self._known.move_to_end(one)
        while len(self._known) > _KNOWN * self.lanes:
            self._known.popitem(last=False)


def _run_at_once(requests: Sequence[Any], calls: Sequence[Tensors]) -> None:
    for request, inputs in zip(requests, calls, strict=True):
        request.start_async(dict(inputs), share_inputs=True)
    errors = [error for request in requests if (error := _failure(request)) is not None]  # all of them end before any is heard
    if errors:
        raise errors[0]


def _failure(request: Any) -> Exception | None:
    try:
        request.wait()
    except Exception as error:
        return error
    return None


class OnnxRuntimeRunner:
    """A graph run by ONNX Runtime on the CPU, in fp32."""

    lanes, place = 1, "cpu"

    def __init__(self, file: Path, precision: str, threads: int, lanes: int, device: str) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # Five engines share the cores: a pool that spins while it waits takes them from the engine whose turn it is.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        self._names = [output.name for output in self._session.get_outputs()]

    def __call__(self, calls: Sequence[Tensors]) -> list[dict[str, np.ndarray]]:
        """Runs the graph."""
        return [dict(zip(self._names, self._session.run(None, dict(inputs)), strict=True)) for inputs in calls]


def _torch_runner(file: Path, precision: str, threads: int, lanes: int, device: str) -> Runner:
    from masklet_build.embedded.torch_runner import TorchRunner  # where engines run otherwise, there is no torch

    return TorchRunner(file, precision, threads, lanes, device)


def _torch_arrays(device: str, copied: Any, of_module: Callable[[Any, Any], Any]) -> Any:
    from masklet_build.embedded.torch_arrays import TorchArrays
    from masklet_build.embedded.torch_runner import chosen_device

    return TorchArrays(chosen_device(device), copied)


def _rtx_runner(file: Path, precision: str, threads: int, lanes: int, device: str) -> Runner:
    from masklet_build.embedded.rtx_machine import admitted, device_index

    gpu = admitted(file.parent, device_index(device))  # before anything of NVIDIA's is imported, whose errors say less
    from masklet_build.embedded.rtx_runner import RtxRunner

    return RtxRunner(file, gpu)


def _rtx_arrays(device: str, copied: Any, of_module: Callable[[Any, Any], Any]) -> Any:
    from masklet_build.embedded.rtx_machine import device_index
    from masklet_build.embedded.rtx_runner import arrays, use

    use(device_index(device))
    return arrays(copied, of_module)


class Runtime(NamedTuple):
    """One of the libraries that run engines.

    suffix       of an engine's file
    precisions   that it computes in
    start        makes a runner of file, precision, threads, lanes and device
    arrays       of runtimes on a device: makes the arrays of memory_bank (see engine.device_arrays)
    """

    suffix: str
    precisions: tuple[str, ...]
    start: Callable[[Path, str, int, int, str], Runner]
    arrays: Callable[[str, Any, Callable[[Any, Any], Any]], Any] | None = None


RUNTIMES: Mapping[str, Runtime] = {
    "openvino": Runtime(".onnx", ("fp32", "bf16"), OpenVinoRunner),
    "onnxruntime": Runtime(".onnx", ("fp32",), OnnxRuntimeRunner),
    "torch": Runtime(".pt2", ("fp32", "bf16", "fp16"), _torch_runner, _torch_arrays),
    "tensorrt-rtx": Runtime(".plan", ("fp32", "bf16", "fp16"), _rtx_runner, _rtx_arrays),
}
