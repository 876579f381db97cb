"""The supervisor: it notices what died or hangs, restarts it, and gives up where that does not help."""

from __future__ import annotations

import argparse
import contextlib
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import tritonclient.grpc as grpc

from masklet_build.serve import Policy, ServeError, Server, Supervisor, add_arguments, command, processes
from masklet_build.serve.address import LOOPBACK, Address
from masklet_build.serve.cleanup import live_processes, shared_memory_regions
from masklet_build.serve.errors import GaveUp
from masklet_build.serve.processes import Bell
from tests.serving.toy import ask, kill_at_rest, request, wait_until_it_hangs, write_repository

FREE = {"grpc_port": 0, "http_port": 0, "metrics_port": 0}
PATIENCE_S = 60  # only something broken uses it up


@dataclass
class Supervised:
    """A supervisor in a thread, and the lines that it says."""

    server: Server
    lines: queue.Queue[str] = field(default_factory=queue.Queue)

    def line(self, begin: str) -> str:
        while not (line := self.lines.get(timeout=PATIENCE_S)).startswith(begin):
            pass
        return line


@contextlib.contextmanager
def supervised(repository: Path, serving_python: Path, policy: Policy) -> Iterator[Supervised]:
    others = shared_memory_regions(f"masklet_{os.getpid()}_")
    server = Server(repository, python=serving_python, exit_timeout_s=2, **FREE)
    running = Supervised(server)
    supervisor = Supervisor(server, policy=policy, say=running.lines.put)
    thread = threading.Thread(target=supervisor.run)
    thread.start()
    try:
        running.line("ready: ")
        yield running
    finally:
        supervisor.stop()
        thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert shared_memory_regions(f"masklet_{os.getpid()}_") == others


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return write_repository(tmp_path)


@pytest.mark.server
def test_dead_processes_are_noticed_and_replaced_at_the_same_address(repository: Path, serving_python: Path) -> None:
    with supervised(repository, serving_python, Policy()) as running:
        first = ask(running.server.grpc_url)
        kill_at_rest(first)
        assert "live videos are lost" in (line := running.line("restarting"))
        assert "the process of tracker_0_0 died" in line
        running.line("ready again: gRPC")
        assert re.fullmatch(r"ready again \d+\.\d s after this was found: the process of tracker_0_0 died", running.line("ready again"))
        assert ask(running.server.grpc_url) != first

        killed = running.server.pid
        os.kill(killed, signal.SIGKILL)
        assert "ended by SIGKILL" in running.line("restarting")
        running.line("ready again")
        assert ask(running.server.grpc_url) in running.server.stubs()
        assert live_processes(killed) == []


@pytest.mark.server
def test_a_model_that_hangs_is_noticed_while_nobody_else_asks(repository: Path, serving_python: Path) -> None:
    with supervised(repository, serving_python, Policy(patience_s=5)) as running, grpc.InferenceServerClient(running.server.grpc_url) as client:
        client.async_infer("tracker", [request(b"hang")], lambda result, error: None, sequence_id=9, sequence_start=True)
        wait_until_it_hangs(repository)
        assert "tracker_0_0 hangs: an execution of tracker_0_0 has not got on for" in running.line("restarting")
        running.line("ready again")
        assert ask(running.server.grpc_url) in running.server.stubs()


@pytest.mark.server
def test_a_slow_model_lives_and_delays_little_that_the_server_is_ready(tmp_path: Path, serving_python: Path) -> None:
    """Each frame takes three times the patience; the first two, one after the other, longer than "ready" waits for them."""
    with supervised(write_repository(tmp_path, seconds=3), serving_python, Policy(patience_s=1)) as running:
        first = ask(running.server.grpc_url)
        assert running.lines.get(timeout=PATIENCE_S).startswith("a first frame of tracker took "), "after it was ready, and nothing between"
        for _ in range(2):  # each longer than the pause between two looks, with what waits for them
            assert ask(running.server.grpc_url) == first
        assert running.lines.empty()


@pytest.mark.server
def test_a_python_model_that_is_stopped_at_work_is_told_from_one_that_died(repository: Path, serving_python: Path) -> None:
    with supervised(repository, serving_python, Policy()) as running, grpc.InferenceServerClient(running.server.grpc_url) as client:
        stub = ask(running.server.grpc_url)
        client.async_infer("tracker", [request(b"hang")], lambda result, error: None, sequence_id=9, sequence_start=True)
        wait_until_it_hangs(repository)
        os.kill(stub, signal.SIGSTOP)
        time.sleep(1.2)
        os.kill(stub, signal.SIGCONT)
        line = running.line("restarting")
        assert re.search(r"the process of tracker_0_0 died \(stopped for \d\.\d s while it had work; it ends,", line), line


@pytest.mark.server
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_command_with_exit_code_0(repository: Path, serving_python: Path, number: signal.Signals) -> None:
    with _command(repository, serving_python) as command:
        assert command.stdout is not None
        assert any("ready: gRPC 127.0.0.1:" in line for line in iter(command.stdout.readline, ""))
        assert shared_memory_regions(f"masklet_{command.pid}_")
        command.send_signal(number)
        assert command.wait(PATIENCE_S) == 0
        assert command.stdout.read().splitlines()[-1] == "stopped"
    assert shared_memory_regions(f"masklet_{command.pid}_") == []


@pytest.mark.server
def test_a_failed_start_ends_the_command_with_exit_code_1(tmp_path: Path, serving_python: Path) -> None:
    repository = write_repository(tmp_path, initialize="raise ValueError('no weights')")
    with _command(repository, serving_python) as command:
        assert command.wait(PATIENCE_S) == 1
        assert command.stderr is not None
        assert "ValueError: no weights" in command.stderr.read()


def _command(repository: Path, serving_python: Path) -> subprocess.Popen[str]:
    script = (
        "import argparse, sys; from masklet_build.serve import add_arguments, run_serve\n"
        "parser = argparse.ArgumentParser(); add_arguments(parser); sys.exit(run_serve(parser.parse_args()))"
    )
    ports = ["--grpc-port=0", "--http-port=0", "--metrics-port=0"]
    log = repository.parent / "triton.log"
    words = [sys.executable, "-c", script, repository, "--python", serving_python, "--log", log, *ports]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


class DyingServer:
    """Starts, and has ended at the next look. `starts` says at which starts it fails at once instead."""

    grpc_url = http_url = metrics_url = "127.0.0.1:1"
    address = Address(LOOPBACK, 1, 2, 3)
    drain_file = None

    def __init__(self, repository: Path, fails: frozenset[int]) -> None:
        self.pid = ended()
        self.repository = repository
        self.fails = fails
        self.starts = 0
        self.running = False

    def start(self, stopping: Bell | None = None) -> None:
        self.starts += 1
        if self.starts in self.fails:
            raise ServeError(f"start {self.starts} failed")
        self.running = True

    def stop(self, *, graceful: bool = True) -> None:
        self.running = False

    def returncode(self) -> int | None:
        return 9

    def stubs(self) -> dict[int, str]:
        return {}


def ended() -> int:
    """The id of a process that is no more."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


@pytest.mark.parametrize("fails", [frozenset(), frozenset({2, 3})], ids=["dies at once", "does not start again"])
def test_it_gives_up_after_the_limit_of_restarts(tmp_path: Path, fails: frozenset[int]) -> None:
    server, lines = DyingServer(tmp_path, fails), list[str]()
    supervisor = Supervisor(server, policy=Policy(restarts=2, longest_delay_s=0.01), say=lines.append)
    with pytest.raises(GaveUp, match="gave up after 2 restarts"):
        supervisor.run()
    assert server.starts == 3
    assert sum(line.startswith("restarting") for line in lines) == 2
    assert not server.running


def test_where_processes_cannot_be_watched_nothing_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int) -> int:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(processes, "_pidfd_open", refuse)
    server = DyingServer(tmp_path, frozenset())
    with pytest.raises(ServeError, match="pidfd_open: Operation not permitted"):
        Supervisor(server, say=lambda line: None).run()
    assert server.starts == 0


def test_no_restart_where_none_is_wanted(tmp_path: Path) -> None:
    server = DyingServer(tmp_path, frozenset())
    with pytest.raises(GaveUp, match="no restart is wanted"):
        Supervisor(server, policy=Policy(restarts=0), say=lambda line: None).run()
    assert server.starts == 1


def test_the_options_of_the_command_are_the_policy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    made = []
    monkeypatch.setattr(command, "Server", lambda repository, **options: DyingServer(repository, frozenset()))
    monkeypatch.setattr(command, "Supervisor", lambda server, *, policy, say: made.append(policy) or Supervisor(server, policy=policy, say=say))
    words = ["--patience", "7.5", "--restarts", "0", "--within", "30", "--log", str(tmp_path / "log")]
    assert command.run_serve(parser.parse_args([str(write_repository(tmp_path / "models")), *words])) == 3
    assert made == [Policy(patience_s=7.5, restarts=0, within_s=30)]
    for wrong in (["--patience", "0"], ["--within", "-1"], ["--restarts", "-1"], ["--patience", "nan"]):
        with pytest.raises(SystemExit, match="2"):
            parser.parse_args([str(tmp_path), *wrong])


def test_a_first_start_that_fails_is_not_repeated(tmp_path: Path) -> None:
    server = DyingServer(tmp_path, frozenset({1}))
    with pytest.raises(ServeError, match="start 1 failed"):
        Supervisor(server, say=lambda line: None).run()
    assert server.starts == 1


def test_a_repository_without_a_tracker_is_not_probed(tmp_path: Path) -> None:
    """Nothing would answer, and the server would be restarted for ever."""
    assert Supervisor(DyingServer(tmp_path, frozenset())).trackers == []
    assert Supervisor(DyingServer(write_repository(tmp_path), frozenset())).trackers == ["tracker"]


def test_every_tracker_of_several_is_probed(tmp_path: Path) -> None:
    for name in ("tracker_sam2.1_t", "tracker_nano", "memory_bank_nano"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.pbtxt").touch()
    assert Supervisor(DyingServer(tmp_path, frozenset())).trackers == ["tracker_nano", "tracker_sam2.1_t"]
