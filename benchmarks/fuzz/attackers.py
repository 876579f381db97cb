"""Threads that send hostile requests as fast as they are answered."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from benchmarks.fuzz.kinds.sequences import frame
from benchmarks.fuzz.messages import Content, Message, Raw, some_id, token
from benchmarks.fuzz.registry import INNER, Kind, Loot, World
from benchmarks.fuzz.stream import Stream
from benchmarks.fuzz.tally import BROKEN, GONE, SILENT, SUCCESS, Tally, code

ANSWER_S = 120.0  # longer than this nobody waits for one answer
_WINDOW = 8  # requests of an attacker that are on their way
_LIVE = 4  # videos of an attacker that it sends contents to
_USES = 10  # contents that one of these gets before it ends
_END = Content({"PROMPTS": b"[]"})

Shot = tuple[Kind, Message | None]


def shots(rng: random.Random, kinds: Sequence[Kind], world: World) -> Iterator[Shot]:
    """Kinds and their messages, without end; None stands for a client that vanishes.

    Each has random numbers of its own, so that what one makes of the server's answers does not change what comes after it.
    """
    videos: deque[list[int]] = deque()  # id and uses of the videos that live
    weights = [one.weight for one in kinds]
    for first in kinds:  # each once, so that a short run has them all
        yield from _of(rng, first, world, videos)
    while True:
        yield from _of(rng, rng.choices(kinds, weights)[0], world, videos)


def _of(numbers: random.Random, kind: Kind, world: World, videos: deque[list[int]]) -> Iterator[Shot]:
    rng = random.Random(numbers.getrandbits(64))
    if kind.form == "gone":
        yield kind, None
    elif kind.form == "script":
        yield from ((kind, message) for message in kind.make(rng, world))
    else:
        yield from ((kind, message) for message in _placed(rng, kind.make(rng, world), videos))


def _placed(rng: random.Random, content: Content, videos: deque[list[int]]) -> Iterator[Message]:
    """A content as a video of its own, as the first request of one, or in the middle of one that lives."""
    chance, name = rng.random(), some_id(rng)
    if chance < 0.4:
        yield content.message(name, start=True, end=True, token=token(rng))
    elif chance < 0.55:
        yield content.message(name, start=True, token=token(rng))
        yield _END.message(name, end=True, token=token(rng))
    else:
        if len(videos) < _LIVE:
            videos.append([name, 0])
            yield frame(rng).message(name, start=True, token=token(rng))
        video = rng.choice(videos)
        video[1] += 1
        yield content.message(video[0], token=token(rng))
        if video[1] >= _USES:
            videos.remove(video)
            yield _END.message(video[0], end=True, token=token(rng))


class Attacker(threading.Thread):
    """Sends until the tally has enough.

    url  says where the server is now; it may be started again elsewhere
    """

    def __init__(self, shots: Iterator[Shot], rng: random.Random, url: Callable[[], str], world: World, tally: Tally) -> None:
        super().__init__(daemon=True)
        self._shots, self._rng, self._url, self._world, self._tally = shots, rng, url, world, tally
        self._pending: deque[tuple[Kind, Message, float]] = deque()  # and when it was sent

    def run(self) -> None:
        """Stream after stream, where they break."""
        while not self._tally.stopping.is_set() and self._tally.sent < self._tally.wanted:
            try:
                with Stream(self._url()) as stream:
                    self._attack(stream)
            except ConnectionError as error:
                self._lost(BROKEN if "UNAVAILABLE" in str(error) or "ended" in str(error) else f"{BROKEN}: {str(error)[:80]}")
                time.sleep(0.5)
            except TimeoutError:
                kind, _, sent = self._pending.popleft()
                self._tally.came(kind.name, SILENT, time.monotonic() - sent)
                self._lost(BROKEN)

    def _attack(self, stream: Stream) -> None:
        while self._tally.take():
            kind, message = next(self._shots)
            if message is None:
                self._vanish(kind)
                continue
            self._world.tokens.append(message.id)
            stream.send(message)
            self._pending.append((kind, message, time.monotonic()))
            while len(self._pending) >= _WINDOW:
                self._hear(stream)
        while self._pending:
            self._hear(stream)

    def _vanish(self, kind: Kind) -> None:
        try:
            kind.make(self._rng, self._url())
            self._tally.came(kind.name, GONE)
        except Exception as error:  # a server that is not there, in whatever words
            self._tally.came(kind.name, f"{GONE}, {type(error).__name__}")

    def _hear(self, stream: Stream) -> None:
        answer = stream.receive(ANSWER_S)
        kind, message, sent = self._pending.popleft()
        what = code(answer.error_message) if answer.error_message else SUCCESS
        self._tally.came(kind.name, what, time.monotonic() - sent)
        if what == SUCCESS and message.model_name in INNER:
            video_id = message.parameters["sequence_id"].int64_param
            self._world.loot.append(Loot(message.model_name, outputs(answer.infer_response), video_id, message.id))

    def _lost(self, what: str) -> None:
        if self._pending:
            self._tally.broke([kind.name for kind, _, _ in self._pending])
        for kind, _, _ in self._pending:
            self._tally.came(kind.name, what)
        self._pending.clear()


def outputs(response: Any) -> dict[str, Raw]:
    """The tensors of an answer, as they came."""
    pairs = zip(response.outputs, response.raw_output_contents, strict=True)
    return {one.name: Raw(one.datatype, tuple(one.shape), data) for one, data in pairs}
