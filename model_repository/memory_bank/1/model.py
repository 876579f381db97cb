"""Triton's door to the memory bank: tensors in, tensors out, engine calls between. All decisions are in masklet_bank."""

import json
import sys
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Lock, Thread

# The modules that were vendored beside this file win over an installed masklet of another version.
sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import triton_python_backend_utils as pb_utils

from masklet import contract, families
from masklet.envelope import Envelope
from masklet.errors import MaskletError, ServerFault
from masklet.stage import triton_stage
from masklet.wire import owner_of
from masklet_bank.arrays import HOST, Copied, on_gpu
from masklet_bank.metrics import TABLE, Unmetered
from masklet_bank.request import Request
from masklet_bank.room import AnswerRoom
from masklet_bank.service import Service, Settings
from masklet_bank.stages import EngineError
from masklet_bank.video import Limits
from masklet_bank.videos import Capacity

_START, _END = pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START, pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_END

_IDLE_S = 1.0  # how often the bank looks around without requests


class TritonStages:
    """The engines as models of this server. `arrays`: where the bank's arrays live."""

    def __init__(self, variant, suffix, arrays):
        self._engines = {model.name: model for model in contract.engines(variant)}
        self._suffix = suffix
        self.arrays = arrays
        self._outputs = []

    def call(self, engine, inputs):
        """Runs one engine (see masklet_bank.stages.Stages).

        On a GPU the bank's copies of what an engine gave may still wait for their turn when the bank is done with it. Triton must not use that memory
        again before; so outputs are held until the next inputs are made, which waits for all that was asked of the GPU before.
        """
        request = pb_utils.InferenceRequest(
            model_name=engine + self._suffix,
            requested_output_names=[tensor.name for tensor in self._engines[engine].outputs],
            inputs=[_tensor(name, array) for name, array in inputs.items()],
        )
        self._outputs = []
        response = request.exec()
        if response.has_error():
            raise EngineError(f"{engine} failed: {response.error().message()}")
        self._outputs = response.output_tensors()
        return {tensor.name(): _array(tensor, self.arrays) for tensor in self._outputs}


class EmbeddedStages:
    """The engines in this process, where the target has no backend for them: no message to another process and back, no copies."""

    def __init__(self, variant, folder, parameters):
        from masklet_build.embedded.engine import Engine, device_arrays

        self._engines = {
            model.name: Engine(folder / model.name, parameters, [tensor.name for tensor in model.inputs if tensor.dims[0] == "V"])
            for model in contract.engines(variant)
            if not model.batched
        }
        self.arrays = device_arrays(parameters, Copied()) or HOST
        pb_utils.Logger.log_info(f"engines of memory_bank: {next(iter(self._engines.values())).place}")

    def call(self, engine, inputs):
        """Runs one engine (see masklet_bank.stages.Stages)."""
        try:
            return self._engines[engine](inputs)
        except Exception as error:
            message = f"{engine} failed: {type(error).__name__}: {error}"
            pb_utils.Logger.log_error(message)
            raise EngineError(message) from error


class TritonMeters:
    """The metrics of the bank in Triton's /metrics (see masklet_bank.metrics.Meters).

    Each operation is a message to Triton's process and back, 20 to 50 microseconds, and a frame makes about a dozen. So a thread sends them, while
    the engines run or the next frame is awaited.
    """

    def __init__(self, model):
        own = {} if model == "memory_bank" else {"model": model}  # several variants side by side have equal metrics
        self._families = []  # a family lives as long as our reference to it
        self._series = {}
        for metric in TABLE:
            family = pb_utils.MetricFamily(name=metric.name, description=metric.help, kind=getattr(pb_utils.MetricFamily, metric.kind))
            self._families.append(family)
            for value in metric.values:
                labels = own | ({metric.label: value} if metric.label else {})
                self._series[metric.name, value] = family.Metric(labels=labels, buckets=list(metric.buckets) or None)
        self._outbox = SimpleQueue()
        self._sender = Thread(target=self._send, name="metrics", daemon=True)
        self._sender.start()

    def increment(self, metric, by, label=""):
        """Adds to a counter."""
        self._outbox.put((self._series[metric.name, label].increment, by))

    def set(self, metric, value):
        """Sets a gauge."""
        self._outbox.put((self._series[metric.name, ""].set, value))

    def observe(self, metric, value, label=""):
        """Adds one value to a histogram."""
        self._outbox.put((self._series[metric.name, label].observe, value))

    def close(self):
        """Returns when everything is sent."""
        self._outbox.put(None)
        self._sender.join()

    def _send(self):
        said = False
        for operation, value in iter(self._outbox.get, None):
            try:
                operation(value)
            except Exception as error:
                if not said:
                    pb_utils.Logger.log_warn(f"memory_bank: metrics are not right any more: {error}")
                said = True


def _meters(model):
    """Meters; those that do nothing where this Triton has no custom metrics. Videos are served either way."""
    try:
        return TritonMeters(model)
    except Exception as error:
        pb_utils.Logger.log_warn(f"memory_bank gives no metrics: {type(error).__name__}: {error}")
        return Unmetered()


def _settings(value):
    """Settings from the config's parameters."""
    variant = families.variant(value["variant"])
    if int(value["contract_version"]) != contract.CONTRACT_VERSION:
        raise ValueError(f"assembled for contract {value['contract_version']}, these modules are {contract.CONTRACT_VERSION}. Assemble again.")
    max_conditioning = int(value["max_conditioning"])
    if max_conditioning == 1:
        raise ValueError("max_conditioning is 1. Use 0 for no limit, or at least 2.")
    return Settings(
        variant=variant,
        limits=Limits(int(value["max_objects"]), int(value["max_points"]), max_conditioning),
        capacity=Capacity(int(value["max_videos"]), int(value["max_bank_mib"]) << 20, float(value["idle_seconds"]), variant.object_bytes),
        engine_limit=int(value["max_engine_batch"]),
        identity={key: value[key] for key in ("contract_version", "variant", "checkpoint_sha256", "precision")},
        drain_file=value["drain_file"],
    )


def _stages(variant, parameters, args):
    """The engines: in this process where assembly put them here, else models of this server, on a GPU where the config puts this model on one."""
    engines = Path(__file__).parent / "engines"
    if engines.is_dir():
        return EmbeddedStages(variant, engines, parameters)
    arrays = on_gpu(int(args["model_instance_device_id"])) if args["model_instance_kind"] == "GPU" else HOST
    return TritonStages(variant, parameters["suffix"], arrays)


def _tensor(name, array):
    """A tensor for an engine. An array on a GPU goes by its address, without a copy; Triton waits until it is computed (pb_tensor.cc, FromDLPack)."""
    return pb_utils.Tensor(name, array) if isinstance(array, np.ndarray) else pb_utils.Tensor.from_dlpack(name, array)


def _array(tensor, arrays):
    """The array of a tensor, where it lies: Triton says, tensor by tensor. It may live only as long as the tensor."""
    return tensor.as_numpy() if tensor.is_cpu() else arrays.adopt(tensor)


class TritonPythonModel:
    """The memory_bank model."""

    def initialize(self, args):
        """Reads the config."""
        parameters = {name: item["string_value"] for name, item in json.loads(args["model_config"])["parameters"].items()}
        settings = _settings(parameters)
        self._inputs = [tensor.name for tensor in contract.memory_bank(settings.variant).inputs if tensor != contract.ENVELOPE]
        self._features = {tensor.name for tensor in contract.image_encoder(settings.variant).outputs}
        self._meters = _meters(args["model_name"])
        stages = _stages(settings.variant, parameters, args)
        self._arrays = stages.arrays
        self._service = Service(settings, stages, self._meters, self._arrays)
        self._busy, self._stopping = Lock(), Event()
        self._watch = Thread(target=self._idle, name="idle", daemon=True)
        self._watch.start()
        self._stage = triton_stage(pb_utils, args)
        self._room = AnswerRoom()
        pb_utils.Logger.log_info(f"memory_bank serves {settings.variant.name} with contract {contract.CONTRACT_VERSION} from {contract.__file__}")

    def execute(self, requests):
        """One frame of each of several videos."""
        with self._stage.working(), self._busy:
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
        while not self._stopping.wait(_IDLE_S):
            try:
                with self._busy:
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
        sealed = pb_utils.get_input_tensor_by_name(request, contract.ENVELOPE.name).as_numpy()[0][0]
        envelope = self._stage.receive(sealed, request.request_id(), request.correlation_id())
        tensors = {name: self._input(request, name)[0] for name in self._inputs}
        masks, lows, state = (tensors.pop(name, None) for name in ("PROMPT_MASKS", "PROMPT_LOW", "RESTORE"))
        return {"envelope": envelope, "features": tensors, "masks": masks, "lows": lows, "state": state}

    def _input(self, request, name):
        """Features where the bank's arrays live, everything else on the host."""
        array = _array(pb_utils.get_input_tensor_by_name(request, name), self._arrays)
        return self._arrays.put(array) if name in self._features else self._arrays.get(array)

    def _respond(self, envelope, tensors):
        self._room.take(tensors)
        tensors["ENVELOPE"] = np.array([self._stage.send(envelope)], np.object_)
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, array[None]) for name, array in tensors.items()])


def _refusal(error, request):
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(error.wire(request.request_id()), pb_utils.TritonError.INVALID_ARG))
