"""The server's own models in this process, over any engines: preprocess, memory bank and postprocess as they are, without Triton."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

from masklet.contract import CONTRACT_VERSION
from masklet.errors import MaskletError
from masklet.families import Variant
from masklet.mock import MockTransport
from masklet.tracker import Tracker
from masklet.transport import Answer
from masklet.transport import Request as Sent
from masklet.wire import Options

# The models' own packages, where Triton finds them.
sys.path.extend([str(Path(__file__).parents[1] / "model_repository" / model / "1") for model in ("memory_bank", "preprocess", "postprocess")])

from masklet_bank.service import Request, Service, Settings
from masklet_bank.stages import Stages
from masklet_bank.video import Limits
from masklet_bank.videos import Capacity
from masklet_postprocess.request import finish
from masklet_preprocess.limits import Limits as FrameLimits
from masklet_preprocess.request import Request as Unprepared
from masklet_preprocess.request import prepare, refuse

# Nobody but this process sends anything, so the limits only have to be out of the way.
_FRAMES = FrameLimits(
    max_frame_side=1 << 14,
    max_frame_pixels=1 << 28,
    max_encoded_bytes=1 << 28,
    max_prompt_bytes=1 << 24,
    max_prompts=64,
    max_points=64,
    max_state_bytes=1 << 30,
)
_OBJECTS = Limits(max_objects=32, max_points=64, max_conditioning=8)


def local_tracker(variant: Variant, stages: Stages, objects_per_call: int) -> Tracker:
    """A tracker whose server is this process.

    objects_per_call  what the memory bank gives an engine at most, as parameter max_engine_batch does in a server
    """
    return Tracker("in-process:0", transport=MockTransport(_LocalServer(variant, stages, objects_per_call).answer))


class _LocalServer:
    def __init__(self, variant: Variant, stages: Stages, objects_per_call: int) -> None:
        capacity = Capacity(max_videos=8, max_bytes=1 << 40, idle_seconds=3600, object_bytes=variant.object_bytes())
        identity = {"contract_version": str(CONTRACT_VERSION), "variant": variant.name, "checkpoint_sha256": "", "precision": ""}
        self._variant, self._stages = variant, stages
        self._service = Service(Settings(variant, _OBJECTS, capacity, objects_per_call, identity), stages)

    def answer(self, sent: Sent) -> Answer | MaskletError:
        """One request through all models, in the order of the ensemble."""
        tensors = self._prepared(sent)
        tensors["CLOCK"] = np.full(2, time.monotonic())
        status, image = tensors.pop("STATUS")[0].decode(), tensors.pop("IMAGE")
        if tensors["SIZE"].all():
            features = self._stages.call("image_encoder", {"IMAGE": image[np.newaxis]})
            tensors.update({name: np.array(array[0]) for name, array in features.items()})
        (result,) = self._service.answer([Request(sent.video_id, sent.start, sent.end, sent.parameters, status, tensors)])
        if isinstance(result, MaskletError):
            return result
        height, width = (int(side) for side in result.pop("FRAME_SIZE"))
        times = result.pop("TIMES")
        finished = finish(result.pop("LOW"), (height, width), Options.parse(sent.parameters))
        return Answer({**result, **finished, "TIMING": np.append(times, np.float32(0))})

    def _prepared(self, sent: Sent) -> dict[str, np.ndarray]:
        given = {name: array[0] for name, array in sent.tensors.items()}
        request = Unprepared(
            frame=given.get("FRAME"),
            encoded=given["FRAME_ENCODED"][0] if "FRAME_ENCODED" in given else None,
            prompts=given["PROMPTS"][0] if "PROMPTS" in given else None,
            state=given.get("STATE"),
            parameters=json.dumps(dict(sent.parameters)),
        )
        try:
            return dict(prepare(request, self._variant, _FRAMES))
        except MaskletError as error:
            return dict(refuse(error, self._variant, restores="STATE" in given))
