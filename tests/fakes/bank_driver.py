"""Drives a memory bank without a server: engines that record what they are given, and requests written as in a client."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any

import numpy as np

from masklet import families
from masklet.envelope import Envelope, Prompt
from masklet.errors import MaskletError
from masklet.wire import Options, owner_of
from masklet_bank.admission import Settings
from masklet_bank.arrays import Arrays, DeviceArrays, HostArrays
from masklet_bank.metrics import Meters
from masklet_bank.request import Request
from masklet_bank.service import Service
from masklet_bank.stages import EngineError, Stages
from masklet_bank.video import VideoLimits
from masklet_bank.videos import Capacity
from masklet_build.models import variants
from tests.fakes.device_module import ndarray
from tests.fakes.dlpack import unpacked

VARIANT = variants.scaled_down(variants.variant("efficienttam_ti_512"), 32)
IDENTITY = {"contract_version": "3", "variant": variants.served_name(VARIANT), "checkpoint_sha256": "0", "precision": "fp32"}


class RecordingStages:
    """Engines whose outputs say where they come from, and that write down every call.

    A frame's EMBEDDING is filled with its number; its memory and its pointer carry that number on. So the numbers in MEMORY and POINTERS of a
    later call tell which frames were read. Masks and scores depend on the features, so that different readings give different answers.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, np.ndarray]]] = []
        self.fail: str | None = None  # engine that fails
        self.fail_over = 0  # with more objects than this

    def call(self, engine: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        inputs = {name: np.array(array) for name, array in inputs.items()}
        self.calls.append((engine, inputs))
        objects = len(next(iter(inputs.values()))) if "VIDEO" not in inputs else len(inputs["VIDEO"])
        if engine == self.fail and objects > self.fail_over:
            raise EngineError(f"{engine} failed: told to")
        return getattr(self, engine)(inputs)

    def named(self, engine: str) -> list[dict[str, np.ndarray]]:
        return [inputs for name, inputs in self.calls if name == engine]

    def mask_prompt(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        objects, low = len(inputs["MASK"]), VARIANT.low_size
        present = inputs["MASK"].any(axis=(1, 2)).astype(np.int32)
        return {
            "MASK_PROMPT": np.full((objects, 1, low, low), 99, np.float32),
            "LOW": np.full((objects, low, low), 7, np.float32),
            "PRESENT": present,
        }

    def memory_attention(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        frames = inputs["EMBEDDING"][inputs["VIDEO"]]
        read = inputs["MEMORY"].mean(axis=(2, 3)).sum(axis=1) + inputs["SLOT"].sum(axis=1)
        conditioned = frames.copy()
        conditioned[:, 1] = (read / 1000)[:, None, None]  # channel 0 keeps the number of the frame
        return {"CONDITIONED": conditioned.astype(np.float32)}

    def mask_decoder(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        features, low = inputs["FEATURES"], VARIANT.low_size
        objects = len(features)
        number, read = features[:, 0, 0, 0], features[:, 1, 0, 0]
        clicks = inputs["POINTS"].sum(axis=(1, 2)) / 1e4
        logits = np.broadcast_to((number + read + clicks)[:, None, None], (objects, low, low))
        pointer = np.broadcast_to(number[:, None], (objects, VARIANT.hidden))
        return {
            "LOW": logits.astype(np.float32),
            "IOU": clicks.astype(np.float32),
            "SCORE": (1 + read).astype(np.float32),
            "POINTER": pointer.astype(np.float32),
        }

    def memory_encoder(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        number = inputs["EMBEDDING"][inputs["VIDEO"]][:, 0, 0, 0]
        return {"MEMORY": np.broadcast_to(number[:, None, None], (len(number), VARIANT.memory_tokens, 64)).astype(np.float32)}


class Fleeting:
    """Engines beside the bank's arrays: outputs lie where those lie, and are overwritten when the engine is called again, as Stages allows."""

    def __init__(self, stages: Stages, arrays: Arrays) -> None:
        self._stages, self._arrays = stages, arrays
        self._given: dict[str, list[np.ndarray]] = {}

    def call(self, engine: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        for array in self._given.pop(engine, []):
            array.fill(-77)
        out = self._stages.call(engine, {name: on_host(array) for name, array in inputs.items()})
        self._given[engine] = list(out.values())
        return {name: laid(self._arrays, array) for name, array in out.items()}


def answered(envelope: Envelope, tensors: dict[str, np.ndarray]) -> dict[str, Any]:
    """An answer for tests to look into: the tensors, and the envelope under its name."""
    return {**tensors, "ENVELOPE": envelope}


class HomeService(Service):
    """A bank whose requests are written with numpy arrays: features are laid where the bank's arrays live, as Triton's door does."""

    def __init__(self, settings: Settings, stages: Stages, meters: Meters | None, arrays: Arrays) -> None:
        super().__init__(settings, Fleeting(stages, arrays), meters, arrays)
        self.arrays = arrays

    def answer(self, requests: Sequence[Request], respond: Callable[..., Any] = answered) -> list[Any]:
        placed = [replace(one, features={name: laid(self.arrays, array) for name, array in one.features.items()}) for one in requests]
        answers = super().answer(placed, respond)
        for answer in answers:
            if isinstance(answer, dict):
                left = [array for name, array in answer.items() if name != "ENVELOPE"]
                assert all(isinstance(array, np.ndarray) for array in left), "an answer leaves on the host"
        return answers


_homes: list[Callable[[], Arrays]] = [HostArrays]


@contextmanager
def home(make: Callable[[], Arrays]) -> Iterator[None]:
    """While open, `service` makes banks whose arrays live where `make` says."""
    _homes.append(make)
    try:
        yield
    finally:
        _homes.pop()


def laid(arrays: Arrays, array: np.ndarray) -> Any:
    """An array where the bank's arrays live, as if an engine had made it there. Nothing is copied, so nothing is counted."""
    return ndarray(array) if isinstance(arrays, DeviceArrays) else arrays.adopt(array)


def on_host(array: Any) -> np.ndarray:
    """An array of the bank for a test to look into, wherever it lives. Nothing is counted."""
    return unpacked(array.__dlpack__()) if isinstance(array, ndarray) else np.from_dlpack(array)


def service(
    stages: RecordingStages,
    *,
    variant: families.Variant = VARIANT,
    max_conditioning: int = 0,
    engine_limit: int = 8,
    drain_file="",
    clock=None,
    meters: Meters | None = None,
    identity: Mapping[str, str] = IDENTITY,
    cleans: bool = False,
    **limits: int,
) -> Service:
    """A service with generous limits. `variant`: the small one, or one of its sizes that behaves in another way."""
    values = {"max_objects": 32, "max_points": 64, "max_videos": 64, "max_bytes": 1 << 30, "idle_seconds": 60, **limits}
    settings = Settings(
        variant,
        VideoLimits(values["max_objects"], values["max_points"], max_conditioning),
        Capacity(values["max_videos"], values["max_bytes"], values["idle_seconds"], variant.object_bytes),
        engine_limit,
        identity,
        str(drain_file),
        cleans,
    )
    made = HomeService(settings, stages, meters, _homes[-1]())
    if clock is not None:
        made.videos._clock = clock
    return made


def click(object_id: int, *points: tuple[float, float], labels: Sequence[int] | None = None, **flags: bool) -> dict:
    """A prompt of clicks; flags: append, clear, remove."""
    return {"object": object_id, "points": points, "labels": labels or [1] * len(points), **flags}


def mask(object_id: int, *, empty: bool = False) -> dict:
    """A mask prompt."""
    size = VARIANT.image_size
    return {"object": object_id, "points": (), "labels": (), "mask": np.full((size, size), 0 if empty else 1, np.uint8)}


def request(
    video: int | str,
    number: float | None,
    prompts: Sequence[dict] = (),
    *,
    start=False,
    end=False,
    error="",
    restore=None,
    owner=None,
    token="",
    **parameters,
) -> Request:
    """A request as preprocess and the image encoder would hand it on. `number`: what EMBEDDING is filled with; None: a control request."""
    grid, size = VARIANT.grid, VARIANT.image_size
    masks, now = [item["mask"] for item in prompts if "mask" in item], monotonic()
    envelope = Envelope(
        token=token,
        video=video,
        error=error,
        restores=restore is not None,
        size=None if number is None else (48, 64),
        options=Options.parse(parameters),
        prompts=tuple(_prompt(item) for item in prompts),
        received=now,
        preprocessed=now,
    )
    features = {"EMBEDDING": np.full((VARIANT.hidden, grid, grid), -1 if number is None else number, np.float32)}
    state = np.zeros(0, np.uint8) if restore is None else restore
    owner = None if owner is None else owner_of({"owner": owner})
    return Request(video, start, end, owner, envelope, features, np.array(masks, np.uint8).reshape(-1, size, size), None, state)


def _prompt(item: dict) -> Prompt:
    flags = {name: bool(item.get(name)) for name in ("append", "clear", "remove")}
    points = tuple((float(np.float32(x)), float(np.float32(y))) for x, y in item["points"])
    return Prompt(item["object"], points, tuple(item["labels"]), mask="mask" in item, **flags)


@dataclass
class Client:
    """One video of a service; the first request begins it. EMBEDDING of a frame is `base` plus its place in the order of sending, unless given."""

    service: Service
    video: int | str = 1
    began: bool = False
    sent: int = field(default=0)

    def send(self, *prompts: dict, number: float | None = None, control: bool = False, **options) -> dict[str, np.ndarray]:
        """Sends one request alone; raises its error."""
        number = None if control else self.sent if number is None else number
        start, self.began = not self.began, True
        (answer,) = self.service.answer([request(self.video, number, prompts, start=start, **options)])
        if isinstance(answer, MaskletError):
            raise answer
        self.sent += not control
        return answer
