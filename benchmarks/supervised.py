"""nano on a server of its own, supervised by another process, for programs that do it harm and see whether it comes back.

python -m benchmarks.supervised REPOSITORY LOG      # what `Supervised` starts; serves until its standard input closes
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType

from benchmarks import ROOT
from masklet_build import nano
from masklet_build.repository.assemble import assemble
from masklet_build.serve import Policy, Server, Supervisor
from masklet_build.serve.cleanup import live_processes

_READY = re.compile(r"^ready(?: again)?: gRPC (\S+), HTTP (\S+), metrics (\S+) \(process (\d+)\)$")
_STUB = "triton_python_backend_stub"
_PATIENCE_S = 120.0
_POLICY = Policy(restarts=1000, longest_delay_s=0.5)  # it will be hurt again and again


class Supervised:
    """nano served and supervised; a context manager.

    folder    for the repository, the file by which it drains, and Triton's log
    python    interpreter of the serving environment; None: as `masklet_build.serve` finds it
    settings  "model.parameter" -> value, as `assemble` takes them
    """

    def __init__(self, folder: Path, python: Path | None = None, settings: dict[str, str] | None = None) -> None:
        given = {"memory_bank.drain_file": str(folder / "draining"), **(settings or {})}
        self.repository = assemble("nano", nano.ENGINES, folder / "repository", settings=given)
        self.log = folder / "triton.log"
        self.restarts: list[str] = []  # the supervisor's words for each
        self.url = self.http_url = self.metrics_url = ""
        self.pid = 0  # of tritonserver
        self._environment = os.environ | ({"MASKLET_SERVING_PYTHON": str(python)} if python else {})
        self._up, self._over = threading.Event(), threading.Event()
        self._process: subprocess.Popen[str] | None = None

    @property
    def supervisor(self) -> int:
        """The process id of the supervisor."""
        assert self._process is not None, "it was not started"
        return self._process.pid

    def __enter__(self) -> Supervised:
        words = [sys.executable, "-m", "benchmarks.supervised", str(self.repository.absolute()), str(self.log.absolute())]
        self._process = subprocess.Popen(words, cwd=ROOT, env=self._environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._listener = threading.Thread(target=self._listen, args=(self._process,), daemon=True)
        self._listener.start()
        try:
            self.wait_until_up()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        for pid in self.everything():  # whatever was stopped goes on, else it could not be told to end
            signalled(pid, signal.SIGCONT)
        self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()  # the guardian of its server cleans up
            self._process.wait()
        self._listener.join()
        self._process.stdout.close()

    def stubs(self) -> dict[int, str]:
        """The processes of the python models: pid -> name of the model instance, "memory_bank_0_0"."""
        lines = {pid: command_line(pid) for pid in live_processes(self.pid)}
        return {pid: words[-2] for pid, words in lines.items() if _STUB in words[0]}

    def everything(self) -> list[int]:
        """Triton, its stubs and the supervisor."""
        return [*(live_processes(self.pid) if self.pid else []), self.supervisor]

    def wait_until_up(self) -> None:
        """Waits while it starts, or starts again. Raises RuntimeError where it does not."""
        if not self._up.wait(_PATIENCE_S) or self._over.is_set():
            raise RuntimeError(f"the server did not start within {_PATIENCE_S:g} s; see {self.log} and what it said above.")

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if found := _READY.match(line.strip()):
                self.url, self.http_url, self.metrics_url, self.pid = found[1], found[2], found[3], int(found[4])
                self._up.set()
            elif line.startswith("restarting"):
                self.restarts.append(line.strip())
                self._up.clear()
        self._over.set()
        self._up.set()


def signalled(pid: int, number: signal.Signals) -> bool:
    """Sends a signal; whether the process was there to get it."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def command_line(pid: int) -> list[str]:
    """Its words; an empty one where the process has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
    except OSError:
        return [""]


def main() -> int:
    """Serves until standard input closes, so that it ends with whoever started it."""
    repository, log = (Path(word) for word in sys.argv[1:3])
    server = Server(repository, grpc_port=0, http_port=0, metrics_port=0, exit_timeout_s=1, log=log)
    supervisor = Supervisor(server, policy=_POLICY, say=lambda line: print(line, flush=True))

    def wait_for_the_end() -> None:
        sys.stdin.read()
        supervisor.stop()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    supervisor.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
