"""A process with a Stage, as a python model of Triton is one: it does what lines of JSON on stdin say, and answers each with a line on stdout.

Around every command but `idle` it is at work, as in `execute`. An answer is written after the work, as Triton gets it. With the argument `stays` it
counts where it would have ended; with `unwatched` nobody looks but its work itself, as when that is faster than the watch.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import numpy as np

import masklet.stage
from masklet.envelope import Envelope, Sender, server_key, sign
from masklet.errors import MaskletError
from masklet.stage import STOPS, Stage

_STUBBORN_S = 1.2  # over the limit for a stop
masklet.stage.SUSPECT_S = 3600  # a test may be slow to send what is late


class Child:
    """The commands."""

    def __init__(self) -> None:
        self.counted: list[str] = []
        self.stage = Stage("child", self._count, end=(lambda: self.counted.append("ended")) if "stays" in sys.argv else None)
        if "unwatched" in sys.argv:
            self.stage.close()
        self.exponent = 500_000

    def send(self, token: str, video: int | str) -> str:
        """An envelope, signed by the stage."""
        return self.stage.send(Envelope(token, video)).tobytes().decode()

    def forge(self, token: str, video: int | str, pid: int, stopped: bool) -> str:
        """One in the name of another process of this server."""
        return sign(Envelope(token, video), Sender("other", pid, stopped, time.monotonic()), server_key()).decode()

    def receive(self, data: str, token: str, video: int | str, times: int = 1) -> str:
        """What becomes of an envelope that comes with this request."""
        for _ in range(times):
            try:
                outcome = self.stage.receive(np.frombuffer(data.encode(), np.uint8), token, video).token
            except MaskletError as error:
                outcome = error.code
        return outcome

    def wait(self) -> str:
        """Work that takes until the next line comes."""
        print('"begun"', flush=True)
        return json.loads(sys.stdin.readline())

    def hold(self) -> tuple[float, float]:
        """One call of native code that gives the lock of the interpreter to nobody; seconds of a CPU, and those in which it waited for one."""
        begin, used = time.monotonic(), time.thread_time()
        pow(3, self.exponent)
        used = time.thread_time() - used
        return used, time.monotonic() - begin - used

    def _count(self, counter: tuple[str, str]) -> None:
        if counter == STOPS:
            time.sleep(0.2)  # as the message to Triton may take; no answer leaves meanwhile
        self.counted.append(counter[0])
        print(f"counted {counter[0]}", file=sys.stderr, flush=True)

    def prepare_to_hold(self) -> bool:
        """Finds a power that takes long enough."""
        while self.hold()[0] < _STUBBORN_S:
            self.exponent *= 2
        return True


def main() -> None:
    """Until stdin ends."""
    child = Child()
    for line in iter(sys.stdin.readline, ""):
        name, given = json.loads(line)
        answer: Any
        if name == "idle":
            answer = child.counted
        else:
            with child.stage.working():
                answer = getattr(child, name)(**given)
        print(json.dumps(answer), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
