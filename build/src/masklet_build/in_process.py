"""A server in this process, without Triton: the models of model_repository/ one after the other, as the ensemble `tracker` joins them.

For scans and comparisons of engines, where neither several videos at once nor the time that a frame takes matter. It needs numpy and Pillow, and
whatever its engines need.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from masklet.contract import CONTRACT_VERSION
from masklet.envelope import Envelope
from masklet.errors import MaskletError
from masklet.families import Variant, state_bytes
from masklet.testing import Answer, MockTransport, Reply, Request
from masklet.wire import owner_of

# The modules of the models lie where Triton finds them.
sys.path.extend(str(Path(__file__).parent / "model_repository" / model / "1") for model in ("preprocess", "memory_bank", "postprocess"))

from masklet_bank import snapshot
from masklet_bank.action import Action
from masklet_bank.admission import Settings
from masklet_bank.arrays import HOST
from masklet_bank.calls import Engines, ToDecode, attend, decode, prepare_masks
from masklet_bank.policies import policy_of
from masklet_bank.policies.official import Reads
from masklet_bank.request import Request as BankRequest
from masklet_bank.service import Service
from masklet_bank.video import Video, VideoLimits
from masklet_bank.videos import Capacity
from masklet_postprocess.request import finish
from masklet_postprocess.upsample import mask_at
from masklet_preprocess.limits import Limits
from masklet_preprocess.request import Inputs, prepare

_REPOSITORY = Path(__file__).parent / "model_repository"
_NOTHING: Mapping[str, str] = {}


class Stages(Protocol):
    """The five engines by name, as `masklet_build.models.stages.TorchStages` has them."""

    def call(self, engine: str, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """Outputs by name; image_encoder's tensors lead with V."""


class Foreseen(NamedTuple):
    """What the memory bank is about to do to an object on a frame.

    frame, direction  where it is, and +1 or -1, the way of travel
    reads             which memories and pointers it reads; None: none
    conditioning      frames that the object was prompted on before, as far as they are remembered as such
    inputs            of memory_attention and mask_decoder, by engine, with B = 1; of those that are called
    """

    action: Action
    frame: int
    direction: int
    reads: Reads | None
    conditioning: frozenset[int]
    inputs: Mapping[str, Mapping[str, np.ndarray]]


class _Kept:
    """Engines that keep the inputs of the last call of each."""

    def __init__(self, stages: Stages) -> None:
        self._stages = stages
        self.inputs: dict[str, Mapping[str, np.ndarray]] = {}

    def call(self, engine: str, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """See `Stages`."""
        self.inputs[engine] = inputs
        return self._stages.call(engine, inputs)


class InProcess(MockTransport):
    """A transport for `masklet.Tracker(..., transport=InProcess(variant, stages))`.

    No video is forgotten: however long a frame takes, its client is not lost.

    objects   per call of an engine, if not as many as on a server
    limits    parameters of memory_bank's config that differ from those that a server has by default
    identity  what a server says of its engines (checkpoint_sha256, precision), so that its snapshots are taken; ours have the same
    """

    def __init__(
        self,
        variant: Variant,
        stages: Stages,
        objects: int | None = None,
        *,
        limits: Mapping[str, str] = _NOTHING,
        identity: Mapping[str, str] = _NOTHING,
    ) -> None:
        super().__init__(self._answer)
        self._variant, self._stages = variant, stages
        self._settings = settings = _settings(variant, objects, limits, identity)
        largest = state_bytes(variant, settings.limits.max_objects, settings.limits.max_conditioning, settings.limits.max_points)
        self._limits = Limits.from_parameters({**_parameters("preprocess"), "max_state_bytes": str(largest)})
        self._bank = Service(settings, stages)

    def foreseen(self, request: Request, object_id: int) -> Foreseen:
        """What a request for a frame, which answers about the object, will do to it. The engines are called for it alone; nothing changes.

        Raises MaskletError.
        """
        asked = self._asked(request)
        video = self._video(asked)
        decision = video.decision(asked.envelope.prompts, asked.mask_prompts(), asked.envelope.options, asked.features)
        action, visit = decision.actions[object_id], decision.visit
        held = video.objects[object_id].frames if object_id in video.objects else None
        kept, reads, job = _Kept(self._stages), None, action.job
        if job is not None:
            if job.reading is not None:
                reads = video.policy.reads(held, visit.frame, visit.direction)
            engines = Engines(self._variant, kept, 1, HOST)
            attended = None if job.reading is None else attend(engines, [job])[0]
            decode(engines, [ToDecode(job, attended, None if job.mask is None else prepare_masks(engines, [job])[0])])
        return Foreseen(action, visit.frame, visit.direction, reads, frozenset(held.conditioning) if held else frozenset(), kept.inputs)

    def _video(self, asked: BankRequest) -> Video:
        """The video that a request comes to."""
        if asked.envelope.restores:
            return snapshot.parse(asked.state, self._variant, self._settings.limits, self._settings.identity).video(asked.owner, HOST)
        live = None if asked.start else self._bank.videos.find(asked.video_id)
        return live or Video(policy_of(self._variant.family, self._settings.limits.max_conditioning), self._settings.limits, asked.owner)

    def _answer(self, request: Request) -> Reply:
        try:
            asked = self._asked(request)
        except MaskletError as error:
            return error
        (answer,) = self._bank.answer([asked], _finished)
        return answer

    def _asked(self, request: Request) -> BankRequest:
        """What memory_bank gets of a request. Raises MaskletError."""
        begin = time.monotonic()
        given = {name: array[0] for name, array in request.tensors.items()}
        prepared = prepare(_inputs(given, request.parameters), self._variant, self._limits)
        features = {}
        if prepared.envelope.size is not None:  # a request without a frame needs no features
            encoded = self._stages.call("image_encoder", {"IMAGE": prepared.tensors["IMAGE"][None]})
            features = {name: np.array(array[0]) for name, array in encoded.items()}
        envelope = replace(prepared.envelope, token=request.id, video=request.video_id, received=begin, preprocessed=time.monotonic())
        masks, lows, state = (prepared.tensors.get(name) for name in ("PROMPT_MASKS", "PROMPT_LOW", "RESTORE"))
        owner = owner_of(request.parameters)
        return BankRequest(request.video_id, request.start, request.end, owner, envelope, features, masks, lows, state)


def _finished(envelope: Envelope, tensors: dict[str, np.ndarray]) -> Answer:
    made = finish(tensors.pop("LOW"), envelope)
    return Answer({**tensors, **made, "TIMING": np.array([*envelope.times, 0], np.float32)})


def mask_of(low: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The mask of logits (L, L) at `size` (height, width), bool, as answers have it."""
    made, placed = np.zeros(size, np.bool_), mask_at(low, size)
    made[placed.top : placed.top + placed.mask.shape[0], placed.left : placed.left + placed.mask.shape[1]] = placed.mask
    return made


def _inputs(given: Mapping[str, Any], parameters: Mapping[str, object]) -> Inputs:
    encoded, prompts = (given[name][0] if name in given else None for name in ("FRAME_ENCODED", "PROMPTS"))
    return Inputs(given.get("FRAME"), given.get("FRAME_SIZE"), encoded, prompts, given.get("STATE"), json.dumps(parameters))


def _parameters(model: str) -> dict[str, str]:
    text = (_REPOSITORY / model / "config.pbtxt").read_text(encoding="utf-8")
    config = text_format.Parse(text, model_config_pb2.ModelConfig())
    return {name: value.string_value for name, value in config.parameters.items()}


def _settings(variant: Variant, objects: int | None, limits: Mapping[str, str], identity: Mapping[str, str]) -> Settings:
    value = {**_parameters("memory_bank"), **limits}
    return Settings(
        variant,
        VideoLimits(int(value["max_objects"]), int(value["max_points"]), int(value["max_conditioning"])),
        Capacity(int(value["max_videos"]), int(value["max_bank_mib"]) << 20, math.inf, variant.object_bytes),
        objects or min(int(value["max_engine_batch"]), variant.max_objects),
        {"contract_version": str(CONTRACT_VERSION), "variant": variant.name, "checkpoint_sha256": "", "precision": "", **identity},
        "",  # nothing in this process drains
    )
