"""Keeps a server up: restarts it when Triton ends, when the process of a python model ends, and when it stops answering."""

from __future__ import annotations

import itertools
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from masklet.contract import TRACKER
from masklet.health import Finding, Health, probe
from masklet_build.serve.errors import GaveUp, ServeError, Stopped
from masklet_build.serve.server import Server


@dataclass(frozen=True)
class Policy:
    """When to look, when to doubt, when to give up.

    probe_every_s     pause between probes; each costs what two frames with one object cost
    probe_deadline_s  how long an answer may take
    doubts            doubtful probes in a row that count as dead: an overloaded server is slow too, and a restart loses its videos
    restarts, within_s   more restarts than this within this time: give up
    longest_delay_s   pauses before restarts are 0, 1, 2, 4 ... seconds up to this
    """

    probe_every_s: float = 10.0
    probe_deadline_s: float = 20.0
    doubts: int = 3
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
        self._stopping = threading.Event()
        self._restarted: deque[float] = deque()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="probe")  # never waited for: a probe under way ends with its server
        self.trackers = sorted(path.parent.name for path in server.repository.glob(f"{TRACKER.name}*/config.pbtxt"))

    def stop(self) -> None:
        """Asks `run` to return; may be called from a signal handler or another thread."""
        self._stopping.set()

    def run(self) -> None:
        """Starts the server and returns after `stop`. Raises ServeError if the first start fails, GaveUp if restarts do not help."""
        try:
            self._server.start(self._stopping)
            self._say_ready("ready")
            while True:
                self._restart(self._watch())
        except Stopped:
            self._say("stopping: waiting for frames in flight")
        finally:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._server.stop()

    def _say_ready(self, what: str) -> None:
        server = self._server
        self._say(f"{what}: gRPC {server.grpc_url}, HTTP {server.http_url}, metrics {server.metrics_url} (process {server.pid})")

    def _watch(self) -> str:
        """Returns why the server must be restarted, once it must. Raises Stopped."""
        stubs = self._server.stubs()
        policy, doubts, due = self._policy, 0, time.monotonic() + self._policy.probe_every_s
        asked: Future[Finding] | None = None
        trackers, model = itertools.cycle(self.trackers), ""
        while not self._stopping.wait(0.5):
            reason = self._ended(stubs)
            if reason:
                return reason
            if asked is None and self.trackers and time.monotonic() >= due:
                model = next(trackers)  # one after the other, where there are several
                asked = self._pool.submit(probe, self._server.grpc_url, policy.probe_deadline_s, model)
            if asked and asked.done():
                finding, asked, due = asked.result(), None, time.monotonic() + policy.probe_every_s
                doubts = doubts + 1 if finding.health is Health.DOUBTFUL else 0
                if finding.health is Health.DEAD or doubts >= policy.doubts:
                    return f"model {model} does not answer a probe ({finding.text})"
        raise Stopped

    def _ended(self, stubs: dict[int, str]) -> str | None:
        """Which process ended. Looking at the stubs finds a dead memory_attention too, which a probe of one frame does not reach."""
        code = self._server.returncode()
        if code is not None:
            return f"Triton was ended by {signal.Signals(-code).name}" if code < 0 else f"Triton ended with exit code {code}"
        gone = [name for pid, name in stubs.items() if pid not in self._server.stubs()]
        return f"the process of {', '.join(gone)} died" if gone else None

    def _restart(self, reason: str) -> None:
        """Restarts, again and again if need be. Raises GaveUp beyond the limit."""
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
                self._say_ready("ready again")
                return

    def _next_delay(self, reason: str) -> float:
        policy, now = self._policy, time.monotonic()
        while self._restarted and now - self._restarted[0] > policy.within_s:
            self._restarted.popleft()
        before = len(self._restarted)
        if before >= policy.restarts:
            raise GaveUp(
                f"gave up after {before} restarts within {policy.within_s / 60:g} minutes. Last reason: {reason}. "
                "Triton's log says what happened before it."
            )
        self._restarted.append(now)
        return min(2.0 ** (before - 1), policy.longest_delay_s) if before else 0.0
