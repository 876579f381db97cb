"""Whether refused requests change nothing: two videos get the same good requests, one of them hostile ones too, and their answers are compared."""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.fuzz.attackers import ANSWER_S, outputs
from benchmarks.fuzz.kinds.walks import step
from benchmarks.fuzz.messages import Content, Raw, some_id, token
from benchmarks.fuzz.registry import Kind, World
from benchmarks.fuzz.stream import Stream
from benchmarks.fuzz.tally import SUCCESS, Tally, code

_ROUNDS = 6
_PAUSE_S = 0.5  # after each round: they are a sample, and their good requests cost more than hostile ones
_ID = re.compile(r" \[request \w+\]$")
_OWN_WORDS = ("TIMING", "TOKEN")  # outputs that differ between requests by their nature
NAME = "twins"

Answer = dict[str, Raw] | str


def _words(text: str) -> str:
    """An error text without what Triton puts in front of it and the id of the request behind it."""
    return _ID.sub("", text[text.index("MASKLET_") :]) if "MASKLET_" in text else code(text)


class Twins(threading.Thread):
    """Pairs of videos until the tally has enough. `refused`: hostile requests that were refused; `compared`: answers after them."""

    def __init__(self, kinds: Sequence[Kind], rng: random.Random, url: Callable[[], str], world: World, tally: Tally) -> None:
        super().__init__(daemon=True)
        self.refused = self.compared = 0
        self.differences: list[str] = []
        self._kinds = [kind for kind in kinds if kind.form == "content"]
        self._rng, self._url, self._world, self._tally = rng, url, world, tally

    def run(self) -> None:
        """Pair after pair."""
        while self._tally.sent < self._tally.wanted and not self._tally.stopping.is_set():
            try:
                with Stream(self._url()) as stream:
                    while self._pair(stream):
                        pass
            except (ConnectionError, TimeoutError):
                time.sleep(0.5)

    def _pair(self, stream: Stream) -> bool:
        """One pair of videos. Whether there is more to send."""
        rng, since = self._rng, ["the beginning"]
        one, other = some_id(rng), some_id(rng)
        for index in range(_ROUNDS):
            for _ in range(rng.randint(0, 3) if index and self._kinds else 0):
                kind = rng.choice(self._kinds)
                content = kind.make(rng, self._world)
                start = kind.family == "states" and rng.random() < 0.5  # a damaged snapshot on one's own live id
                answer = self._ask(stream, content, one, start=start)
                if isinstance(answer, str):
                    self.refused += 1
                    since.append(f"{kind.name} ({code(answer)})")
                else:
                    self.compare(answer, self._ask(stream, content, other, start=start), since)
            content = step(rng, index)
            answers = [self._ask(stream, content, name, start=not index) for name in (one, other)]
            if self.compare(*answers, since):
                since.clear()
            self._tally.stopping.wait(_PAUSE_S)
        for name in (one, other):
            self._ask(stream, Content({"PROMPTS": b"[]"}), name, end=True)
        return self._tally.sent < self._tally.wanted and not self._tally.stopping.is_set()

    def compare(self, one: Answer, other: Answer, since: list[str]) -> bool:
        """Whether both got the same. since: what only one of them was sent, since they were last equal."""
        self.compared += 1
        if one == other or "MASKLET_SERVER_BUSY" in f"{one}{other}":
            return True
        what = (
            [name for name in one if one[name] != other.get(name)]
            if isinstance(one, dict) and isinstance(other, dict)
            else [str(one)[:200], str(other)[:200]]
        )
        self.differences.append(f"after {', '.join(since[-4:]) or 'nothing'}: {' | '.join(what)}")
        return False

    def _ask(self, stream: Stream, content: Content, video_id: int, **flags: Any) -> Answer:
        begin = time.monotonic()
        stream.send(content.message(video_id, token=token(self._rng), **flags))
        answer = stream.receive(ANSWER_S)
        self._tally.came(NAME, code(answer.error_message) if answer.error_message else SUCCESS, time.monotonic() - begin)
        if answer.error_message:
            return _words(answer.error_message)
        return {name: raw for name, raw in outputs(answer.infer_response).items() if name not in _OWN_WORDS}
