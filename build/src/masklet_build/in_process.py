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
from typing import Any, Protocol

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

from masklet_bank.admission import Settings
from masklet_bank.request import Request as BankRequest
from masklet_bank.service import Service
from masklet_bank.video import VideoLimits
from masklet_bank.videos import Capacity
from masklet_postprocess.request import finish
from masklet_preprocess.limits import Limits
from masklet_preprocess.request import Inputs, prepare

_REPOSITORY = Path(__file__).parent / "model_repository"


class Stages(Protocol):
    """The five engines by name, as `masklet_build.models.stages.TorchStages` has them."""

    def call(self, engine: str, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """Outputs by name; image_encoder's tensors lead with V."""


class InProcess(MockTransport):
    """A transport for `masklet.Tracker(..., transport=InProcess(variant, stages))`. Limits are those that a server has by default, but no video is
    forgotten: however long a frame takes, its client is not lost. `objects`: that of objects per call of an engine, if another one."""

    def __init__(self, variant: Variant, stages: Stages, objects: int | None = None) -> None:
        super().__init__(self._answer)
        self._variant, self._stages = variant, stages
        settings = _settings(variant, objects)
        largest = state_bytes(variant, settings.limits.max_objects, settings.limits.max_conditioning, settings.limits.max_points)
        self._limits = Limits.from_parameters({**_parameters("preprocess"), "max_state_bytes": str(largest)})
        self._bank = Service(settings, stages)

    def _answer(self, request: Request) -> Reply:
        begin = time.monotonic()
        given = {name: array[0] for name, array in request.tensors.items()}
        try:
            prepared = prepare(_inputs(given, request.parameters), self._variant, self._limits)
        except MaskletError as error:
            return error
        features = {}
        if prepared.envelope.size is not None:  # a request without a frame needs no features
            encoded = self._stages.call("image_encoder", {"IMAGE": prepared.tensors["IMAGE"][None]})
            features = {name: np.array(array[0]) for name, array in encoded.items()}
        envelope = replace(prepared.envelope, token=request.id, video=request.video_id, received=begin, preprocessed=time.monotonic())
        masks, lows, state = (prepared.tensors.get(name) for name in ("PROMPT_MASKS", "PROMPT_LOW", "RESTORE"))
        owner = owner_of(request.parameters)
        asked = BankRequest(request.video_id, request.start, request.end, owner, envelope, features, masks, lows, state)
        (answer,) = self._bank.answer([asked], _finished)
        return answer


def _finished(envelope: Envelope, tensors: dict[str, np.ndarray]) -> Answer:
    made = finish(tensors.pop("LOW"), envelope)
    return Answer({**tensors, **made, "TIMING": np.array([*envelope.times, 0], np.float32)})


def _inputs(given: Mapping[str, Any], parameters: Mapping[str, object]) -> Inputs:
    encoded, prompts = (given[name][0] if name in given else None for name in ("FRAME_ENCODED", "PROMPTS"))
    return Inputs(given.get("FRAME"), given.get("FRAME_SIZE"), encoded, prompts, given.get("STATE"), json.dumps(parameters))


def _parameters(model: str) -> dict[str, str]:
    text = (_REPOSITORY / model / "config.pbtxt").read_text(encoding="utf-8")
    config = text_format.Parse(text, model_config_pb2.ModelConfig())
    return {name: value.string_value for name, value in config.parameters.items()}


def _settings(variant: Variant, objects: int | None) -> Settings:
    value = _parameters("memory_bank")
    return Settings(
        variant,
        VideoLimits(int(value["max_objects"]), int(value["max_points"]), int(value["max_conditioning"])),
        Capacity(int(value["max_videos"]), int(value["max_bank_mib"]) << 20, math.inf, variant.object_bytes),
        objects or min(int(value["max_engine_batch"]), variant.max_objects),
        {"contract_version": str(CONTRACT_VERSION), "variant": variant.name, "checkpoint_sha256": "", "precision": ""},
        "",  # nothing in this process drains
    )
