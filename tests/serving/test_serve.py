"""The server as an object: it starts, answers, says why it does not, and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import tritonclient.grpc as grpc

from masklet.health import Health
from masklet_build.serve import ServeError, Server, launcher, probe
from masklet_build.serve.cleanup import live_processes, shared_memory_regions
from masklet_build.serve.environment import find_environment
from tests.serving.toy import ask, kill_at_rest, request, write_repository

pytestmark = pytest.mark.server

FREE = {"grpc_port": 0, "http_port": 0, "metrics_port": 0}
NOBODY = 65534
PATIENCE_S = 60  # only something broken uses it up


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return write_repository(tmp_path / "a repository")


def _shared_memory() -> list[Path]:
    return shared_memory_regions(f"masklet_{os.getpid()}_")


@pytest.fixture(autouse=True)
def others() -> Iterator[list[Path]]:
    """Shared memory of other servers of this process. Each test has to leave exactly that."""
    before = _shared_memory()
    yield before
    assert _shared_memory() == before


def test_a_server_answers_and_leaves_nothing_behind(repository: Path, serving_python: Path, others: list[Path]) -> None:
    with Server(repository, python=serving_python, **FREE) as server:
        session, run_dir = server.pid, server.log_path.parent
        assert ask(server.grpc_url) in server.stubs()
        assert len(_shared_memory()) > len(others)
        assert run_dir.exists()
    assert live_processes(session) == []
    assert _shared_memory() == others
    assert not run_dir.exists()


def test_paths_with_spaces_work(tmp_path: Path, serving_python: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / "temporary (files)"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    with Server(write_repository(tmp_path / "my models" / "it's"), python=serving_python, **FREE) as server:
        assert ask(server.grpc_url) in server.stubs()


def test_a_model_that_fails_is_named_with_its_traceback(tmp_path: Path, serving_python: Path) -> None:
    repository = write_repository(tmp_path, initialize="raise ValueError('weights has 3 bytes')")
    with pytest.raises(ServeError, match="weights has 3 bytes") as caught:
        Server(repository, python=serving_python, **FREE).start()
    assert "model 'tracker' failed to load" in str(caught.value)
    assert f"{repository}/tracker/1/model.py(10): initialize" in str(caught.value)


def test_a_start_without_end_runs_into_its_deadline(tmp_path: Path, serving_python: Path) -> None:
    repository = write_repository(tmp_path, initialize="time.sleep(3600)")
    with pytest.raises(ServeError, match=r"not ready after 1\.5 s"):
        Server(repository, python=serving_python, ready_timeout_s=1.5, **FREE).start()


def test_a_used_port_is_named(repository: Path, serving_python: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ServeError, match=rf"127\.0\.0\.1:{port} for grpc: Address already in use\. .*--grpc-port"):
            Server(repository, python=serving_python, **{**FREE, "grpc_port": port}).start()


def test_a_temporary_folder_in_which_nothing_runs_is_left_for_another(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    statvfs, unfit = os.statvfs, {str(tmp_path)}

    def mounted(folder: str) -> object:
        return SimpleNamespace(f_flag=os.ST_NOEXEC) if str(folder) in unfit else statvfs(folder)

    monkeypatch.setattr(os, "statvfs", mounted)
    made = launcher._folder_for_programs()
    assert made.parent == Path("/tmp")
    made.rmdir()
    unfit |= {"/tmp", "/var/tmp"}
    with pytest.raises(ServeError, match=rf"'{tmp_path}' is mounted noexec, '/tmp' is mounted noexec, .* Set TMPDIR to another\."):
        launcher._folder_for_programs()


def test_a_folder_without_models_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ServeError, match="is not a model repository"):
        Server(tmp_path)


def test_an_interpreter_without_triton_says_how_to_get_it(tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    with pytest.raises(ServeError, match="pip install --no-deps nvidia-pytriton"):
        find_environment(bare / "bin" / "python")


def test_a_probe_sees_a_dead_stub_that_triton_calls_ready(repository: Path, serving_python: Path) -> None:
    with Server(repository, python=serving_python, exit_timeout_s=1, **FREE) as server:
        assert probe(server.grpc_url, PATIENCE_S).health is Health.ALIVE
        kill_at_rest(ask(server.grpc_url))
        finding = probe(server.grpc_url, PATIENCE_S)
        assert (finding.health, server.is_ready()) == (Health.DEAD, True), f"{finding}\n{server.log_text()[-2000:]}"
        assert server.stubs() == {}


def test_an_open_stream_does_not_keep_a_stopped_server_alive(repository: Path, serving_python: Path) -> None:
    server = Server(repository, python=serving_python, exit_timeout_s=1, **FREE)
    with server, grpc.InferenceServerClient(server.grpc_url) as client:
        session = server.pid
        client.start_stream(lambda result, error: None)
        client.async_stream_infer("tracker", [request()], sequence_id=7, sequence_start=True)
        began = time.monotonic()
        server.stop()
        assert time.monotonic() - began > 2, "Triton stopped by itself: this test no longer shows anything"
        assert live_processes(session) == []


def test_a_killed_owner_leaves_nothing_behind(repository: Path, serving_python: Path) -> None:
    script = (
        "import sys, time; from masklet_build.serve import Server\n"
        "server = Server(sys.argv[1], python=sys.argv[2], grpc_port=0, http_port=0, metrics_port=0); server.start()\n"
        "print(server.pid, server.log_path.parent, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script, repository, serving_python], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        session, run_dir = owner.stdout.readline().split()
        assert live_processes(int(session))
        owner.kill()
    deadline = time.monotonic() + PATIENCE_S
    while Path(run_dir).exists() and time.monotonic() < deadline:  # removed last
        time.sleep(0.05)
    assert not Path(run_dir).exists()
    assert live_processes(int(session)) == []
    assert shared_memory_regions(f"masklet_{owner.pid}_") == []


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can read; pytest's own are private."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests ran as an ordinary user already")
def test_an_ordinary_user_can_serve(open_folder: Path, serving_python: Path) -> None:
    as_nobody = {"user": NOBODY, "group": NOBODY, "extra_groups": [], "cwd": "/"}
    python = _public_interpreter(open_folder, serving_python, as_nobody)
    repository = write_repository(open_folder / "repository")
    sources = [str(Path(__file__).resolve().parents[2] / part / "src") for part in ("build", "client")]
    script = (
        "import os, sys; from masklet_build.serve import Server, probe\n"
        "with Server(sys.argv[1], grpc_port=0, http_port=0, metrics_port=0) as server: print(os.getuid(), probe(server.grpc_url, 60).health.value)"
    )
    environment = {"PATH": os.defpath, "HOME": "/nonexistent", "PYTHONPATH": ":".join(sources)}
    done = subprocess.run([python, "-c", script, repository], env=environment, capture_output=True, text=True, timeout=2 * PATIENCE_S, **as_nobody)
    assert done.stdout.split() == [str(NOBODY), "alive"], done.stderr


def _public_interpreter(folder: Path, serving_python: Path, as_nobody: dict[str, object]) -> Path:
    """The serving interpreter, or where its Python lies in root's home, the system's of the same version with the same packages."""
    facts = find_environment(serving_python)
    system = Path(f"/usr/bin/python{facts.version}")
    if _runs(serving_python, as_nobody):
        return serving_python
    if not _runs(system, as_nobody):
        pytest.skip(f"an ordinary user can run neither {serving_python} nor {system}")
    subprocess.run([system, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    packages = folder / "venv" / "lib" / f"python{facts.version}" / "site-packages"
    (packages / "serving.pth").write_text(f"{facts.triton.parents[1]}\n")
    return folder / "venv" / "bin" / "python"


def _runs(python: Path, as_nobody: dict[str, object]) -> bool:
    try:
        return subprocess.run([python, "-c", ""], env={}, capture_output=True, **as_nobody).returncode == 0
    except OSError:
        return False
