"""Toy servers that fail in every way that servers do, and whose answers show the whole past of a video.

A video's state is a hash of all requests that changed it, in order; it is in SCORES of every answer. So a request that is left out, sent twice
or sent in another order shows in every answer that follows.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from masklet import BadFrame, BadState, MaskletError, ServerBusy, UnknownObject
from masklet.testing import Answer, Broken, MockTransport, Refusal, Request, answer
from masklet.wire import Options

Reply = Answer | Refusal | Broken | MaskletError | None
FORGOTTEN = Refusal("in ensemble 'tracker', inference request for sequence 1 to model 'memory_bank' must specify the START flag on the first request")
DEAD_STUB = Refusal("Failed to process the request(s) for model instance 'memory_bank_0_0', message: Stub process 'memory_bank_0_0' is not healthy.")
BAD_FRAME = b"no image"
EMPTY = np.zeros((4, 4), dtype=np.bool_)
FAULTS = ("cut before", "cut after", "silent before", "silent after", "restart", "stub", "fault after", "busy")  # the request itself was done, or not


@dataclass
class Video:
    """`past` is the hash; `index` of the frame answered last."""

    owner: str | None
    past: str = ""
    index: int = -1
    objects: list[int] = field(default_factory=list)


@dataclass
class Replica:
    """A handler for MockTransport.

    fault     says for each request what goes wrong with it, if anything: one of FAULTS, or what is answered instead
    draining  no video may begin
    """

    fault: Callable[[Request], str | Reply] = lambda request: None
    draining: bool = False
    videos: dict[int | str, Video] = field(default_factory=dict)
    starts: int = 0

    def __call__(self, request: Request) -> Reply:
        fault = self.fault(request)
        if not isinstance(fault, str | None):
            return fault
        if fault == "restart":
            self.videos.clear()
        elif fault == "skip":  # no fault of a server, but one that a client should notice
            return self._shifted(request)
        elif fault in ("cut before", "silent before", "stub", "busy"):
            return self._failed(fault, request)
        answer = self._answer(request)
        return self._failed(fault, request) if fault in ("cut after", "silent after", "fault after") else answer

    def _failed(self, fault: str, request: Request) -> Refusal | Broken | None:
        if fault.startswith("silent"):
            return None
        if fault.startswith("cut"):
            return Broken("UNAVAILABLE Socket closed")
        if fault == "busy":
            return Refusal(ServerBusy("2 videos are live, which is this server's limit. Retry later.").wire()) if request.start else FORGOTTEN
        return DEAD_STUB

    def _shifted(self, request: Request) -> Reply:
        """The answer, with another frame index."""
        answer = self._answer(request)
        assert isinstance(answer, Answer)
        return Answer({**answer.tensors, "FRAME_INDEX": answer.tensors["FRAME_INDEX"] + 1})

    def _answer(self, request: Request) -> Answer | Refusal:
        options = Options.parse(request.parameters)
        try:
            video = self._begin(request, options) if request.start else self.videos.get(request.video_id)
            if video is None or video.owner != options.owner:
                return FORGOTTEN
            return self._frame(video, request, options)
        except (BadFrame, BadState, ServerBusy, UnknownObject) as error:
            return Refusal(error.wire())
        finally:
            if request.end:
                self.videos.pop(request.video_id, None)

    def _begin(self, request: Request, options: Options) -> Video:
        if self.draining:
            raise ServerBusy("this server is draining: it will stop. Open the video on another server.")
        video = Video(options.owner)
        if "STATE" in request.tensors:
            try:
                video = Video(options.owner, **json.loads(request.tensors["STATE"].tobytes()))
            except ValueError as error:
                raise BadState("the state is not a whole snapshot.") from error
        self.starts += 1
        self.videos[request.video_id] = video
        return video

    def _frame(self, video: Video, request: Request, options: Options) -> Answer:
        items = json.loads(request.tensors["PROMPTS"][0, 0])
        frame = request.tensors.get("FRAME_ENCODED")
        content = b"" if frame is None else frame[0, 0]
        if content == BAD_FRAME:
            raise BadFrame("it cannot be decoded. Send another.")
        removed = [item["object"] for item in items if item.get("remove")]
        if not set(removed) <= set(video.objects):
            raise UnknownObject(f"no object {removed}.")
        if frame is not None or removed:
            seen = {"refine": options.refine, "track": options.track, "frame_index": options.frame_index, "reverse": options.reverse}
            video.past = hashlib.sha256(repr((video.past, content, items, seen)).encode()).hexdigest()
        video.objects = [*(known for known in video.objects if known not in removed)]
        video.objects += [item["object"] for item in items if item["object"] not in (*video.objects, *removed)]
        video.index += frame is not None and not options.refine
        return self._answer_of(request, video, shown=video.objects if frame is not None else [])

    def _answer_of(self, request: Request, video: Video, shown: list[int]) -> Answer:
        seen = int.from_bytes(bytes.fromhex(video.past or "00" * 4)[:4], "little") % 2**20
        state = json.dumps({"past": video.past, "index": video.index, "objects": video.objects}).encode()
        masks, scores = dict.fromkeys(shown, EMPTY), dict.fromkeys(shown, float(seen))
        return answer(request, masks, video.index, scores=scores, snapshot=state, draining=self.draining)


def replicas(count: int) -> tuple[dict[str, Replica], dict[str, MockTransport]]:
    """So many servers, and how to reach them, by url."""
    servers = {f"{name}:1": Replica() for name in "abcdef"[:count]}
    return servers, {url: MockTransport(server) for url, server in servers.items()}


def at(*numbers: int, fault: str | Reply) -> Callable[[Request], str | Reply]:
    """A fault for these requests, counted from 0."""
    seen = itertools.count()
    return lambda request: fault if next(seen) in numbers else None


def frames(count: int, first: int = 0) -> list[bytes]:
    """Frames that differ."""
    return [str(number).encode() for number in range(first, first + count)]


def sent(transport: MockTransport) -> list[bytes]:
    """The frames that a server was sent."""
    return [request.tensors["FRAME_ENCODED"][0, 0] for request in transport.requests if "FRAME_ENCODED" in request.tensors]
