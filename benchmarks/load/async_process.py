"""The process of `async_cameras`, as locust's side sees it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict

import gevent
from gevent.event import Event

from benchmarks import ROOT
from benchmarks.load.mix import Mix
from benchmarks.load.schedule import Batch


class AsyncCameras:
    """See `GeventCameras`, whose methods these are."""

    def __init__(self, url: str, mix: Mix, worker: int, tell: Callable[[Batch], None]) -> None:
        settings = json.dumps({"url": url, "mix": asdict(mix), "worker": worker})
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.load.async_cameras", settings],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._orders, self._answers = self._process.stdin, self._process.stdout
        if self._answers.readline() != "ready\n":
            raise RuntimeError(f"the process of the cameras ended with exit code {self._process.wait()}; its error is above.")
        self._teller = gevent.spawn(self._tell, tell)

    def run(self, slot: int) -> None:
        """See `GeventCameras.run`; the END is told by a later batch."""
        self._order(f"on {slot}")
        try:
            Event().wait()
        finally:
            self._order(f"off {slot}")

    def stop(self) -> None:
        """Returns when every END is answered."""
        self._orders.close()
        self._process.wait()
        self._teller.join()

    def _order(self, order: str) -> None:
        if not self._orders.closed:  # else all are off already: locust was told to quit while cameras ran
            self._orders.write(f"{order}\n")
            self._orders.flush()

    def _tell(self, tell: Callable[[Batch], None]) -> None:
        for line in self._answers:
            tell(Batch.read(json.loads(line)))
