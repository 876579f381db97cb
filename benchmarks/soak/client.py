"""A process of clients: videos that come and go until its standard input closes. What becomes of them goes to standard output, an event a line.

python -m benchmarks.soak.client PLAN     # JSON of `Plan`
"""

from __future__ import annotations

import asyncio
import json
import pickle
import random
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.soak.play import Blocking, Part, Player, draw
from masklet import AsyncTracker

_PAUSE_S = 2.0  # at most, between two videos of a place


@dataclass(frozen=True)
class Plan:
    """What a process does.

    scripts    file with the pickled scripts
    way        "threads" or "asyncio"
    videos     at once
    resilient  the share of videos that survive their server
    """

    url: str
    scripts: str
    seed: str
    way: str
    videos: int
    fps: float
    resilient: float


class Client:
    """All videos of the process."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._scripts = pickle.loads(Path(plan.scripts).read_bytes())
        self._stopping = threading.Event()
        self._names, self._lock = count(), threading.Lock()
        threading.Thread(target=self._wait_for_the_end, daemon=True).start()

    def run(self) -> None:
        """Until standard input closes."""
        places = range(self._plan.videos)
        if self._plan.way == "threads":
            with ThreadPoolExecutor(len(places)) as pool:
                list(pool.map(self._in_thread, places))
        else:
            asyncio.run(self._in_loop())

    async def _in_loop(self) -> None:
        await asyncio.gather(*(self._place(place, AsyncTracker(self._plan.url)) for place in range(self._plan.videos)))

    def _in_thread(self, place: int) -> None:
        asyncio.run(self._place(place, Blocking(self._plan.url)))

    async def _place(self, place: int, tracker: Any) -> None:
        """Video after video."""
        chance = random.Random(f"{self._plan.seed} {place}")
        for part in self._parts(chance):
            await Player(tracker, part, self._plan.fps, self._stopping, self._say).play()
            await asyncio.sleep(chance.uniform(0, _PAUSE_S))

    def _parts(self, chance: random.Random) -> Iterator[Part]:
        while not self._stopping.is_set():
            yield draw(chance, next(self._names), self._scripts, self._plan.resilient)

    def _say(self, event: dict[str, Any]) -> None:
        with self._lock:
            print(json.dumps(event), flush=True)

    def _wait_for_the_end(self) -> None:
        sys.stdin.read()
        self._stopping.set()


if __name__ == "__main__":
    Client(Plan(**json.loads(sys.argv[1]))).run()
