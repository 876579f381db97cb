"""Triton's log under `masklet-build serve`: where it is, how large it becomes, when it stays, and what of it is the reason of a failure."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from masklet_build.cli import main
from masklet_build.serve import log
from masklet_build.serve.log_file import bound, keep_or_remove, look_after
from tests.serving.toy import write_repository

PATIENCE_S = 60  # only something broken uses it up


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


def test_what_is_compiled_for_a_gpu_is_said_and_nothing_else_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The lines are as Triton writes what a python model logs."""
    path = tmp_path / "triton.log"
    look_after(path, False)
    watch = next(thread for thread in threading.enumerate() if thread.name == "log")
    compiling = "memory_attention: compiling kernels for NVIDIA GeForce RTX 4090; none were kept, so this takes longest"
    begun, ready = "begun: ready for more", "memory_attention: ready for NVIDIA GeForce RTX 4090 after 12.3 s"
    others = ("image_encoder: openvino on cpu", "Started GRPCInferenceService at 127.0.0.1:8001")
    said = ""

    def written_until_seen(last: str, *texts: str) -> None:
        """It begins at the end of what is there, whenever that is."""
        nonlocal said
        deadline = time.monotonic() + PATIENCE_S
        while last not in said and time.monotonic() < deadline:
            with path.open("a") as file:
                file.writelines(f'I1130 20:42:52.825197 26506 logs.py:22] "{text}"\n' for text in texts)
            time.sleep(0.3)
            said += capsys.readouterr().out

    written_until_seen(begun, begun)
    written_until_seen(ready, others[0], compiling, others[1], ready)
    path.unlink()
    watch.join(PATIENCE_S)
    assert set(said.splitlines()) == {begun, compiling, ready}


def serve(repository: Path, python: Path, temporary: Path, *words: str) -> subprocess.Popen[str]:
    ports = ("--grpc-port=0", "--http-port=0", "--metrics-port=0")
    command = [sys.executable, "-m", "masklet_build", "serve", repository, "--python", python, *ports, *words]
    environment = os.environ | {"TMPDIR": str(temporary)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.server
def test_a_server_that_ended_well_leaves_no_log(tmp_path: Path, temporary: Path, serving_python: Path) -> None:
    with serve(write_repository(tmp_path / "repository"), serving_python, temporary) as command:
        assert command.stdout is not None
        assert any("ready: gRPC" in line for line in iter(command.stdout.readline, ""))
        assert list(temporary.glob("*.log"))
        command.send_signal(signal.SIGTERM)
        assert command.wait(PATIENCE_S) == 0
    assert list(temporary.iterdir()) == []


@pytest.mark.server
def test_the_log_of_a_failed_start_stays_and_is_named(tmp_path: Path, temporary: Path, serving_python: Path) -> None:
    repository = write_repository(tmp_path / "repository", initialize="raise ValueError('no weights')")
    with serve(repository, serving_python, temporary) as command:
        assert command.wait(PATIENCE_S) == 1
        assert command.stderr is not None
        said = command.stderr.read()
    (kept,) = temporary.iterdir()
    assert said.splitlines()[-1] == f"masklet-build serve: Triton's log: {kept}"
    assert "no weights" in kept.read_text()


def test_a_start_that_never_reached_triton_leaves_no_log(tmp_path: Path, temporary: Path, serving_python: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        used = str(other.getsockname()[1])
        with serve(write_repository(tmp_path / "repository"), serving_python, temporary, "--grpc-port", used) as command:
            assert command.wait(PATIENCE_S) == 1
    assert list(temporary.iterdir()) == []


def test_a_log_in_a_folder_that_is_not_there_yet_is_looked_after_until_it_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "log"
    look_after(path, False)
    (watch,) = (thread for thread in threading.enumerate() if thread.name == "log")
    assert path.exists()
    path.unlink()
    watch.join(PATIENCE_S)
    assert not watch.is_alive()


def test_a_log_that_was_removed_before_the_thread_got_to_it_stays_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a start that fails at once on a busy machine."""
    path = tmp_path / "log"
    watches: list[Late] = []

    class Late(threading.Thread):
        def start(self) -> None:
            watches.append(self)
            path.unlink(missing_ok=True)
            super().start()

    monkeypatch.setattr(threading, "Thread", Late)
    look_after(path, False)
    (watch,) = watches
    watch.join(2)
    assert not path.exists()
    watch.join(PATIENCE_S)
    assert not watch.is_alive()


@pytest.mark.parametrize("code", [0, 1])
def test_a_log_that_was_swept_from_the_temporary_folder_spoils_no_end(tmp_path: Path, capsys: pytest.CaptureFixture[str], code: int) -> None:
    keep_or_remove(tmp_path / "swept.log", code)
    assert capsys.readouterr().err == ""


def test_where_nothing_can_be_written_the_variable_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    assert main(["serve", str(write_repository(tmp_path / "repository"))]) == 1
    assert "Set TMPDIR to a folder that can be written" in capsys.readouterr().err


def test_wrong_numbers_are_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for option, value in (("--grpc-port", "99999"), ("--http-port", "-1"), ("--ready-timeout", "-1"), ("--exit-timeout", "-1")):
        with pytest.raises(SystemExit) as stop:
            main(["serve", str(tmp_path), option, value])
        assert (stop.value.code, f"argument {option}: {value} is " in capsys.readouterr().err) == (2, True)


def test_a_log_is_bounded_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("ab", buffering=0) as triton:  # appends for ever, as the server does
        for _ in range(3):
            triton.write(b"x" * 100)
            bound(path, 150)
        assert (path.read_bytes(), (tmp_path / "log.1").read_bytes()) == (b"x" * 100, b"x" * 200)
        triton.write(b"y" * 100)
        bound(path, 150)
    assert ((tmp_path / "log.1").read_bytes(), path.read_bytes()) == (b"x" * 100 + b"y" * 100, b"")


def test_a_log_is_bounded_on_a_full_disk_too(tmp_path: Path) -> None:
    path, older = tmp_path / "log", tmp_path / "log.1"
    older.symlink_to("/dev/full")
    path.write_bytes(b"x" * 200)
    bound(path, 150)
    assert (path.read_bytes(), older.is_symlink()) == (b"", False), "half a copy would fill what became free"


GPU = """E1121 02:30:00.000000 1 server.cc:241] "CudaDriverHelper has not been initialized."
E1121 02:30:00.000000 1 pinned_memory_manager.cc:1] "unable to create stream: no CUDA-capable device is detected"
"""


def test_that_a_machine_has_no_gpu_is_no_reason() -> None:
    reason = 'E1121 02:30:00.000000 1 main.cc:245] "failed to start GRPC service"\n'
    assert log.failure(GPU + reason) == "failed to start GRPC service"
    assert "unable to create stream" in log.failure(GPU), "unless nothing else is said"


def test_the_end_of_triton_by_an_exception_has_its_words() -> None:
    said = "terminate called after throwing an instance of 'PythonBackendException'\n  what():  Failed to create temporary directory."
    assert "Failed to create temporary directory." in log.failure(GPU + said)
