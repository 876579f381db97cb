"""What every python model of the server does beside its work, so that a request gets its own answer or an error.

Triton gives up on a process that it has not heard of for a second (python_backend, stub_launcher.cc, ReceiveMessageFromStub) and answers its requests
with an error. When the process goes on, its late answer is taken for that of the next requests, and so on from answer to answer. Therefore

* every envelope names its request, and each stage compares it with the request that Triton gave it together with that envelope;
* a process that sees itself stopped while it had work ends; so does one that was stopped and whose answer reached another request.

What a client can send ends nothing: an unsigned envelope is refused, one that was signed for another request costs that request only, unless the
process that signed it had just been stopped.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masklet import heap
from masklet.envelope import MAX_BYTES, Envelope, Sender, server_key, sign, verify
from masklet.errors import BadRequest, ServerFault

STOPPED_S = 0.7  # below the second after which Triton gives up
SUSPECT_S = 2.0  # for so long after a stop an answer may be a late one
BEAT_S = 1.0  # between two signs of life
_TICK_S = 0.1
_COUNTER_S = 0.5  # what counting may take in a process that ends

ANOTHER = "answered another request"  # what a stage that gets another request's envelope says of the one before it

STOPS = ("masklet_stops_total", "Times that a python model saw itself stopped for over 0.7 s, as when its machine is paused")
MISMATCHES = ("masklet_mismatches_total", "Requests that came with what a stage before had made of another request; answered with an error")
BEATS = ("masklet_beats_total", "Grows by one a second while the process of a python model lives")
WORK = ("masklet_work_seconds", "For how long an execution has not got on: since it began, or since an engine in it answered; 0: none is under way")
LONGEST_WORK = ("masklet_longest_work_seconds", "The longest time that an execution, or an engine in it, took in this process")
METRICS = {STOPS: "COUNTER", MISMATCHES: "COUNTER", BEATS: "COUNTER", WORK: "GAUGE", LONGEST_WORK: "GAUGE"}  # labelled `stage`, by instance


class Stage:
    """One python model.

    name    for people: the name of its instance
    count   is told (STOPS or MISMATCHES) whenever it happens
    beat    is told WORK and LONGEST_WORK once a second, by a thread of its own: to tell Triton takes 20 to 50 microseconds, and no frame waits for it
    end     ends the process; given by tests
    """

    def __init__(
        self,
        name: str,
        count: Callable[[tuple[str, str]], None],
        beat: Callable[[float, float], None] | None = None,
        end: Callable[[], None] | None = None,
    ) -> None:
        self.name = name
        self._key = server_key()
        self._count = count
        self._end = end or (lambda: os._exit(1))
        self._worker: int | None = None  # the thread that is in `working`
        self._last_tick = time.monotonic()
        self._worker_cpu = 0.0  # seconds that this thread had used at the last tick
        self._stop = (0.0, 0.0)  # begin and end of the last one
        self._said = -math.inf  # when a mismatch was logged last
        self._lock = threading.Lock()
        self._since: float | None = None  # when the execution under way last got on
        self._longest = 0.0
        self._closing = threading.Event()
        self._watch = threading.Thread(target=self._run, name="watch", daemon=True)
        self._watch.start()
        self._heart = threading.Thread(target=self._beat, args=(beat,), name="beat", daemon=True)
        if beat:
            self._heart.start()

    def close(self) -> None:
        """Watch and beats end."""
        self._closing.set()
        self._watch.join()
        if self._heart.ident:
            self._heart.join(_COUNTER_S)  # Triton may not be listening any more

    @contextmanager
    def working(self) -> Iterator[None]:
        """Around `execute`: if the process is stopped meanwhile, it ends, before an answer can leave it."""
        self._tick()  # a stop before the work is not one during it
        with self._lock:
            self._worker, self._worker_cpu = threading.get_ident(), time.thread_time()
        self._since = time.monotonic()
        try:
            yield
        finally:
            self._tick()
            self._worker = None
            self.got_on()
            self._since = None

    def got_on(self) -> None:
        """Within `working`: an engine has answered. So what counts as long does not depend on how many requests came together."""
        now = time.monotonic()
        self._longest = max(self._longest, now - (self._since or now))
        self._since = now

    def receive(self, data: NDArray[np.uint8], token: str, video: int | str) -> Envelope:
        """The envelope in ENVELOPE, without batch dimension, once it is known to be of the request `token` of `video`, which Triton says.

        Raises BadRequest if no stage of this server signed it, ServerFault if it is of another request.
        """
        if data.ndim != 1 or data.nbytes > MAX_BYTES:
            raise BadRequest(f"ENVELOPE has the shape {list(data.shape)}; at most {MAX_BYTES} bytes are read. Send requests to the model `tracker`.")
        envelope, sender = verify(data.tobytes(), self._key)
        if (envelope.token, envelope.video) != (token, video):
            self._mismatch(sender, envelope, token, video)
        now = time.monotonic()
        if sender.sent < self._stop[1] and now - sender.sent > STOPPED_S and now - self._stop[1] < SUSPECT_S:
            self._say("a request had been on its way when this process was stopped; Triton may have given it up")
            self._end()
        return envelope

    def send(self, envelope: Envelope) -> NDArray[np.uint8]:
        """ENVELOPE for the next stage, without batch dimension."""
        now = time.monotonic()
        data = sign(envelope, Sender(self.name, os.getpid(), now - self._stop[1] < SUSPECT_S, now), self._key)
        return np.frombuffer(data, np.uint8)

    def _mismatch(self, sender: Sender, envelope: Envelope, token: str, video: int | str) -> None:
        self._count(MISMATCHES)
        if time.monotonic() - self._said > 1:  # whoever calls this model by its name can bring as many as they like
            self._said = time.monotonic()
            self._say(f"request {token!r} of {video!r} came with what {sender.stage} made of request {envelope.token!r} of {envelope.video!r}")
        if sender.stopped and _parent(sender.pid) == os.getppid():
            self._say(f"{sender.stage} was stopped a short while ago and is out of step with Triton: its process {sender.pid} is ended")
            with suppress(ProcessLookupError):
                os.kill(sender.pid, signal.SIGKILL)
        raise ServerFault(f"{sender.stage} {ANOTHER}. This one changed nothing; send it again.")

    def _beat(self, tell: Callable[[float, float], None]) -> None:
        while not self._closing.wait(BEAT_S):
            since = self._since
            tell(0.0 if since is None else time.monotonic() - since, self._longest)

    def _run(self) -> None:
        while not self._closing.wait(_TICK_S):
            self._tick()

    def _tick(self) -> None:
        """Looks how long ago the last look was. Time in which the working thread used a CPU is not a stop: native code may hold Python's lock.

        Whoever looks next waits until what was seen is dealt with, so that no answer leaves while the watch ends the process.
        """
        with self._lock:
            worker, began, used = self._worker, self._last_tick, self._worker_cpu
            self._last_tick = now = time.monotonic()
            if worker is not None:
                self._worker_cpu = time.clock_gettime(time.pthread_getcpuclockid(worker))
            idle = now - began - (self._worker_cpu - used)
            if idle > STOPPED_S:
                self._stop = (began, now)
                self._say(f"stopped for {idle:.1f} s" + ("" if worker is None else " while it had work; it ends, since Triton may have given it up"))
                self._tell(STOPS)
                if worker is not None:
                    self._end()

    def _tell(self, counter: tuple[str, str]) -> None:
        """Counts by a thread: it is a message to Triton, which may not be listening any more."""
        thread = threading.Thread(target=self._count, args=(counter,), daemon=True)
        thread.start()
        thread.join(_COUNTER_S)

    def _say(self, text: str) -> None:
        print(f"masklet {self.name}: {text}", file=sys.stderr, flush=True)  # Triton's log; its own way there is through Triton


def triton_stage(pb_utils: Any, arguments: dict[str, str], system_blocks: int = heap.MIB) -> Stage:
    """The stage of a python model of Triton, given its utilities and the arguments of `initialize`. Its metrics are in /metrics, by its name.

    system_blocks: bytes from which a block of memory is the system's own, see `heap`.
    """
    name = arguments["model_instance_name"]
    heap.system_blocks(system_blocks)
    try:
        told = _Told(pb_utils, name)
    except Exception as error:
        pb_utils.Logger.log_warn(f"{name} gives no sign of life, and counts neither stops nor mismatches: {type(error).__name__}: {error}")
        return Stage(name, lambda counter: None)
    return Stage(name, told.count, told.beat)


class _Told:
    """The metrics of one stage in Triton."""

    def __init__(self, pb_utils: Any, name: str) -> None:
        kinds = pb_utils.MetricFamily
        made = {metric: kinds(name=metric[0], description=metric[1], kind=getattr(kinds, kind)) for metric, kind in METRICS.items()}
        self._families = made  # a family lives while it is held
        self._series = {metric: family.Metric(labels={"stage": name}) for metric, family in made.items()}
        self._before: dict[tuple[str, str], float] = {}

    def count(self, counter: tuple[str, str]) -> None:
        self._series[counter].increment(1)

    def beat(self, work: float, longest: float) -> None:
        """The beat comes last, so that whoever sees it grow reads what belongs to it."""
        with suppress(Exception):  # Triton ends; else the silence is seen
            for gauge, value in ((WORK, work), (LONGEST_WORK, longest)):
                if value != self._before.get(gauge, 0.0):
                    self._series[gauge].set(value)
                    self._before[gauge] = value
            self._series[BEATS].increment(1)


def _parent(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None
