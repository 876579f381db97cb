"""A tracker of a few lines behind the real wire: it keeps the rules of START, END and owner, and its masks can be told apart."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from masklet import NotOwner, UnknownObject, rle
from masklet.mask_bytes import joined
from masklet.testing import Answer, MockTransport, Refusal, Request
from masklet.wire import Options

ENCODED_SIZE = (30, 40)  # of every frame that comes as bytes
LOW = 8


@dataclass
class Video:
    owner: str | None
    frames: int = 0
    objects: list[int] = field(default_factory=list)


class ToyTracker:
    """A handler for MockTransport. `videos` are the live ones by id."""

    def __init__(self) -> None:
        self.videos: dict[int | str, Video] = {}

    def __call__(self, request: Request) -> Answer | Refusal:
        options = Options.parse(request.parameters)
        try:
            video = self._video(request, options)
            if video is None:
                return Refusal(
                    "in ensemble 'tracker', inference request for sequence 1 to model 'memory_bank' must specify the START flag on the first request"
                )
            self._prompt(video, json.loads(request.tensors["PROMPTS"][0, 0]))
        except (NotOwner, UnknownObject) as error:
            return Refusal(error.wire())
        finally:
            if request.end:
                self.videos.pop(request.video_id, None)
        return self._answer(request, options, video)

    def _video(self, request: Request, options: Options) -> Video | None:
        video = self.videos.get(request.video_id)
        if video and video.owner != options.owner:
            raise NotOwner("another client owns this video. Take another id.")
        if request.start:
            state = request.tensors["STATE"][0].tolist() if "STATE" in request.tensors else [0]
            video = self.videos[request.video_id] = Video(options.owner, state[0], state[1:])
        return video

    def _prompt(self, video: Video, items: list[dict]) -> None:
        for item in items:
            if item.get("remove"):
                if item["object"] not in video.objects:
                    raise UnknownObject(f"object {item['object']} is not in this video.")
                video.objects.remove(item["object"])
            elif item["object"] not in video.objects:
                video.objects.append(item["object"])

    def _answer(self, request: Request, options: Options, video: Video) -> Answer:
        size = ENCODED_SIZE if "FRAME_ENCODED" in request.tensors else None
        if "FRAME" in request.tensors:
            height, width = request.tensors["FRAME_SIZE"][0].tolist()
            size = height, width
        index = video.frames
        video.frames += size is not None
        objects = video.objects if size else []
        masks = [toy_mask(size, index, object_id) for object_id in objects]
        return answer(index, objects, [_encode(mask, options.masks) for mask in masks], options, video)


def toy_mask(size: tuple[int, int], index: int, object_id: int) -> np.ndarray:
    """The mask that the toy gives an object on a frame: a column that moves, of a height that is the object's."""
    mask = np.zeros(size, dtype=np.bool_)
    mask[: object_id % size[0] + 1, index % size[1]] = True
    return mask


def answer(index: int, objects: list[int], masks: list[bytes], options: Options, video: Video) -> Answer:
    count = len(objects)
    return Answer(
        {
            "FRAME_INDEX": np.array([index], np.int64),
            "OBJECT_IDS": np.array(objects, np.int64),
            **joined(masks),
            "BOXES": np.array([[index, 0, index + 1, 1]] * count, np.float32).reshape(count, 4),
            "SCORES": np.full(count, 3, np.float32),
            "IOUS": np.full(count, 0.5, np.float32),
            "LOGITS": np.full((count if options.logits else 0, LOW, LOW), -1, np.float32),
            "SNAPSHOT": np.array([video.frames, *video.objects] if options.snapshot else [], np.uint8),
            "TIMING": np.arange(7, dtype=np.float32),
            "DRAINING": np.zeros(1, np.uint8),
        }
    )


def _encode(mask: np.ndarray, form: str) -> bytes:
    if form == "none":
        return b""
    return json.dumps(rle.encode(mask)).encode() if form == "rle" else np.packbits(mask).tobytes()


class Server:
    """A toy tracker behind a MockTransport; `replies` overrules its answer to the n-th request."""

    def __init__(self, replies: dict[int, object] | None = None) -> None:
        self.toy = ToyTracker()
        self.replies = replies or {}
        self.transport = MockTransport(self._handle)

    def _handle(self, request: Request) -> Any:
        number = len(self.transport.requests) - 1
        return self.replies[number] if number in self.replies else self.toy(request)

    @property
    def flags(self) -> list[str]:
        """What START and END the requests carried, as text."""
        return ["".join(name for name, on in (("S", request.start), ("E", request.end)) if on) for request in self.transport.requests]

    @property
    def prompts(self) -> list[list[dict]]:
        """The PROMPTS of each request."""
        return [json.loads(request.tensors["PROMPTS"][0, 0]) for request in self.transport.requests]
