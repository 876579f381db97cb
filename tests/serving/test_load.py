"""The load test against real servers: what it counts, that nothing slow escapes it, and what it refuses to count."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from masklet import families
from masklet_build import nano
from masklet_build.repository.assemble import assemble
from masklet_build.serve import Server
from masklet_build.serve.cleanup import live_processes

pytestmark = [pytest.mark.server, pytest.mark.slow]  # the tool that measures; servers under load are in test_many_videos.py

ROOT = Path(__file__).resolve().parents[2]
FPS, VIDEOS, WINDOW_S, PAUSE_S = 5, 2, 8, 1.5  # so little that one CPU is enough, and what was held up is soon made up for
LIGHT = [
    "--sizes",
    "128x96",
    "--objects",
    "1",
    "--fps",
    str(FPS),
    "--videos",
    str(VIDEOS),
    "--runs",
    "1",
    "--warmup-s",
    "2",
    "--window-s",
    str(WINDOW_S),
    "--longest-s",
    str(WINDOW_S),
]
LENIENT = ["--objective-ms", "5000", "--lag-ms", "1000"]  # a busy machine may be slow here, only wrong it may not be


@pytest.fixture(scope="module")
def server(serving_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    repository = assemble(families.NANO.name, nano.ENGINES, tmp_path_factory.mktemp("nano") / "repository")
    with Server(repository, python=serving_python, grpc_port=0, http_port=0, metrics_port=0, exit_timeout_s=1) as server:
        yield server


def results(folder: Path) -> dict:
    return json.loads((folder / "load.json").read_text())


@contextmanager
def stopped(process: subprocess.Popen) -> Iterator[None]:
    """A process and its children that do nothing; they go on whatever happens."""
    pids = live_processes(process.pid)
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


class Valve:
    """A way to a server that can be shut for a while: then it takes what is sent, and passes nothing on. `url`: of this end."""

    def __init__(self, url: str) -> None:
        self._server, self._loop, self._open = url.split(":"), asyncio.new_event_loop(), asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._listening = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._connect, "127.0.0.1", 0), self._loop).result()
        self.url = f"127.0.0.1:{self._listening.sockets[0].getsockname()[1]}"
        self.turn(open=True)

    def turn(self, *, open: bool) -> None:
        self._loop.call_soon_threadsafe(self._open.set if open else self._open.clear)

    def close(self) -> None:
        async def cancel() -> None:
            self._listening.close()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(cancel(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection(*self._server)
        await asyncio.gather(self._pass_on(reader, to_server), self._pass_on(from_server, writer))

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            await self._open.wait()
            writer.write(data)
        writer.close()


@pytest.fixture
def valve(server: Server) -> Iterator[Valve]:
    valve = Valve(server.grpc_url)
    yield valve
    valve.close()


@contextmanager
def cameras(url: str, folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen, list[str]]]:
    """Locust in a session of its own, once it says that it measures; and the lines that it said, all of them in the end."""
    command = [sys.executable, "-m", "locust", "-f", "benchmarks/locustfile.py", "--headless", "--only-summary", "--host", url]
    command += ["--results", str(folder), *LIGHT, *options]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
    said: list[str] = []
    try:
        while not said or "measuring" not in said[-1]:
            line = process.stdout.readline()
            assert line, "".join(said)
            said.append(line)
        yield process, said
        said += process.communicate(timeout=90)[0].splitlines()
    finally:
        for pid in live_processes(process.pid):
            os.kill(pid, signal.SIGKILL)
        process.wait()


def test_a_run_of_two_workers_gives_pages_and_results_and_every_frame_and_end_is_answered(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "benchmarks.capacity",
        "--out",
        str(tmp_path),
        "--pages",
        str(tmp_path),
        "--window-s",
        str(WINDOW_S),
        *LIGHT,
        *LENIENT,
    ]
    done = subprocess.run([*command, "--processes", "2", "--lifetime-s", "1-3"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = results(tmp_path)["tried"]
    assert run["frames"] == pytest.approx(VIDEOS * WINDOW_S * FPS, abs=2 * VIDEOS * WINDOW_S), (
        "a new video begins up to a frame later, every 1 to 3 s"
    )
    assert (run["lost"], run["errors"], run["outcome"]) == (0, {}, "passed")
    for name, latency in run["latency"].items():
        assert latency >= run["service"][name] > 0
    with (tmp_path / "load_stats.csv").open() as file:
        rows = {(row["Type"], row["Name"]): row for row in csv.DictReader(file)}
    assert {row["Failure Count"] for row in rows.values()} == {"0"}
    assert int(rows["END", "from due to answered"]["Request Count"]) >= 2
    assert int(rows["generator", "lag"]["Request Count"]) >= run["frames"]
    assert "from due to answered" in (tmp_path / "load.html").read_text()
    assert "nvidia-pytriton" in (tmp_path / "load.md").read_text()


@pytest.mark.parametrize("client", ["stream", "async"])
def test_a_server_that_is_silent_for_a_while_delays_every_frame_that_was_due_meanwhile(client: str, valve: Valve, tmp_path: Path) -> None:
    """A generator that waited for answers would show one slow frame per video, 2 or 3 % of them, and p90 would know nothing of it."""
    options = ["--client", client, "--lag-ms", "1000", "--lifetime-s", "60-60"]
    with cameras(valve.url, tmp_path, *options) as (process, said):
        time.sleep(1)
        valve.turn(open=False)
        time.sleep(PAUSE_S)
        valve.turn(open=True)
    (run,) = results(tmp_path)["tried"]
    assert (process.returncode, run["outcome"], run["errors"]) == (1, "failed", {}), said
    assert run["frames"] == pytest.approx(VIDEOS * WINDOW_S * FPS, abs=VIDEOS)
    assert run["latency"]["p99"] >= 1000 * PAUSE_S - 200
    assert run["latency"]["p90"] >= 1000 * (PAUSE_S - 0.1 * WINDOW_S) - 200, "19 % of the frames were due in the pause"
    assert run["latency"]["p50"] < 500


def test_a_generator_that_stops_for_a_while_voids_the_window_and_measures_again(server: Server, tmp_path: Path) -> None:
    with cameras(server.grpc_url, tmp_path, "--objective-ms", "5000", "--lag-ms", "200") as (process, said):
        time.sleep(1)
        with stopped(process):
            time.sleep(PAUSE_S)
    made = results(tmp_path)
    assert [trial["outcome"] for trial in made["tried"]] == ["void", "passed"], said
    assert made["tried"][0]["reason"].startswith("the generator was late itself")
    assert (process.returncode, made["runs"]) == (0, 1)
    assert made["milliseconds"]["lag"]["max"]["median"] < 200
