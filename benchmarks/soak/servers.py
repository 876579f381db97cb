"""Two servers behind a gateway, each started by `masklet-build serve` as a user would, and started again whenever that ends, as systemd would."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.supervised import Served, signalled
from masklet.errors import MaskletError
from masklet.gauges import Bank, read_banks
from masklet_build.repository.assemble import assemble
from masklet_build.serve.cleanup import live_processes
from tests.failover.fleet import common_ports
from tests.failover.gateways import Envoy, HAProxy, Ports, wait_until_healthy
from tests.failover.names import Names

GATEWAYS: dict[str, type[Envoy] | type[HAProxy]] = {"haproxy": HAProxy, "envoy": Envoy}
LIMIT = 48  # live videos of a server
IDLE_S = 30  # after which it forgets a silent video: those of clients that were killed
_PATIENCE_S = 180.0  # for a server that is being started again, by a supervisor that pauses before it tries again
_AGAIN_S = 1.0  # until a supervisor that ended is started again


@dataclass(frozen=True)
class Fleet:
    """What runs: a variant, the folder of its engines, the interpreter of the serving environment, the gateway and its program.

    damage  changes the model repository of each server before it starts; for tests of what is found
    """

    variant: str
    engines: Path
    python: Path | None
    gateway: str
    program: str
    damage: Callable[[Path], object] = lambda repository: None


class Serve(Served):
    """One server at an address of its own."""

    def __init__(self, fleet: Fleet, folder: Path, name: str, host: str, ports: tuple[int, int, int]) -> None:
        self.name, self.host = name, host
        self.drain_file = folder / "draining"
        settings = {"drain_file": str(self.drain_file), "max_videos": str(LIMIT), "idle_seconds": str(IDLE_S)}
        repository = assemble(
            fleet.variant, fleet.engines, folder / "repository", settings={f"memory_bank.{key}": value for key, value in settings.items()}
        )
        fleet.damage(repository)
        log = folder / "triton.log"
        options = [f"--{which}-port={port}" for which, port in zip(("grpc", "http", "metrics"), ports, strict=True)]
        options += [f"--{what}={host}" for what in ("host", "http-host", "metrics-host")]
        words = [sys.executable, "-m", "masklet_build", "serve", str(repository), *options, "--exit-timeout=1", "--log", str(log)]
        super().__init__(words, os.environ | ({"MASKLET_SERVING_PYTHON": str(fleet.python)} if fleet.python else {}), log)
        self._stopping, self._lock = threading.Event(), threading.Lock()

    @property
    def life(self) -> str:
        """A name for the Triton that runs now; empty while none does."""
        return f"{self.name}, process {self.pid}" if self.pid else ""

    def wait_until_alive(self) -> None:
        """Returns when Triton runs and its supervisor has said that it is ready. Raises TimeoutError."""
        deadline = time.monotonic() + _PATIENCE_S
        while not (self._up.is_set() and self.pid in live_processes(self.pid)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the server {self.name} was not there within {_PATIENCE_S:g} s; its supervisor said {self.lines[-1:]}")
            time.sleep(0.1)

    def kill(self, *pids: int) -> None:
        """Ends processes without warning. Returns when they are gone."""
        for pid in pids:
            signalled(pid, signal.SIGKILL)
        while {*pids} & {*live_processes(self.pid), *live_processes(self.supervisor)}:
            time.sleep(0.01)

    def bank(self) -> Bank | None:
        """Its gauges; None while it does not answer."""
        try:
            return read_banks(self.metrics_url, 5)["tracker"]
        except MaskletError:
            return None

    def stop(self) -> None:
        """See `Served`."""
        with self._lock:
            self._stopping.set()
        super().stop()

    def ask_to_end(self, process: subprocess.Popen[str]) -> None:
        """As a user would."""
        process.terminate()

    def ended(self) -> None:
        """Starts it again."""
        self._up.clear()
        self._stopping.wait(_AGAIN_S)
        with self._lock:
            if not self._stopping.is_set():
                self.start()


class Cluster:
    """Both servers, the gateway, and the name server by which it finds them.

    lasting  is spared by faults that end processes, so that its memory can be watched for long
    mortal   is not
    """

    def __init__(self, servers: tuple[Serve, Serve], gateway: Envoy | HAProxy, names: Names) -> None:
        self.lasting, self.mortal = self.servers = servers
        self.gateway, self._names = gateway, names

    @property
    def url(self) -> str:
        """Of the gateway."""
        return self.gateway.url

    def name(self, *servers: Serve) -> None:
        """Lets the gateway know these servers, as a cluster does that leaves out those that drain."""
        self._names.addresses = tuple(server.host for server in servers)


@contextmanager
def running(fleet: Fleet, folder: Path) -> Iterator[Cluster]:
    """The cluster, once all of it is ready."""
    hosts = [f"127.0.{os.getpid() % 250 + 1}.{number}" for number in (1, 2)]
    ports = common_ports(hosts)
    with ExitStack() as stack:
        names = stack.enter_context(Names())
        servers = []
        for name, host in zip(("lasting", "mortal"), hosts, strict=True):
            (folder / name).mkdir()
            servers.append(stack.enter_context(Serve(fleet, folder / name, name, host, ports)))
        gateway = GATEWAYS[fleet.gateway](fleet.program, folder, Ports(ports[0], ports[1], names.port))
        cluster = Cluster((servers[0], servers[1]), gateway, names)
        cluster.name(*cluster.servers)
        gateway.__enter__()
        stack.callback(lambda: gateway.__exit__(None, None, None))
        wait_until_healthy(gateway, 2)
        yield cluster
