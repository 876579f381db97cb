"""Live cameras against a masklet server. A user of locust is a camera; `benchmarks/README.md` says how to run this and how to read what comes out.

    python -m locust -f benchmarks/locustfile.py --headless --host localhost:8001              # searches how many videos the server carries
    python -m locust -f benchmarks/locustfile.py --headless --host localhost:8001 --videos 8   # measures at 8 videos

Start it from the root of the repository, where `benchmarks` can be imported.

A camera opens a stream, sends START with its prompts, then its frames when they are due, whether or not the ones before are answered, then END, and
begins the next video. Latency counts from when a frame was due.

Two clients: `stream` is `masklet.Tracker` under gevent in this process; `async` is `masklet.AsyncTracker` in a process of its own beside it, since
gevent and gRPC's asyncio cannot share one. Both are judged and reported alike.

Exit code: 0 all runs within the objective, 1 not, 3 void: no result, because the generator itself was late or did not work.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import gevent
import grpc.experimental.gevent
from locust import LoadTestShape, User, events, task
from locust.runners import MasterRunner, WorkerRunner

from benchmarks.load import results
from benchmarks.load.async_process import AsyncCameras
from benchmarks.load.figures import ENOUGH, Limits
from benchmarks.load.gevent_cameras import GeventCameras
from benchmarks.load.mix import Mix
from benchmarks.load.plan import Plan, Search
from benchmarks.load.schedule import Batch
from benchmarks.load.trials import Book, Times, Trials
from masklet_build.quality import provenance

CLIENTS = {"stream": GeventCameras, "async": AsyncCameras}
RAMP_S = 2.0  # for switching all cameras on
BOOK = Book()  # of the process that judges: the master, or the only one
FACTS: dict[str, Any] = {}  # where it ran
SHOWN = ("client", "sizes", "fps", "objects", "lifetime_s", "corrected", "objective_ms", "lag_ms", "warmup_s", "window_s", "longest_s")


def say(line: str) -> None:
    print(f"cameras: {line}", flush=True)


@events.init_command_line_parser.add_listener
def add_arguments(parser: Any) -> None:
    """Lists stay text, since locust sends options from the master to its workers."""
    group = parser.add_argument_group("cameras")
    group.add_argument("--client", choices=sorted(CLIENTS), default="stream", help="masklet.Tracker or AsyncTracker (default: %(default)s)")
    group.add_argument("--sizes", default="640x360,1280x720", help="in pixels; what is listed twice is drawn twice as often (default: %(default)s)")
    group.add_argument("--fps", default="5", help="of the cameras, a list (default: %(default)s)")
    group.add_argument("--objects", default="1,2", help="prompted in a video, a list (default: %(default)s)")
    group.add_argument("--lifetime-s", default="10-40", help="shortest and longest video in seconds (default: %(default)s)")
    group.add_argument("--corrected", type=float, default=0.25, help="share of the videos with a click half way (default: %(default)s)")
    group.add_argument("--videos", type=int, default=0, help="measure at so many live videos; 0: search how many are possible (default: %(default)s)")
    group.add_argument("--most", type=int, default=256, help="live videos that the search tries (default: %(default)s)")
    group.add_argument("--objective-ms", type=float, default=200.0, help="for p99 from due to answered (default: %(default)g)")
    group.add_argument("--lag-ms", type=float, default=10.0, help="p99 of the generator's own lag; above, a window is void (default: %(default)g)")
    group.add_argument("--warmup-s", type=float, default=10.0, help="of every level, not measured (default: %(default)g)")
    group.add_argument("--window-s", type=float, default=20.0, help="of every level, measured (default: %(default)g)")
    said = f"of a run at the end, which lasts until {ENOUGH} frames were due, for the sake of its p99 (default: %(default)g)"
    group.add_argument("--longest-s", type=float, default=240.0, help=said)
    group.add_argument("--runs", type=int, default=3, help="measured one after the other at the end (default: %(default)s)")
    group.add_argument("--results", default="results", metavar="DIR", help="for load.json and load.md (default: %(default)s)")


@events.init.add_listener
def set_up(environment: Any, runner: Any, **_: Any) -> None:
    """In every process, after locust has forked its workers: gRPC must not be running when that happens."""
    options = environment.parsed_options
    try:
        mix = Mix.parse(options.sizes, options.fps, options.objects, options.lifetime_s, options.corrected)
    except ValueError as error:
        sys.exit(f"cameras: {error}")
    if not isinstance(runner, WorkerRunner):
        FACTS.update(generator=provenance.machine_facts(), commit=provenance.commit())  # now, since it forks
    if isinstance(runner, MasterRunner):
        runner.register_message("cameras", lambda environment, msg, **_: BOOK.add(msg.node_id, Batch.read(msg.data)))
        return
    if options.client == "stream":
        grpc.experimental.gevent.init_gevent()  # else the first answer is waited for with the whole process, for ever
    Camera.generator = Generator(environment, mix)
    events.quitting.add_listener(lambda **_: Camera.generator.cameras.stop())


class Generator:
    """The cameras of this process."""

    def __init__(self, environment: Any, mix: Mix) -> None:
        self._environment = environment
        self._taken: set[int] = set()
        self.cameras = CLIENTS[environment.parsed_options.client](environment.host, mix, environment.runner.worker_index, self._tell)

    def run(self) -> None:
        """Runs the camera with the lowest number that is free, so that n cameras are always the same n."""
        slot = next(number for number in range(len(self._taken) + 1) if number not in self._taken)
        self._taken.add(slot)
        try:
            self.cameras.run(slot)
        finally:
            self._taken.remove(slot)

    def _tell(self, batch: Batch) -> None:
        """Tells the process that judges, and locust for its own pages."""
        if isinstance(self._environment.runner, WorkerRunner):
            self._environment.runner.send_message("cameras", batch.plain())
        else:
            BOOK.add("here", batch)
        for sample in batch.samples:
            error = RuntimeError(sample.error) if sample.error else None
            self._fire(sample.kind, "from due to answered", sample.latency_ms, error)
            if sample.kind == "frame":
                self._fire("frame", "from sent to answered", sample.service_ms, error)
                self._fire("generator", "lag", sample.lag_ms, None)
            gevent.sleep(0)  # frames that are due meanwhile come first

    def _fire(self, kind: str, name: str, milliseconds: float | None, error: Exception | None) -> None:
        request = {"request_type": kind, "name": name, "response_time": milliseconds or 0.0, "response_length": 0}
        self._environment.events.request.fire(**request, exception=error, context={})


class Camera(User):
    """One camera, until it is switched off."""

    generator: Generator

    @task
    def film(self) -> None:
        """One video after the other."""
        self.generator.run()


class Course(LoadTestShape):
    """Searches the largest number of live videos within the objective, then measures at 80 % of it; or measures at `--videos`."""

    trials: Trials | None = None

    def tick(self) -> tuple[int, float] | None:
        """How many cameras shall run now, and how many a second may be switched; None: the end."""
        runner, options = self.runner, self.runner.environment.parsed_options
        if self.trials is None:
            plan = Plan(options.runs, options.videos or None, Search(options.most))
            times = Times(options.warmup_s, options.window_s, options.longest_s)
            self.trials = Trials(plan, Limits(options.objective_ms, options.lag_ms), times, BOOK, say)
        sources = {client.id for client in runner.clients.all if client.state != "missing"} if isinstance(runner, MasterRunner) else {"here"}
        wanted = self.trials.tick(time.time(), runner.user_count, sources)
        if wanted is None:
            runner.environment.process_exit_code = report(self.trials, options)
            self.trials = None
            return None
        if wanted == 0 and self.trials.measures_next:
            runner.stats.reset_all()  # locust's own tables and pictures are to show the runs, not the search with its overload
        return wanted, wanted / RAMP_S or 100.0


def report(trials: Trials, options: Any) -> int:
    """Writes the results. Returns the exit code."""
    made = results.content(trials, {name: getattr(options, name) for name in SHOWN})
    results.write(Path(options.results), made | {"facts": FACTS})
    say(f"written: {options.results}/load.json, {options.results}/load.md")
    return 3 if trials.gave_up else 0 if made["passed"] else 1
