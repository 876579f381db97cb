"""A tiny model repository for the tests of the server itself. Its one model is named `tracker`, because that is what is asked, and has a Stage."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import tritonclient.grpc as grpc

import masklet

_PATIENCE_S = 60  # only something broken uses it up
_CONFIG = """
name: "tracker"
backend: "python"
max_batch_size: 1
input { name: "PROMPTS" data_type: TYPE_STRING dims: [ 1 ] }
input { name: "FRAME" data_type: TYPE_UINT8 dims: [ -1 ] optional: true }
input { name: "FRAME_SIZE" data_type: TYPE_INT32 dims: [ 2 ] optional: true }
output { name: "PROCESS" data_type: TYPE_INT64 dims: [ 1 ] }
output { name: "TOKEN" data_type: TYPE_UINT8 dims: [ -1 ] }
instance_group { kind: KIND_CPU count: 1 }
sequence_batching { max_sequence_idle_microseconds: 60000000 oldest { max_candidate_sequences: 4 } }
"""

_MODEL = """
import os, sys, time
import numpy as np
import triton_python_backend_utils as pb
sys.path.insert(0, {client!r})
from masklet.stage import triton_stage

class TritonPythonModel:
    def initialize(self, args):
        {initialize}
        self.stage = triton_stage(pb, args)

    def execute(self, requests):
        with self.stage.working():
            return self.answers(requests)

    def finalize(self):
        self.stage.close()

    def answers(self, requests):
        for request in requests:
            time.sleep({seconds})
            if pb.get_input_tensor_by_name(request, "PROMPTS").as_numpy().item() == b"hang":
                open(__file__ + ".hangs", "w").close()
                time.sleep(3600)
        process = pb.Tensor("PROCESS", np.array([[os.getpid()]], np.int64))
        tokens = [np.frombuffer(request.request_id().encode(), np.uint8)[None] for request in requests]
        return [pb.InferenceResponse([process, pb.Tensor("TOKEN", token)]) for token in tokens]
"""


def write_repository(folder: Path, initialize: str = "pass", seconds: float = 0) -> Path:
    """Writes the repository, with a statement for the model's `initialize`, and returns it. seconds: how long it takes for a frame."""
    version = folder / "tracker" / "1"
    version.mkdir(parents=True)
    (version.parent / "config.pbtxt").write_text(_CONFIG)
    (version / "model.py").write_text(_MODEL.format(client=str(Path(masklet.__file__).parents[1]), initialize=initialize, seconds=seconds))
    return folder


def request(prompts: bytes = b"[]") -> grpc.InferInput:
    """The model's one input. `hang` makes it sleep for ever."""
    tensor = grpc.InferInput("PROMPTS", [1, 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[prompts]], dtype=np.object_))
    return tensor


def wait_until_it_hangs(folder: Path) -> None:
    """Returns once a request `hang` is at work in the model of this repository, so that nothing sent later can overtake it."""
    deadline = time.monotonic() + _PATIENCE_S
    while not (folder / "tracker" / "1" / "model.py.hangs").exists():
        assert time.monotonic() < deadline, "the request that hangs has not reached the model"
        time.sleep(0.02)


def ask(url: str) -> int:
    """One video of one frame; returns the process id of the stub that answered."""
    with grpc.InferenceServerClient(url) as client:
        answer = client.infer("tracker", [request()], sequence_id=7, sequence_start=True, sequence_end=True, client_timeout=_PATIENCE_S)
        return int(answer.as_numpy("PROCESS").item())


def kill_at_rest(stub: int) -> None:
    """Kills the process of a python model a moment after its last answer.

    Killed while it holds a lock of the memory that it shares with Triton, it may take Triton with it: another failure than that of one model. In one
    test run Triton was gone after such a kill, so these tests leave the stub the time to let go.
    """
    time.sleep(0.3)
    os.kill(stub, signal.SIGKILL)
