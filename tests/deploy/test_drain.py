"""`masklet drain` against real servers, and what it leaves for the next start."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from masklet import ServerBusy, Tracker
from masklet.cli import main
from masklet.gauges import read_banks, read_drain_files
from masklet_build import nano
from masklet_build.repository.assemble import assemble
from masklet_build.serve import Server
from masklet_build.serve.command import _forget_drain, drain_files
from tests.deploy.nano_server import ServeNano
from tests.fakes.loading import MODELS
from tests.fakes.metrics_page import metrics_page

pytestmark = pytest.mark.server

FRAME = np.full((48, 64, 3), 90, np.uint8)
PATIENCE_S = 60  # only something broken uses it up


@pytest.fixture(scope="module")
def server(serve_nano: ServeNano) -> Iterator[Server]:
    with serve_nano({}) as server:
        yield server


@pytest.fixture
def file(server: Server) -> Iterator[Path]:
    file = server.repository.parent / "draining"
    yield file
    file.unlink(missing_ok=True)
    while read_banks(server.metrics_url, PATIENCE_S)["tracker"].draining:
        time.sleep(0.05)


@contextmanager
def draining(server: Server, file: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """The command in a process of its own."""
    # Background jobs of a shell start with SIGINT ignored, and hand that on.
    code = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); from masklet.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "drain", "--drain-file", file, "--metrics-url", server.metrics_url, *words]
    with subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[str], contains: str) -> str:
    assert process.stderr is not None
    for said in process.stderr:
        if contains in said:
            return said
    raise AssertionError(f"it never said {contains!r}")


def test_a_drain_waits_for_the_last_video_and_loses_no_frame_of_it(server: Server, file: Path) -> None:
    with Tracker(server.grpc_url) as tracker, tracker.open() as live, tracker.open() as late:
        live.prompt(1, points=[(20, 20)])
        assert live.track(FRAME).draining is False
        with draining(server, file) as process:
            line(process, "1 live")
            assert [live.track(FRAME).draining for _ in range(3)] == [True] * 3
            with pytest.raises(ServerBusy, match="draining"):
                late.track(FRAME)
            with pytest.raises(ServerBusy, match="draining"):
                tracker.open(state=live.snapshot())
            assert process.poll() is None
            live.close()
            assert "no video is live" in line(process, "no video")
            assert process.wait(PATIENCE_S) == 0
        assert file.exists()
        assert main(["drain", "--undo", "--drain-file", str(file)]) == 0
        assert late.track(FRAME).draining is False


def test_a_drain_gives_up_at_its_deadline_and_says_how_many_are_left(server: Server, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Tracker(server.grpc_url) as tracker, tracker.open() as live:
        live.track(FRAME)
        began = time.monotonic()
        assert main(["drain", "--drain-file", str(file), "--metrics-url", server.metrics_url, "--deadline-s", "3"]) == 1
        assert time.monotonic() - began >= 3
        assert "the deadline of 3 s has passed: 1 live" in capsys.readouterr().err
        assert live.track(FRAME).draining is True


def test_in_the_time_of_grace_videos_still_begin(
    server: Server, file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command sleeps through the time of grace; what happens meanwhile happens here, so that nothing can be late."""
    sleep, grace_s, meanwhile = time.sleep, 1000.0, []

    def passed(seconds: float) -> None:
        if seconds == grace_s:
            meanwhile.append((file.exists(), video.track(FRAME).draining))
        elif file.exists() and "1 live" in capsys.readouterr().err:
            video.close()
        sleep(0 if seconds == grace_s else seconds)

    with Tracker(server.grpc_url) as tracker, tracker.open() as video:
        monkeypatch.setattr(time, "sleep", passed)
        words = ["--drain-file", str(file), "--metrics-url", server.metrics_url, "--deadline-s", str(PATIENCE_S)]
        assert main(["drain", "--grace-s", str(grace_s), *words]) == 0
    assert meanwhile == [(False, False)]


def test_a_file_that_the_server_does_not_watch_is_said_and_no_success(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["drain", "--drain-file", str(tmp_path / "other"), "--metrics-url", server.metrics_url, "--deadline-s", "5"]
    assert main(words) == 1
    assert "has not seen" in capsys.readouterr().err


def test_a_dead_server_is_not_waited_for_until_the_deadline(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("masklet.cli.drain._SILENCE_S", 1.0)
    assert main(["drain", "--drain-file", str(tmp_path / "file"), "--metrics-url", "http://127.0.0.1:1/metrics", "--deadline-s", "60"]) == 1
    said = capsys.readouterr().err
    assert "does not answer" in said
    assert "deadline" not in said


def test_ctrl_c_ends_the_waiting_and_not_the_drain(server: Server, file: Path) -> None:
    with Tracker(server.grpc_url) as tracker, tracker.open() as live:
        live.track(FRAME)
        with draining(server, file) as process:
            line(process, "1 live")
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE_S) == 130
        assert live.track(FRAME).draining is True


def test_a_serve_command_removes_an_old_drain_file_at_its_start_and_not_at_a_restart(
    nano_repository: Callable[[Mapping[str, str]], Path], serving_python: Path, tmp_path: Path
) -> None:
    repository = nano_repository({})
    (file,) = drain_files(repository)
    file.touch()
    ports = ["--grpc-port=0", "--http-port=0", "--metrics-port=0", "--log", str(tmp_path / "log")]
    command = [sys.executable, "-m", "masklet_build", "serve", str(repository), "--python", str(serving_python), *ports]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            lines = iter(process.stdout.readline, "")
            ready = next(said for said in lines if not said.startswith("loading"))
            assert (ready.startswith(f"removed {file}"), file.exists()) == (True, False), ready
            ready = next(said for said in lines if said.startswith("ready: "))
            metrics, pid = re.findall(r"metrics (\S+) \(process (\d+)\)", ready)[0]
            assert read_banks(metrics, PATIENCE_S)["tracker"].draining is False
            file.touch()
            subprocess.run(["kill", "-9", pid], check=True)
            assert next(said for said in lines if said.startswith("ready again"))
            assert file.exists()
            deadline = time.monotonic() + PATIENCE_S
            while not read_banks(metrics, PATIENCE_S)["tracker"].draining and time.monotonic() < deadline:
                time.sleep(0.1)
            assert read_banks(metrics, PATIENCE_S)["tracker"].draining is True
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


@contextmanager
def served_by_default(serving_python: Path, tmp_path: Path) -> Iterator[Server]:
    """A server that nobody told which file to drain by."""
    repository = assemble("nano", nano.ENGINES, tmp_path / "repository")
    with Server(repository, python=serving_python, grpc_port=0, http_port=0, metrics_port=0, exit_timeout_s=1) as server:
        yield server


def test_servers_have_files_of_their_own_and_the_command_reads_from_the_metrics_which(
    server: Server, serving_python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MASKLET_DRAIN_FILE", raising=False)
    with served_by_default(serving_python, tmp_path) as own:
        file = Path(f"/tmp/masklet-draining-{os.getuid()}-{own.address.grpc}")
        assert read_drain_files(own.metrics_url, PATIENCE_S) == {str(file)}
        assert read_drain_files(server.metrics_url, PATIENCE_S) == {str(server.repository.parent / "draining")}
        try:
            assert main(["drain", "--metrics-url", own.metrics_url, "--deadline-s", str(PATIENCE_S)]) == 0
            assert file.exists()
            assert [read_banks(one.metrics_url, PATIENCE_S)["tracker"].draining for one in (own, server)] == [True, False]
            assert main(["drain", "--undo", "--metrics-url", own.metrics_url]) == 0
        finally:
            file.unlink(missing_ok=True)


def test_the_environment_names_a_servers_file(serving_python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKLET_DRAIN_FILE", str(tmp_path / r'a "file" \ of mine'))
    with served_by_default(serving_python, tmp_path) as own:
        assert read_drain_files(own.metrics_url, PATIENCE_S) == {str(tmp_path / r'a "file" \ of mine')}


@pytest.mark.parametrize("words", [[], ["--undo"]])
def test_a_file_that_cannot_be_made_or_removed_is_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    (tmp_path / "file").touch()
    assert main(["drain", "--drain-file", str(tmp_path / "file" / "below"), *words]) == 1
    said = capsys.readouterr().err
    assert f"below cannot be {'removed' if words else 'made'}: Not a directory. It is the file that tells a server to drain" in said


def test_what_no_drain_made_is_not_removed_because_a_page_of_metrics_names_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where no server listens anybody on the machine may, and the command may be root's."""
    precious, made, folder = tmp_path / "shadow", tmp_path / "draining", tmp_path / "folder"
    precious.write_text("root:x")
    made.touch()
    folder.mkdir()
    for file, code in ((precious, 1), (folder, 1), (made, 0), (tmp_path / "gone", 0)):
        with metrics_page(lambda file=file: f'masklet_drain_file_info{{file="{file}"}} 1\n') as url:
            assert main(["drain", "--undo", "--metrics-url", url]) == code
        assert code == 0 or f"{url} names {file} as the file that tells the server to drain" in capsys.readouterr().err
    assert precious.read_text() == "root:x"
    assert not made.exists()
    assert main(["drain", "--undo", "--drain-file", str(precious)]) == 0
    assert not precious.exists(), "who names a file means it"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files of other users")
def test_a_file_of_a_third_user_is_replaced_by_one_that_counts(server: Server, file: Path) -> None:
    file.touch()
    os.chown(file, 1001, -1)
    assert main(["drain", "--drain-file", str(file), "--metrics-url", server.metrics_url, "--deadline-s", "10"]) == 0
    assert file.stat().st_uid == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files of other users")
def test_what_a_third_user_wrote_is_not_replaced(server: Server, file: Path) -> None:
    file.write_text("theirs")
    os.chown(file, 1001, -1)
    assert main(["drain", "--drain-file", str(file), "--metrics-url", server.metrics_url, "--deadline-s", "1"]) == 1
    assert (file.read_text(), file.stat().st_uid) == ("theirs", 1001)


def test_where_nothing_names_the_file_the_command_says_how_to(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["drain", "--metrics-url", "http://127.0.0.1:1/metrics"]) == 1
    said = capsys.readouterr().err
    assert "does not answer" in said
    assert "name it with --drain-file" in said


def test_a_deadline_before_any_answer_says_that_there_was_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["drain", "--drain-file", str(tmp_path / "file"), "--metrics-url", "http://127.0.0.1:1/metrics", "--deadline-s", "0.5"]) == 1
    assert "the deadline of 0.5 s has passed: http://127.0.0.1:1/metrics has not answered" in capsys.readouterr().err


def test_a_file_of_another_user_keeps_no_server_from_starting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be removed; in /tmp that is what another user made."""
    file = tmp_path / "draining"
    (file / "full").mkdir(parents=True)
    (tmp_path / "memory_bank").mkdir()
    (tmp_path / "memory_bank" / "config.pbtxt").write_text((MODELS / "memory_bank" / "config.pbtxt").read_text())
    _forget_drain(tmp_path, file)
    said = capsys.readouterr().out
    assert f"{file} cannot be removed" in said
    assert "by which a server is told to drain, and belongs to user" in said
    assert "--set memory_bank.drain_file=" in said
