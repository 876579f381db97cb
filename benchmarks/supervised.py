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
import time
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks import ROOT
from masklet_build import nano
from masklet_build.repository.assemble import assemble
from masklet_build.serve import Policy, Server, Supervisor
from masklet_build.serve.cleanup import live_processes

_READY = re.compile(r"^ready[^:]*: gRPC (\S+), HTTP (\S+), metrics (\S+) \(process (\d+)\)$")
_STUB = "triton_python_backend_stub"
_PATIENCE_S = 120.0
_POLICY = Policy(restarts=1000, longest_delay_s=0.5)  # it will be hurt again and again


class Served:
    """A server that another process supervises and tells of, line by line; a context manager.

    words        that start the supervisor
    environment  its variables
    log          Triton's
    lines        what the supervisor said so far, and when (`time.time()`)
    """

    def __init__(self, words: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.log = log
        self.lines: list[tuple[float, str]] = []
        self.url = self.http_url = self.metrics_url = ""
        self.pid = 0  # of tritonserver; 0 while there is no supervisor
        self._words, self._environment = words, environment
        self._up = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._listener = threading.Thread()

    @property
    def supervisor(self) -> int:
        """The process id of the supervisor."""
        assert self._process is not None, "it was not started"
        return self._process.pid

    @property
    def restarts(self) -> list[str]:
        """The supervisor's words for each restart."""
        return [line for _, line in [*self.lines] if line.startswith("restarting")]

    def start(self) -> None:
        """Starts the supervisor in a session of its own, so that a Ctrl-C in the terminal does not reach it."""
        self._process = subprocess.Popen(
            self._words,
            cwd=ROOT,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._listener = threading.Thread(target=self._listen, args=(self._process,), daemon=True)
        self._listener.start()

    def stop(self) -> None:
        """Ends the supervisor and what it supervises."""
        process = self._process
        assert process is not None, "it was not started"
        for pid in self.everything():  # whatever was stopped goes on, else it could not be told to end
            signalled(pid, signal.SIGCONT)
        self.ask_to_end(process)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()  # the guardian of its server cleans up
            process.wait()
        self._listener.join()

    def __enter__(self) -> Self:
        self.start()
        try:
            self.wait_until_up()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def stubs(self) -> dict[int, str]:
        """The processes of the python models: pid -> name of the model instance, "memory_bank_0_0"."""
        lines = {pid: command_line(pid) for pid in live_processes(self.pid)} if self.pid else {}
        return {pid: words[-2] for pid, words in lines.items() if _STUB in words[0]}

    def everything(self) -> list[int]:
        """Triton, its stubs and the supervisor."""
        return [*(live_processes(self.pid) if self.pid else []), self.supervisor]

    def metric(self, name: str, default: float) -> float:
        """A number of the bank; `default` while the server is not there, or does not have it."""
        try:
            with urllib.request.urlopen(self.metrics_url, timeout=5) as answer:
                found = re.search(rf"^{name} (\S+)$", answer.read().decode(), re.MULTILINE)
        except OSError:  # it starts again
            return default
        return float(found[1]) if found else default

    def wait_until_up(self, patience_s: float = _PATIENCE_S) -> None:
        """Waits while it starts, or starts again. Raises RuntimeError where it does not."""
        if not self._up.wait(patience_s) or not self.pid:
            said = "\n".join(line for _, line in self.lines[-5:])
            raise RuntimeError(f"the server did not start within {patience_s:g} s; see {self.log}. What its supervisor said last:\n{said}")

    def ask_to_end(self, process: subprocess.Popen[str]) -> None:
        """Tells the supervisor to end, here by the end of its standard input."""
        close(process)

    def ended(self) -> None:
        """Called in a thread of its own when the supervisor has ended, for whatever reason."""
        self._up.set()  # so that nobody waits for it

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.lines.append((time.time(), line.strip()))
            if found := _READY.match(line.strip()):
                self.url, self.http_url, self.metrics_url, self.pid = found[1], found[2], found[3], int(found[4])
                self._up.set()
            elif line.startswith("restarting"):
                self._up.clear()
        process.stdout.close()
        process.wait()
        close(process)
        self.pid = 0
        self.ended()


class Supervised(Served):
    """nano served and supervised.

    folder    for the repository, the file by which it drains, and Triton's log
    python    interpreter of the serving environment; None: as `masklet_build.serve` finds it
    settings  "model.parameter" -> value, as `assemble` takes them
    """

    def __init__(self, folder: Path, python: Path | None = None, settings: dict[str, str] | None = None) -> None:
        given = {"memory_bank.drain_file": str(folder / "draining"), **(settings or {})}
        self.repository = assemble("nano", nano.ENGINES, folder / "repository", settings=given)
        log = folder / "triton.log"
        words = [sys.executable, "-m", "benchmarks.supervised", str(self.repository.absolute()), str(log.absolute())]
        super().__init__(words, os.environ | ({"MASKLET_SERVING_PYTHON": str(python)} if python else {}), log)


def close(process: subprocess.Popen[str]) -> None:
    """Closes the standard input of a process, which may have ended."""
    assert process.stdin is not None
    with suppress(BrokenPipeError):
        process.stdin.close()


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
