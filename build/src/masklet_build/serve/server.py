"""One Triton server from the PyPI wheel as an object: start, wait until ready, stop, leave nothing behind."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

from masklet_build.serve import cleanup, launcher, log, triton_options
from masklet_build.serve.address import LOOPBACK, reachable
from masklet_build.serve.address import check_free as _check_ports
from masklet_build.serve.address import resolved as _resolved_ports
from masklet_build.serve.environment import Environment, find_environment
from masklet_build.serve.errors import ServeError, Stopped
from masklet_build.serve.launcher import RunDir
from masklet_build.serve.processes import Bell

_STUB = "triton_python_backend_stub"


class Server:
    """Triton on one model repository; a context manager.

        with Server(repository, grpc_port=0, http_port=0, metrics_port=0) as server:
            client = tritonclient.grpc.InferenceServerClient(server.grpc_url)

    repository       folder with one folder per model
    python           interpreter of the serving environment; default as `find_environment` says
    *host            addresses to listen at, of gRPC, HTTP and metrics; 127.0.0.1: this machine only; "::": every network
    *_port           0 takes a free one, the same again after a restart
    ready_timeout_s  how long loading all models may take
    exit_timeout_s   how long a stop waits for frames in flight and open sequences
    log              file that Triton's log is appended to; None: one in the run folder, removed at stop

    Raises ServeError on start, with the reason that Triton's log gives.
    """

    def __init__(
        self,
        repository: str | Path,
        *,
        python: str | Path | None = None,
        host: str = LOOPBACK,
        http_host: str = LOOPBACK,
        metrics_host: str = LOOPBACK,
        grpc_port: int = 8001,
        http_port: int = 8000,
        metrics_port: int = 8002,
        ready_timeout_s: float = 300.0,
        exit_timeout_s: int = 10,
        log: str | Path | None = None,
    ) -> None:
        self.repository = Path(repository)
        if not any(self.repository.glob("*/config.pbtxt")):
            raise ServeError(f"{self.repository} is not a model repository: it has no <model>/config.pbtxt. Make one with `masklet-build assemble`.")
        self.environment: Environment = find_environment(python)
        self.address = _resolved_ports(host, {"grpc": grpc_port, "http": http_port, "metrics": metrics_port}, http_host, metrics_host)
        self.admin_key = triton_options.admin_key(os.environ)
        self.drain_file = Path(os.environ.get(triton_options.DRAIN_VARIABLE) or triton_options.default_drain_file(self.address.grpc))
        self.ready_timeout_s = ready_timeout_s
        self.exit_timeout_s = exit_timeout_s
        self._wanted_log = Path(log) if log else None
        self._process: subprocess.Popen[bytes] | None = None
        self._guardian: subprocess.Popen[bytes] | None = None
        self._run: RunDir | None = None
        self._log_begin = 0

    @property
    def grpc_url(self) -> str:
        """HOST:PORT for gRPC clients on this machine."""
        return f"{self.address.reachable_host}:{self.address.grpc}"

    @property
    def http_url(self) -> str:
        """HOST:PORT for HTTP clients on this machine."""
        return f"{reachable(self.address.http_host)}:{self.address.http}"

    @property
    def metrics_url(self) -> str:
        """URL of the Prometheus metrics."""
        return f"http://{reachable(self.address.metrics_host)}:{self.address.metrics}/metrics"

    @property
    def pid(self) -> int:
        """Process id of tritonserver."""
        assert self._process is not None, "the server was not started"
        return self._process.pid

    @property
    def log_path(self) -> Path:
        """Triton's log."""
        assert self._run is not None, "the server was not started"
        return self._wanted_log or self._run.path / "triton.log"

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def start(self, stopping: Bell | None = None) -> None:
        """Starts Triton and returns when every model is ready. On any failure nothing is left running.

        stopping: rung by a signal handler or another thread to give up; then Stopped is raised.
        """
        assert self._process is None, "the server is already started"
        _check_ports(self.address)
        self._run = launcher.make_run_dir(self.environment, self.repository)
        try:
            self._launch(self._run)
            self._wait_until_ready(stopping or Bell())
        except BaseException:  # Ctrl-C while loading too
            self.stop(graceful=False)
            raise

    def _launch(self, run: RunDir) -> None:
        try:
            self.log_path.parent.mkdir(parents=True, exist_ok=True)
            with self.log_path.open("ab") as output:
                self._log_begin = output.tell()
                self._process = subprocess.Popen(
                    launcher.command(self.environment, run, self.address, self.exit_timeout_s, self.admin_key),
                    env=launcher.variables(self.environment, run) | {triton_options.DRAIN_VARIABLE: str(self.drain_file)},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    cwd=run.path,
                    start_new_session=True,  # a Ctrl-C in the terminal reaches only us, and we stop it in order
                )
        except OSError as error:
            raise ServeError(f"cannot start Triton with the log {self.log_path}: {error}.") from error
        self._guardian = _start_guardian(self._process.pid, run)

    def _wait_until_ready(self, stopping: Bell) -> None:
        deadline = time.monotonic() + self.ready_timeout_s
        while not self.is_ready():
            if self.returncode() is not None:
                raise ServeError(f"Triton did not start (exit code {self.returncode()}).\n{self._failure()}")
            if log.failed_models(self.log_text()):
                time.sleep(0.5)  # other models may fail too, and are worth naming
                raise ServeError(f"Triton did not start.\n{self._failure()}")
            if time.monotonic() > deadline:
                raise ServeError(
                    f"Triton was not ready after {self.ready_timeout_s:g} s, which --ready-timeout allows. The end of its log:\n{self._failure()}"
                )
            if stopping.wait(0.1):
                raise Stopped

    def _failure(self) -> str:
        assert self._run is not None
        return log.failure(self.log_text()).replace(str(self._run.repository), str(self.repository.resolve()))

    def log_text(self) -> str:
        """What Triton logged since this start."""
        return log.read(self.log_path, self._log_begin)

    def is_ready(self) -> bool:
        """Whether Triton says that all models are loaded. A model whose stub died later still counts as ready: see `probe`."""
        connection = http.client.HTTPConnection(self.http_url, timeout=2)
        try:
            connection.request("GET", "/v2/health/ready")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()  # an open HTTP connection would keep Triton from draining

    def returncode(self) -> int | None:
        """Exit code of tritonserver; None while it runs; negative for the signal that killed it."""
        return self._process.poll() if self._process else None

    def stubs(self) -> dict[int, str]:
        """The live stub processes: pid -> name of the model instance, "tracker_0_0"."""
        return {pid: words[-2] for pid in cleanup.live_processes(self.pid) if _STUB in (words := _command_line(pid))[0]}

    def stop(self, *, graceful: bool = True) -> None:
        """Stops Triton and removes its processes, shared memory and run folder.

        graceful: SIGTERM first, and up to `exit_timeout_s` for frames in flight; an open gRPC stream keeps Triton alive longer than that, so
        what is still there then is killed. False: kill at once. Does nothing on a stopped server.
        """
        if self._run is None:
            return
        try:
            if graceful and self._process and self._process.poll() is None:
                self._process.send_signal(signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(self.exit_timeout_s + 2)
        finally:
            self._remove(self._run)
            self._process = self._guardian = self._run = None

    def _remove(self, run: RunDir) -> None:
        if self._process is None:
            shutil.rmtree(run.path, ignore_errors=True)
            return
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        cleanup.clean_up(self._process.pid, run.prefix, run.path)
        if self._guardian:
            self._guardian.communicate()


def _start_guardian(session: int, run: RunDir) -> subprocess.Popen[bytes]:
    """A process that cleans up when ours ends without doing so itself."""
    guardian = subprocess.Popen(
        [sys.executable, "-I", "-S", cleanup.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,
    )
    assert guardian.stdin is not None
    guardian.stdin.write(json.dumps({"session": session, "prefix": run.prefix, "run_dir": str(run.path)}).encode() + b"\n")
    guardian.stdin.flush()
    return guardian


def _command_line(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
    except OSError:
        return [""]
