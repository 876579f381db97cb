"""Sends a recording again, and says what comes otherwise."""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np

from masklet import rle
from masklet.errors import MaskletError, ServerBusy, ServerUnavailable, VideoLost, from_server
from masklet.inputs import bytes_tensor, random_id
from masklet.recording.frames import answered
from masklet.recording.reader import Exchange, RecordedAnswer, Recording
from masklet.results import TrackedFrame
from masklet.rle import Rle
from masklet.transport.protocol import Answer, Broken, Event, Request, Stream, Transport, stream_headers
from masklet.wire import Options

_IN_FLIGHT = 4  # requests on their way, as with `track_many`
_END_S = 5.0  # for the answer to END
_OF_THE_MOMENT = (ServerBusy, ServerUnavailable, VideoLost)  # refusals for which the request can do nothing


@dataclass(frozen=True)
class Difference:
    """Where a replay differs. `text` says it to people.

    request      number in the recording
    frame_index  None: it is no frame
    object_id    None: it is not about one object
    iou          of the two masks; None: one of them is not there
    recorded, replayed  the masks; None: not there
    """

    request: int
    text: str
    frame_index: int | None = None
    object_id: int | None = None
    iou: float | None = None
    recorded: Rle | None = field(default=None, repr=False)
    replayed: Rle | None = field(default=None, repr=False)


@dataclass
class Comparison:
    """What a replay gave beside what was recorded.

    answers      that were compared, refusals among them
    masks        that were compared; `equal` of them are the same to the last pixel
    lowest_iou   of the others; 1 where there are none
    numbers      the largest difference of a box, a score or a predicted IoU where the objects are the same; 0: the same bits
    differences  in the order of the recording
    """

    answers: int = 0
    masks: int = 0
    equal: int = 0
    lowest_iou: float = 1.0
    numbers: float = 0.0
    differences: list[Difference] = field(default_factory=list)

    def __str__(self) -> str:
        if not self.answers:
            return "no answer to compare"
        if not self.differences:
            numbers = "" if self.numbers == 0 else f"; boxes, scores or predicted IoUs differ by up to {self.numbers:.2g}"
            return f"{self.answers} answers, {self.masks} masks: all equal{numbers}"
        low = f", lowest IoU {self.lowest_iou:.4f}" if self.lowest_iou < 1 else ""
        return (
            f"{self.answers} answers, {self.equal} of {self.masks} masks equal{low}, {len(self.differences)} differences. "
            f"The first: {self.differences[0].text}"
        )


def replay(
    recording: Recording,
    transport: Transport,
    *,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = 30.0,
    at_recorded_times: bool = False,
    tell: Callable[[], object] = lambda: None,
) -> Comparison:
    """Sends what was recorded to a server, as another video, and compares what comes. Requests that nobody answered are left out, and those
    that were refused because the server was full or had lost the video.

    timeout_s          how long an answer may take
    at_recorded_times  not before the time at which it was sent; else as fast as it goes
    tell               called for each answer

    Raises ServerUnavailable, VideoLost, and the error with which the server refuses the video if it took it when it was recorded.
    """
    video_id, owner = random_id(), secrets.token_hex(16)
    named = stream_headers(headers or {}, video_id)
    stream = transport.open_stream(named)
    compared, ended = Comparison(), False
    try:
        for number, exchange, event in _answers(recording, stream, video_id, owner, timeout_s, at_recorded_times):
            ended = exchange.request.end
            _compare(compared, number, exchange, event)
            tell()
    finally:
        stream.close(cancel=True)
        if not ended:  # also where it was stopped; over a new stream, since late answers may come on the old one
            _end(transport.open_stream(named), video_id, owner, min(timeout_s, _END_S))
    return compared


def _answers(recording: Recording, stream: Stream, video_id: int, owner: str, timeout_s: float, paced: bool) -> Iterator[tuple[int, Exchange, Event]]:
    """What comes to each request, in order. Until the first answer nothing else is sent: it may be that the server takes no video."""
    waiting: deque[tuple[int, Exchange, str]] = deque()
    began, answered = time.monotonic(), False
    for number, exchange in enumerate(recording.exchanges):
        if exchange.answer is None and (not exchange.refusal or isinstance(from_server(exchange.refusal), _OF_THE_MOMENT)):
            continue
        while len(waiting) >= (_IN_FLIGHT if answered else 1):
            yield _received(stream, *waiting.popleft(), timeout_s)
            answered = True
        if paced:
            time.sleep(max(0.0, began + exchange.sent_s - time.monotonic()))
        request = _again(exchange.request, video_id, owner)
        stream.send(request)
        waiting.append((number, exchange, request.id))
    while waiting:
        yield _received(stream, *waiting.popleft(), timeout_s)


def _again(request: Request, video_id: int, owner: str) -> Request:
    return Request(video_id, request.start, request.end, dict(request.tensors), {**request.parameters, "owner": owner})


def _received(stream: Stream, number: int, exchange: Exchange, request_id: str, timeout_s: float) -> tuple[int, Exchange, Event]:
    try:
        event = stream.receive(timeout_s)
    except TimeoutError:
        raise ServerUnavailable(f"no answer to request {number} within {timeout_s:g} s. Wait for longer with timeout_s.") from None
    assert event is not None  # nobody wakes the stream
    if isinstance(event, Broken):
        raise VideoLost(f"the stream broke at request {number} of the recording: {event.text}")
    stream.advance()
    if event.id not in ("", request_id):
        raise VideoLost(f"the server gave the answer to another request at request {number} of the recording.")
    if exchange.request.start and exchange.answer is not None and not isinstance(event, Answer):
        raise from_server(event.text)  # it takes no video: nothing would be compared
    return number, exchange, event


def _end(stream: Stream, video_id: int, owner: str, timeout_s: float) -> None:
    """Frees the video, whatever the server says to that: else it does so by itself, after a while."""
    try:
        with suppress(MaskletError, TimeoutError):
            stream.send(Request(video_id, False, True, {"PROMPTS": bytes_tensor(b"[]")}, {**Options(masks="none", owner=owner).parameters()}))
            stream.receive(timeout_s)
    finally:
        stream.close(cancel=True)


def _compare(into: Comparison, number: int, exchange: Exchange, event: Event) -> None:
    into.answers += 1
    was, what = exchange.answer, f"request {number}"
    if was is not None and was.frame_index >= 0:
        what = f"frame {was.frame_index}"
    if isinstance(event, Answer) and was is not None:
        _compare_answers(into, number, was, answered(exchange.request, event))
    elif isinstance(event, Answer):
        into.differences.append(Difference(number, f"{what} was refused ({exchange.refusal.strip()}), and is answered now"))
    elif was is not None:
        into.differences.append(Difference(number, f"{what} was answered, and is refused now: {_text(event)}", was.frame_index))
    elif type(from_server(_text(event))) is not type(from_server(exchange.refusal)):
        into.differences.append(Difference(number, f"{what} was refused otherwise: {exchange.refusal.strip()}; now: {_text(event)}"))


def _text(event: Event) -> str:
    return "" if isinstance(event, Answer) else event.text.strip()


def _compare_answers(into: Comparison, number: int, was: RecordedAnswer, now: TrackedFrame) -> None:
    place, frame = f"frame {was.frame_index}", was.frame_index
    if now.frame_index != frame:
        into.differences.append(Difference(number, f"{place} is frame {now.frame_index} now", frame))
    for object_id in sorted({*was.object_ids} ^ {*now.object_ids}):
        text = "is missing now" if object_id in was.object_ids else "was not there"
        into.differences.append(Difference(number, f"{place}: object {object_id} {text}", frame, object_id))
    if was.object_ids == now.object_ids and len(was.object_ids):
        pairs = ((was.boxes, now.boxes), (was.scores, now.scores), (was.ious, now.ious))
        into.numbers = max(into.numbers, *(float(np.abs(one - other).max()) for one, other in pairs))
    if was.rles is None:
        return
    for object_id, recorded in zip(was.object_ids, was.rles, strict=True):
        if object_id in now.object_ids:
            _compare_masks(into, Difference(number, place, frame, object_id, None, recorded, now.rles[now.object_ids.index(object_id)]))


def _compare_masks(into: Comparison, pair: Difference) -> None:
    assert pair.recorded is not None
    assert pair.replayed is not None
    into.masks += 1
    if pair.recorded == pair.replayed:
        into.equal += 1
        return
    iou = _iou(pair.recorded, pair.replayed)
    into.lowest_iou = min(into.lowest_iou, iou)
    into.differences.append(replace(pair, iou=iou, text=f"{pair.text}, object {pair.object_id}: the mask has IoU {iou:.4f} with the recorded one"))


def _iou(recorded: Rle, replayed: Rle) -> float:
    if recorded["size"] != replayed["size"]:
        return 0.0
    one, other = rle.decode(recorded), rle.decode(replayed)
    union = int((one | other).sum())
    return int((one & other).sum()) / union if union else 1.0


def differing(identity: Mapping[str, object], server: Mapping[str, object]) -> list[str]:
    """How a server differs from the one that was recorded, in words; nothing where that is not known."""
    names = ("variant", "precision", "checkpoint_sha256", "version")
    return [f"{name} was {identity[name]}, is {server[name]}" for name in names if name in identity and identity[name] != server[name]]
