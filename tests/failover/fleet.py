"""Servers on addresses of this machine, as pods of one Service: equal ports, one address each, supervised, known by name."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from masklet.gauges import Bank, read_banks
from masklet_build import nano
from masklet_build.models.variants import variant
from masklet_build.repository.assemble import assemble
from masklet_build.serve import Policy, Server, Supervisor
from tests.failover.gateways import Ports
from tests.failover.names import Names

_SMALL = "efficienttam_ti_512@64"
_POLICY = Policy(restarts=1000)
_PATIENCE_S = 60.0
_IDLE_S = "20"  # after which a video is forgotten that its client gave up while its server was too slow to hear it


@dataclass(frozen=True)
class Network:
    """What the servers run: a variant, the folder of its engines, and settings of its bank."""

    variant: str
    engines: Path
    bank: Mapping[str, str] = field(default_factory=dict)


NANO = Network("nano", nano.ENGINES)


def small(folder: Path) -> Network:
    """A random network for images of 64 x 64, exported into `folder`. It costs next to nothing, so what is left is the cost of everything else."""
    from masklet_build.checkpoints.random_weights import random_checkpoint, save_official
    from masklet_build.export.onnx_export import export  # torch, which nano does not need

    made = variant(_SMALL)
    save_official(random_checkpoint(made, seed=1), folder / "checkpoint.pt")
    export(made, folder / "checkpoint.pt", folder / "engines")
    return Network(_SMALL, folder / "engines")


class Pod:
    """One server. Where it is `supervised` it is restarted at the same address whatever becomes of it; else only by `revive`."""

    def __init__(self, folder: Path, host: str, ports: tuple[int, int, int], python: Path, network: Network, *, supervised: bool) -> None:
        self.host = host
        self.drain_file = folder / "draining"
        bank = {"drain_file": str(self.drain_file), "idle_seconds": _IDLE_S, **network.bank}
        settings = {f"memory_bank.{name}": value for name, value in bank.items()}
        repository = assemble(network.variant, network.engines, folder / "repository", settings=settings)
        grpc, http, metrics = ports
        self.server = Server(
            repository,
            python=python,
            host=host,
            http_host=host,
            metrics_host=host,
            grpc_port=grpc,
            http_port=http,
            metrics_port=metrics,
            exit_timeout_s=1,
            log=folder / "triton.log",
        )
        self._ready = threading.Event()
        self._supervisor = Supervisor(self.server, policy=_POLICY, say=self._hear) if supervised else None
        self._thread = threading.Thread(target=self._supervisor.run if self._supervisor else self._run, name=f"pod {host}", daemon=True)

    def start(self) -> None:
        """Begins to start the server."""
        self._thread.start()

    def stop(self) -> None:
        """Stops the server."""
        if self._supervisor:
            self._supervisor.stop()
        self._thread.join()
        self.server.stop(graceful=False)

    def wait(self) -> None:
        """Returns once the server is ready, or ready again. Raises TimeoutError."""
        if not self._ready.wait(_PATIENCE_S):
            raise TimeoutError(f"the server at {self.host} is not ready after {_PATIENCE_S:g} s; see {self.server.log_path}")

    def kill(self) -> None:
        """Ends Triton without warning."""
        self._ready.clear()
        os.kill(self.server.pid, signal.SIGKILL)

    def revive(self) -> None:
        """Starts a server that was killed and has no supervisor. Returns when it is ready."""
        self.server.stop(graceful=False)
        self._run()

    def kill_stub(self, model: str) -> None:
        """Ends the process of one python model without warning."""
        self._ready.clear()
        (pid,) = (pid for pid, name in self.server.stubs().items() if name.startswith(model))
        os.kill(pid, signal.SIGKILL)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Triton hangs: its connections stay open, and nothing comes. Afterwards it is killed, as a liveness probe would have it."""
        os.kill(self.server.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            self.kill()

    def bank(self) -> Bank:
        """Its gauges."""
        return read_banks(self.server.metrics_url, 5)["tracker"]

    def _run(self) -> None:
        self.server.start()
        self._ready.set()

    def _hear(self, line: str) -> None:
        if line.startswith("ready"):
            self._ready.set()


class Fleet:
    """So many pods, all of them ready; a context manager. `names` gives the first `known` of them to gateways."""

    def __init__(self, folder: Path, python: Path, count: int, known: int | None = None, *, network: Network = NANO, supervised: bool = True) -> None:
        hosts = [f"127.0.{os.getpid() % 250 + 1}.{number}" for number in range(1, count + 1)]  # Linux has all of 127/8; other runs use others
        ports = common_ports(hosts)
        self.pods = [Pod(folder / str(number), host, ports, python, network, supervised=supervised) for number, host in enumerate(hosts)]
        self.names = Names()
        self.ports = Ports(ports[0], ports[1], self.names.port)
        self._known = hosts[:known]
        self._stack = ExitStack()

    def __enter__(self) -> Fleet:
        with ExitStack() as stack:
            stack.enter_context(self.names)
            for pod in self.pods:
                pod.start()
                stack.callback(pod.stop)
            for pod in self.pods:
                pod.wait()
            self.names.addresses = tuple(self._known)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def holders(self) -> dict[str, int]:
        """Live videos by pod; of those that answer."""
        counts = {}
        for pod in self.pods:
            with contextlib.suppress(Exception):
                counts[pod.host] = pod.bank().videos
        return counts

    def fullest(self) -> Pod:
        """The pod with the most live videos."""
        counts = self.holders()
        return max(self.pods, key=lambda pod: counts.get(pod.host, -1))


def common_ports(hosts: list[str]) -> tuple[int, int, int]:
    """Three ports that are free at every host."""
    found: list[int] = []
    while len(found) < 3:
        with socket.create_server((hosts[0], 0)) as first:
            port = first.getsockname()[1]
            with contextlib.suppress(OSError), ExitStack() as held:
                for host in hosts[1:]:
                    held.enter_context(socket.create_server((host, port)))
                if port not in found:
                    found.append(port)
        time.sleep(0)
    return found[0], found[1], found[2]
