"""The gateways of docker/gateways, run as they are there; only names and ports are those of this machine."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import socket
import subprocess
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import yaml

from tests.failover.names import NAME

CONFIGS = Path(__file__).resolve().parents[2] / "docker" / "gateways"
_PATIENCE_S = 60.0


class Gateway(Protocol):
    """A gateway that runs; a context manager."""

    name: str
    url: str

    def healthy(self) -> int:
        """How many servers it would send a new video to."""

    def __enter__(self) -> Gateway: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...


@dataclass(frozen=True)
class Ports:
    """What a gateway has to know: the gRPC and HTTP ports that all servers share, and the port of the name server."""

    grpc: int
    http: int
    names: int


class _Process:
    """A gateway's process. Its log lies in `folder`."""

    name: str

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        """The command line."""
        raise NotImplementedError

    def variables(self) -> dict[str, str]:
        """Environment variables to add."""
        return {}

    def __enter__(self) -> Any:
        with (self.folder / f"{self.name}.log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | self.variables(),
                cwd=CONFIGS,
                start_new_session=True,  # a Ctrl-C in the terminal is for the program that uses it
            )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def check(self) -> None:
        """Raises RuntimeError where the gateway has ended."""
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(
                f"{self.name} ended with exit code {self._process.returncode}: {(self.folder / f'{self.name}.log').read_text()[-2000:]}"
            )


class Envoy(_Process):
    """docker/gateways/envoy.yaml. `program`: the binary."""

    name = "envoy"

    def __init__(self, program: str, folder: Path, ports: Ports) -> None:
        super().__init__(folder)
        self._program, self._admin = program, free_port()
        self._config = folder / "envoy.yaml"
        self._config.write_text(yaml.safe_dump(_here(yaml.safe_load((CONFIGS / "envoy.yaml").read_text()), self.port, self._admin, ports)))

    def command(self) -> list[str]:
        """See `_Process`."""
        return [self._program, "--config-path", str(self._config), "--disable-hot-restart", "--concurrency", "2", "--log-level", "warning"]

    def healthy(self) -> int:
        """See `Gateway`."""
        self.check()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._admin}/clusters?format=json", timeout=2) as answer:
                clusters = json.load(answer)["cluster_statuses"]
        except OSError:  # still starting
            return 0
        states = [host["health_status"] for cluster in clusters for host in cluster.get("host_statuses", [])]
        return sum(state == {"eds_health_status": "HEALTHY"} for state in states)


def _here(config: dict[str, Any], port: int, admin: int, ports: Ports) -> dict[str, Any]:
    """The config with the addresses of this machine in it."""
    config["admin"]["address"]["socket_address"]["port_value"] = admin
    (listener,), (cluster,) = (config["static_resources"][part] for part in ("listeners", "clusters"))
    listener["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": port}
    endpoint = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
    endpoint["address"]["socket_address"] = {"address": NAME, "port_value": ports.grpc}
    endpoint["health_check_config"]["port_value"] = ports.http
    cluster["typed_dns_resolver_config"] = {
        "name": "envoy.network.dns_resolver.cares",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
            "resolvers": [{"socket_address": {"address": "127.0.0.1", "port_value": ports.names}}],
            "dns_resolver_options": {"no_default_search_domain": True},
        },
    }
    return config


class HAProxy(_Process):
    """docker/gateways/haproxy.cfg. `program`: the binary."""

    name = "haproxy"

    def __init__(self, program: str, folder: Path, ports: Ports) -> None:
        super().__init__(folder)
        self._program, self._ports = program, ports
        self._stats = folder / "stats.sock"

    def command(self) -> list[str]:
        """See `_Process`."""
        return [self._program, "-db", "-f", str(CONFIGS / "haproxy.cfg")]

    def variables(self) -> dict[str, str]:
        """See `_Process`."""
        return {
            "MASKLET_BIND": self.url,
            "MASKLET_PODS": f"{NAME}:{self._ports.grpc}",
            "MASKLET_HEALTH_PORT": str(self._ports.http),
            "MASKLET_DNS": f"127.0.0.1:{self._ports.names}",
            "MASKLET_STATS": str(self._stats),
        }

    def healthy(self) -> int:
        """See `Gateway`."""
        self.check()
        rows = csv.DictReader(self._ask("show stat").lstrip("# ").splitlines())
        return sum(row["pxname"] == "masklet" and row["svname"].startswith("pod") and row["status"] == "UP" for row in rows)

    def _ask(self, words: str) -> str:
        with socket.socket(socket.AF_UNIX) as stats:
            try:
                stats.connect(str(self._stats))
            except OSError:  # still starting
                return ""
            stats.sendall(f"{words}\n".encode())
            return b"".join(iter(lambda: stats.recv(65536), b"")).decode()


class Nginx(_Process):
    """docker/gateways/nginx.conf. `program`: the binary; `servers`: gRPC addresses."""

    name = "nginx"

    def __init__(self, program: str, folder: Path, servers: Sequence[str], changes: Mapping[str, str] | None = None) -> None:
        super().__init__(folder)
        self._program = program
        places = "".join(f"        server {url} max_fails=1 fail_timeout=5s;\n" for url in servers)
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        here = "".join(f"    {kind}_temp_path {folder}/{kind};\n" for kind in kinds) + f"    access_log {folder}/access.log;\n"
        config = re.sub(r"( +server [\w-]+:8001 .*\n)+", places, (CONFIGS / "nginx.conf").read_text())
        config = config.replace("http {\n", f"http {{\n{here}").replace("listen 8001", f"listen {self.url}")
        for text, other in (changes or {}).items():
            assert text in config
            config = config.replace(text, other)
        self._config = folder / "nginx.conf"
        self._config.write_text(config)

    def command(self) -> list[str]:
        """See `_Process`."""
        options = f"daemon off; master_process off; pid {self.folder}/nginx.pid;"
        return [self._program, "-c", str(self._config), "-p", str(self.folder), "-e", str(self.folder / "error.log"), "-g", options]

    def wait(self) -> Nginx:
        """Returns once it listens. Raises RuntimeError and TimeoutError."""
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            self.check()
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return self
            time.sleep(0.05)
        raise TimeoutError(f"nginx does not listen at {self.url}")


def wait_until_healthy(gateway: Gateway, servers: int) -> None:
    """Returns once the gateway sends new videos to so many servers. Raises TimeoutError."""
    deadline = time.monotonic() + _PATIENCE_S
    while (seen := gateway.healthy()) != servers:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{gateway.name} sees {seen} healthy servers, not {servers}, after {_PATIENCE_S:g} s")
        time.sleep(0.05)


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nothing listens at."""
    with socket.create_server((host, 0)) as server:
        port: int = server.getsockname()[1]
        return port
