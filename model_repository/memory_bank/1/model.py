"""Triton's door to the memory bank: tensors in, tensors out, engine calls between. All decisions are in masklet_bank."""

import json
import os
import sys
import time
from pathlib import Path
from threading import Event, Thread

# The modules that were vendored beside this file win over an installed masklet of another version.
sys.path.insert(0, str(Path(__file__).parent))

import triton_python_backend_utils as pb_utils

from masklet import contract, families, heap
from masklet.envelope import Envelope
from masklet.errors import MaskletError, ServerFault
from masklet.stage import triton_stage
from masklet.wire import owner_of
from masklet_bank.admission import Settings
from masklet_bank.arrays import HOST, on_gpu
from masklet_bank.request import Request
from masklet_bank.room import AnswerRoom
from masklet_bank.service import Service
from masklet_bank.video import VideoLimits
from masklet_bank.videos import Capacity
from masklet_triton.engines import EmbeddedStages, TritonStages, Watched, array_of
from masklet_triton.meters import meters_of

_START, _END = pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START, pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_END

_DRAIN_VARIABLE = "MASKLET_DRAIN_FILE"  # which the launchers set
_IDLE_S = 1.0  # how often the bank looks around without requests
_TRIM_S = 20.0  # how often it gives free memory back: calls of ever new sizes leave holes


def _settings(value):
    """Settings from the config's parameters."""
    variant = families.variant(value["variant"], int(value["image_size"]))
    if int(value["contract_version"]) != contract.CONTRACT_VERSION:
        raise ValueError(f"assembled for contract {value['contract_version']}, these modules are {contract.CONTRACT_VERSION}. Assemble again.")
    max_conditioning = int(value["max_conditioning"])
    if max_conditioning == 1:
        raise ValueError("max_conditioning is 1. Use 0 for no limit, or at least 2.")
    postprocess = {"postprocess": value["postprocess"]} if value["postprocess"] != contract.POSTPROCESSING[0] else {}
    return Settings(
        variant=variant,
        limits=VideoLimits(int(value["max_objects"]), int(value["max_points"]), max_conditioning),
        capacity=Capacity(int(value["max_videos"]), int(value["max_bank_mib"]) << 20, float(value["idle_seconds"]), variant.object_bytes),
        engine_limit=int(value["max_engine_batch"]),
        identity={key: value[key] for key in ("contract_version", "variant", "checkpoint_sha256", "precision")} | postprocess,
        drain_file=value["drain_file"] or os.environ.get(_DRAIN_VARIABLE, ""),
        cleans=bool(postprocess),
    )


def _stages(variant, parameters, args):
    """The engines: in this process where assembly put them here, else models of this server, on a GPU where the config puts this model on one."""
    engines = Path(__file__).parent / "engines"
    if engines.is_dir():
        return EmbeddedStages(variant, engines, parameters)
    arrays = on_gpu(int(args["model_instance_device_id"])) if args["model_instance_kind"] == "GPU" else HOST
    return TritonStages(variant, parameters["suffix"], arrays)


class TritonPythonModel:
    """The memory_bank model."""

    def initialize(self, args):
        """Reads the config."""
        parameters = {name: item["string_value"] for name, item in json.loads(args["model_config"])["parameters"].items()}
        settings = _settings(parameters)
        self._inputs = [tensor.name for tensor in contract.memory_bank(settings.variant).inputs if tensor != contract.ENVELOPE]
        self._features = {tensor.name for tensor in contract.image_encoder(settings.variant).outputs}
        self._meters = meters_of(args["model_name"])
        stages = _stages(settings.variant, parameters, args)
        self._arrays = stages.arrays
        self._stage = triton_stage(pb_utils, args)
        self._service = Service(settings, Watched(stages, self._stage.got_on), self._meters, self._arrays)
        self._stopping = Event()
        self._watch = Thread(target=self._idle, name="idle", daemon=True)
        self._watch.start()
        self._room = AnswerRoom()
        pb_utils.Logger.log_info(f"memory_bank serves {settings.variant.name} with contract {contract.CONTRACT_VERSION} from {contract.__file__}")

    def execute(self, requests):
        """One frame of each of several videos."""
        with self._stage.working():
            answers = self._answers([self._request(request) for request in requests])
        pairs = zip(requests, answers, strict=True)
        return [_refusal(answer, request) if isinstance(answer, MaskletError) else answer for request, answer in pairs]

    def finalize(self):
        """Sends what was metered last."""
        self._stopping.set()
        self._watch.join()
        self._stage.close()
        self._meters.close()

    def _answers(self, requests):
        self._room.begin()
        try:
            return self._service.answer(requests, self._respond)
        except Exception as error:  # the service looks after each request; this is a fault of its own
            pb_utils.Logger.log_error(f"memory_bank: {type(error).__name__}: {error}")
            fault = ServerFault("the memory bank failed; the server's log says why. Go on from a snapshot, or open a new video.")
            self._service.observer.refused(fault, len(requests))
            return [fault] * len(requests)

    def _idle(self):
        """On a server that nobody uses videos expire and the gauges stay true as well."""
        trimmed = time.monotonic()
        while not self._stopping.wait(_IDLE_S):
            if time.monotonic() - trimmed > _TRIM_S:
                heap.give_back()
                trimmed = time.monotonic()
            try:
                self._service.idle()
            except Exception as error:  # the next look may succeed; without one, videos would expire with requests only, and unseen
                pb_utils.Logger.log_error(f"memory_bank, between requests: {type(error).__name__}: {error}")

    def _request(self, request):
        """The request for the bank. One that cannot be read becomes one that the bank answers with the error, so that its END is honoured."""
        own = {
            "video_id": request.correlation_id(),
            "start": bool(request.flags() & _START),
            "end": bool(request.flags() & _END),
            "owner": owner_of(json.loads(request.parameters() or "{}")),
        }
        try:
            return Request(**own, **self._content(request))
        except MaskletError as error:
            fault = error
        except Exception as error:
            pb_utils.Logger.log_error(f"memory_bank: {type(error).__name__}: {error}")
            fault = ServerFault(f"the memory bank cannot read this request: {type(error).__name__}: {error}. It changed nothing.")
        return Request(**own, envelope=Envelope(error=fault.wire(), restores=True))

    def _content(self, request):
        sealed = self._input(request, contract.ENVELOPE.name)[0]
        envelope = self._stage.receive(sealed, request.request_id(), request.correlation_id())
        tensors = {name: self._input(request, name)[0] for name in self._inputs}
        masks, lows, state = (tensors.pop(name, None) for name in ("PROMPT_MASKS", "PROMPT_LOW", "RESTORE"))
        return {"envelope": envelope, "features": tensors, "masks": masks, "lows": lows, "state": state}

    def _input(self, request, name):
        """Features where the bank's arrays live, everything else on the host."""
        array = array_of(pb_utils.get_input_tensor_by_name(request, name), self._arrays)
        return self._arrays.put(array) if name in self._features else self._arrays.get(array)

    def _respond(self, envelope, tensors):
        self._room.take(tensors)
        tensors["ENVELOPE"] = self._stage.send(envelope)
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, array[None]) for name, array in tensors.items()])


def _refusal(error, request):
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(error.wire(request.request_id()), pb_utils.TritonError.INVALID_ARG))
