"""`masklet probe` against real servers: what Triton's own health endpoints keep silent about, and what must not look like death."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as grpc

from masklet import ServerBusy, ServerFault, Tracker
from masklet.cli import main
from masklet.gauges import scrape
from masklet.vitals import FAULTS, read
from masklet_build.serve import Server
from tests.deploy.nano_server import ServeNano
from tests.serving.toy import kill_at_rest, request, wait_until_it_hangs, write_repository

pytestmark = pytest.mark.server

FRAME = np.full((48, 64, 3), 90, np.uint8)
READY = "ready"
PATIENCE_S = 60  # for what comes in the end; only a broken server uses it up


def probed(capsys: pytest.CaptureFixture[str], server: Server, *words: str, timeout_s: float = PATIENCE_S) -> tuple[int, str]:
    """Exit code of the command, and what it says."""
    code = main(["probe", server.grpc_url, *words, "--metrics-url", server.metrics_url, "--timeout-s", str(timeout_s)])
    (line,) = capsys.readouterr().out.splitlines()
    return code, line


def eventually(capsys: pytest.CaptureFixture[str], server: Server, says: str) -> None:
    """Returns once `masklet probe --ready` says this: the gauges have what is new a moment later."""
    deadline = time.monotonic() + PATIENCE_S
    while not (line := probed(capsys, server, "--ready")[1]).startswith(says) or (says == READY != line):
        assert time.monotonic() < deadline, f"still {line}"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def tight(serve_nano: ServeNano) -> Iterator[Server]:
    """Room for two videos."""
    with serve_nano({"max_videos": "2"}) as server:
        yield server


AGAIN = ((), ("--live",), ())  # a pod is restarted after some failures in a row


@pytest.mark.parametrize(("model", "asked"), [("preprocess", AGAIN[:1]), ("memory_bank", AGAIN), ("postprocess", AGAIN[:1])])
def test_a_dead_stub_is_found_by_its_silence_and_by_a_frame_while_triton_says_it_is_ready(
    serve_nano: ServeNano, capsys: pytest.CaptureFixture[str], model: str, asked: tuple[tuple[str, ...], ...]
) -> None:
    with serve_nano({}) as server:
        assert probed(capsys, server) == (0, "alive")
        pid, name = min((pid, name) for pid, name in server.stubs().items() if name.startswith(model))  # one, where there are two
        kill_at_rest(pid)
        for words in asked:
            code, line = probed(capsys, server, *words, timeout_s=6)
            assert (code, line.startswith(f"dead: {name} gave no sign of life")) == (1, True), line
        code, line = probed(capsys, server, "--frame")
        assert (code, f"Stub process '{name}" in line) == (1, True), line
        assert server.is_ready(), "Triton notices by itself: this test no longer shows anything"
        assert probed(capsys, server, "--ready")[0] == 0, "which is why readiness alone does not do"


def test_a_model_that_does_not_get_on_is_slow_and_then_dead(tmp_path: Path, serving_python: Path, capsys: pytest.CaptureFixture[str]) -> None:
    repository = write_repository(tmp_path)
    with Server(repository, python=serving_python, grpc_port=0, http_port=0, metrics_port=0, exit_timeout_s=1) as server:
        assert probed(capsys, server, "--frame")[0] == 0, "something has ended, after which less patience is due"
        assert probed(capsys, server) == (0, "alive")
        with grpc.InferenceServerClient(server.grpc_url) as client:
            client.async_infer("tracker", [request(b"hang")], lambda result, error: None, sequence_id=9, sequence_start=True)
            wait_until_it_hangs(repository)
            deadline = time.monotonic() + PATIENCE_S
            while (found := probed(capsys, server))[0] == 0 and time.monotonic() < deadline:  # alive at first
                pass
            assert (found[0], found[1].startswith("slow: an execution of tracker_0_0 has not got on")) == (3, True), found
            assert probed(capsys, server, "--live")[0] == 0
            code, line = probed(capsys, server, "--patience-s", "1")
            assert (code, line.startswith("dead: tracker_0_0 hangs")) == (1, True), line
            code, line = probed(capsys, server, "--frame", timeout_s=1)
            assert (code, line.startswith("slow: no answer within ")) == (3, True), line
            assert server.is_ready()


def test_a_server_of_which_every_request_fails_is_dead_as_long_as_a_frame_fails_too(
    nano_repository: Callable[[Mapping[str, str]], Path], serving_python: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As where a GPU is gone. The counters remember it when it is there again, so they cannot tell alone."""
    repository = nano_repository({})
    broken = failing_bank(repository)
    with Server(repository, python=serving_python, grpc_port=0, http_port=0, metrics_port=0, exit_timeout_s=1) as server:
        broken.touch()
        with Tracker(server.grpc_url) as tracker:
            for _ in range(FAULTS):
                with tracker.open() as video, pytest.raises(ServerFault):
                    video.track(FRAME)
        deadline = time.monotonic() + PATIENCE_S
        while read(scrape(server.metrics_url, PATIENCE_S)).faults < FAULTS:  # it is sent after the answer
            assert time.monotonic() < deadline
            time.sleep(0.05)
        code, line = probed(capsys, server, "--live")
        assert (code, line.startswith("dead: ")) == (1, True), line
        assert "requests in a row ended with a fault of the server; a frame: " in line
        broken.unlink()
        assert probed(capsys, server, "--live") == (0, "alive")


def failing_bank(repository: Path) -> Path:
    """Makes the bank of a repository fail while a file exists; that file."""
    file, model = repository.parent / "broken", repository / "memory_bank" / "1" / "model.py"
    source = model.read_text()
    model.unlink()  # it may be a link
    model.write_text(f"""{source}
def _failing(self, requests, answers=TritonPythonModel._answers):
    if Path({str(file)!r}).exists():
        self._service.answer = lambda *_: 1 / 0
    else:
        self._service.__dict__.pop("answer", None)
    return answers(self, requests)

TritonPythonModel._answers = _failing
""")
    return file


def test_a_server_that_is_stopped_fails_both_probes_when_their_time_is_up(serve_nano: ServeNano, capsys: pytest.CaptureFixture[str]) -> None:
    with serve_nano({}) as server:
        os.kill(server.pid, signal.SIGSTOP)
        try:
            for words in ((), ("--ready",)):
                assert probed(capsys, server, *words, timeout_s=1)[0] == 1
        finally:
            os.kill(server.pid, signal.SIGKILL)


def test_a_full_server_is_ready_and_says_that_it_is_full(tight: Server, capsys: pytest.CaptureFixture[str]) -> None:
    eventually(capsys, tight, READY)
    with Tracker(tight.grpc_url) as tracker, tracker.open() as one, tracker.open() as two, tracker.open() as third:
        one.track(FRAME)
        two.track(FRAME)
        eventually(capsys, tight, "ready, and full: 2 of 2 videos")
        with pytest.raises(ServerBusy):
            third.track(FRAME)
        assert probed(capsys, tight, "--live")[0] == probed(capsys, tight, "--frame")[0] == 0
        one.close()
        eventually(capsys, tight, READY)
        assert third.track(FRAME).frame_index == 0


def test_a_server_finds_by_itself_that_clients_vanished_when_nobody_asks_for_anything(
    serve_nano: ServeNano, capsys: pytest.CaptureFixture[str]
) -> None:
    """No request comes that makes it look at the clock."""
    with serve_nano({"max_videos": "2", "idle_seconds": "15"}) as server, ExitStack() as stack:  # time enough to be seen
        for _ in range(2):
            stack.enter_context(Tracker(server.grpc_url)).open().track(FRAME)
        eventually(capsys, server, "ready, and full: 2 of 2 videos")
        eventually(capsys, server, READY)


def test_a_server_is_full_where_no_object_fits(serve_nano: ServeNano, capsys: pytest.CaptureFixture[str]) -> None:
    with serve_nano({"max_bank_mib": "1"}) as server, Tracker(server.grpc_url) as tracker, tracker.open() as video:
        for object_id in range(3):  # of 0.3 MiB
            video.prompt(object_id, points=[(20, 20)])
        video.track(FRAME)
        eventually(capsys, server, "ready, and full: 1 of 64 videos, 0 of 1 MiB")
        assert probed(capsys, server, "--frame")[0] == 0, "the frame's object does not fit either, but the bank said so"


def test_readiness_is_false_while_draining_and_liveness_is_not(tight: Server, capsys: pytest.CaptureFixture[str]) -> None:
    file = tight.repository.parent / "draining"
    file.touch()
    try:
        eventually(capsys, tight, "not ready: draining, 0 videos are still live")
        assert probed(capsys, tight, "--live")[0] == probed(capsys, tight, "--frame")[0] == 0
    finally:
        file.unlink()
    eventually(capsys, tight, READY)


def test_a_busy_server_is_alive(serve_nano: ServeNano, capsys: pytest.CaptureFixture[str]) -> None:
    """Eight videos send as fast as they are answered, four frames of each on their way."""
    with serve_nano({}) as server, Tracker(server.grpc_url, timeout_s=PATIENCE_S) as tracker:
        stopping, answered = threading.Event(), queue.SimpleQueue[int]()

        def frames() -> Iterator[np.ndarray]:
            while not stopping.is_set():
                yield FRAME

        def crowd() -> None:
            with tracker.open() as video:
                video.prompt(1, points=[(20, 20)])
                for result in video.track_many(frames(), in_flight=4):
                    answered.put(result.frame_index)

        threads = [threading.Thread(target=crowd) for _ in range(8)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(8):  # until all videos are in full swing
                while answered.get(timeout=PATIENCE_S) != 3:
                    pass
            findings = [(*probed(capsys, server, "--live"), *probed(capsys, server, "--ready")) for _ in range(3)]
        finally:
            stopping.set()
            for thread in threads:
                thread.join()
    assert all((alive, ready) == (0, 0) for alive, _, ready, _ in findings), findings


def test_a_wrong_address_is_one_line_and_exit_code_1(tight: Server) -> None:
    command = [sys.executable, "-m", "masklet", "probe"]
    for words, says in (
        (["127.0.0.1:1", "--frame"], "dead: UNAVAILABLE"),
        ([tight.grpc_url, "--metrics-url", f"http://{tight.http_url}/metrics"], "dead: "),
        ([tight.grpc_url, "--ready", "--metrics-url", f"http://{tight.http_url}/metrics"], "not ready: "),
        ([tight.grpc_url, "--ready", "--metrics-url", tight.metrics_url, "--model", "tracker_other"], "not ready: "),
        ([tight.grpc_url, "--metrics-url", tight.metrics_url, "--model", "tracker_other"], "dead: "),
        ([tight.grpc_url, "--frame", "--model", "other"], "dead: "),
    ):
        done = subprocess.run([*command, *words, "--timeout-s", str(PATIENCE_S)], capture_output=True, text=True, timeout=2 * PATIENCE_S)
        assert (done.returncode, done.stdout.startswith(says), done.stdout.count("\n")) == (1, True, 1), (words, done)
