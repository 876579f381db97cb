"""Keeps a server up: restarts it when Triton or the process of a python model ends, and when what is computed does not get on. Slow is not dead."""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass

from masklet.contract import TRACKER
from masklet.vitals import PATIENCE_S
from masklet_build.serve import log
from masklet_build.serve.errors import GaveUp, ServeError, Stopped
from masklet_build.serve.lookout import Lookout
from masklet_build.serve.processes import Bell, Processes
from masklet_build.serve.server import Server

_TRITON = "Triton"
_FIRST_S = 5.0  # so long "ready" waits for the first frame: clients then meet engines that have run; large networks take longer


@dataclass(frozen=True)
class Policy:
    """When to restart, when to give up.

    patience_s           for how long work may not get on; more, twenty times the longest so far, where work takes long
    restarts, within_s   more restarts than this within this time: give up
    longest_delay_s      pauses before restarts are 0, 1, 2, 4 ... seconds up to this
    """

    patience_s: float = PATIENCE_S
    restarts: int = 5
    within_s: float = 600.0
    longest_delay_s: float = 30.0


class Supervisor:
    """Runs one server in the foreground until asked to stop.

    say: takes one line for the person or log that watches.
    """

    def __init__(self, server: Server, *, policy: Policy | None = None, say: Callable[[str], None] = print) -> None:
        self._server = server
        self._policy = policy or Policy()
        self._say = say
        self._stopping = Bell()
        self._restarted: deque[float] = deque()
        self._lost: tuple[float, str] | None = None  # when it was found that the server has to be restarted, and why; until it is ready again
        self.trackers = sorted(path.parent.name for path in server.repository.glob(f"{TRACKER.name}*/config.pbtxt"))

    def stop(self) -> None:
        """Asks `run` to return; may be called from a signal handler or another thread."""
        self._stopping.set()

    def stopped_by_signals(self) -> AbstractContextManager[None]:
        """Meanwhile every signal that has a handler asks `run` to return. Call it in the main thread."""
        return self._stopping.rung_by_signals()

    def run(self) -> None:
        """Starts the server and returns after `stop`. Raises ServeError if the first start fails, GaveUp if restarts do not help."""
        with Processes({os.getpid(): ""}):
            pass  # this machine has what it takes to watch processes: to be known before models are loaded for minutes
        try:
            self._server.start(self._stopping)
            while True:
                self._restart(self._watch())
        except Stopped:
            self._say("stopping: waiting for frames in flight")
        finally:
            self._server.stop()

    def _say_ready(self) -> None:
        server, again = self._server, " again" if self._lost else ""
        self._say(f"ready{again}: gRPC {server.grpc_url}, HTTP {server.http_url}, metrics {server.metrics_url} (process {server.pid})")
        if self._lost:
            found, reason = self._lost
            self._say(f"ready again {time.monotonic() - found:.1f} s after this was found: {reason}")
        self._lost = None

    def _watch(self) -> str:
        """Returns why the server must be restarted, once it must. Raises Stopped."""
        server = self._server
        lookout = Lookout(server.grpc_url, server.metrics_url, self.trackers, self._policy.patience_s, self._say)
        with closing(lookout), Processes({server.pid: _TRITON} | server.stubs()) as processes:
            ended = processes.wait(self._stopping, lookout.bell, lookout.measured, timeout_s=_FIRST_S)
            if not (ended or lookout.dead or self._stopping.wait(0)):
                self._say_ready()
                ended = processes.wait(self._stopping, lookout.bell)
        if self._stopping.wait(0):
            raise Stopped
        return self._ended(ended) if ended else lookout.dead

    def _ended(self, names: list[str]) -> str:
        """What is known of the end of these processes."""
        if _TRITON in names:
            code = self._server.returncode() or 0
            return f"Triton was ended by {signal.Signals(-code).name}" if code < 0 else f"Triton ended with exit code {code}"
        said = log.last_words(self._server.log_path, names)
        return f"the process of {', '.join(names)} died" + (f" ({said})" if said else "")

    def _restart(self, reason: str) -> None:
        """Restarts, again and again if need be. Raises GaveUp beyond the limit."""
        self._lost = self._lost or (time.monotonic(), reason)
        while True:
            self._server.stop(graceful=False)
            delay = self._next_delay(reason)
            self._say(f"restarting{f' in {delay:g} s' if delay else ''}, live videos are lost (their clients have to open new ones): {reason}")
            if self._stopping.wait(delay):
                raise Stopped
            try:
                self._server.start(self._stopping)
            except ServeError as error:
                reason = str(error)
            else:
                return

    def _next_delay(self, reason: str) -> float:
        policy, now = self._policy, time.monotonic()
        while self._restarted and now - self._restarted[0] > policy.within_s:
            self._restarted.popleft()
        before = len(self._restarted)
        if before >= policy.restarts:
            tried = f"after {before} restarts within {policy.within_s / 60:g} minutes" if policy.restarts else "at once, since no restart is wanted"
            raise GaveUp(f"gave up {tried}. Last reason: {reason}. Triton's log says what happened before it.")
        self._restarted.append(now)
        return min(2.0 ** (before - 1), policy.longest_delay_s) if before else 0.0
