"""The server image without its container: the real entrypoint in front of the real Triton of the wheel, and what watches it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from masklet_build.serve import cleanup, launcher
from masklet_build.serve.environment import find_environment
from tests.deploy.tools import entrypoint, tool

PATIENCE_S = 60  # only something broken uses it up


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def until(wanted: Callable[[], Any], what: str) -> Any:
    """The first true answer."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := wanted()):
        assert time.monotonic() < deadline, f"not within {PATIENCE_S:g} s: {what}"
        time.sleep(0.2)
    return found


def get(url: str, **headers: str) -> tuple[int, str]:
    """Status and body."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=PATIENCE_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


@dataclass
class Image:
    """A server that the entrypoint started. `pid` is tritonserver's."""

    pid: int
    grpc_url: str
    http_url: str
    metrics: str
    log: Path

    def stub(self, model: str) -> int:
        """Process id of a python model."""
        names = {pid: Path(f"/proc/{pid}/cmdline").read_text().split("\0") for pid in cleanup.live_processes(self.pid)}
        (found,) = [pid for pid, words in names.items() if "triton_python_backend_stub" in words[0] and f"{model}_0_0" in words]
        return found


@contextmanager
def image(repository: Path, python: Path, folder: Path, *arguments: str, **variables: str) -> Iterator[Image]:
    """Runs docker/entrypoint.py as the image does. PATH leads it to the wheel's Triton, which is told where its python backend is."""
    environment = find_environment(python)
    run = launcher.make_run_dir(environment, repository)
    host = f"test-{uuid.uuid4().hex[:8]}"
    ports = {name: free_port() for name in ("grpc", "http", "metrics")}
    shim = folder / "bin" / "tritonserver"
    shim.parent.mkdir(parents=True)
    where = " ".join([f"--backend-directory={run.path / 'backends'}", *(f"--{name}-port={port}" for name, port in ports.items())])
    shim.write_text(f'#!/bin/sh\nexec "{environment.triton}/bin/tritonserver" {where} "$@"\n')
    shim.chmod(0o755)
    settings = launcher.variables(environment, run)
    settings |= {
        "PATH": f"{shim.parent}:{settings['PATH']}",
        "HOSTNAME": host,
        "MASKLET_MODELS": str(repository),
        "MASKLET_DRAIN_FILE": str(folder / "draining"),
    }
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, str(entrypoint(folder / "image")), *arguments],
            env=settings | variables,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    made = Image(process.pid, f"127.0.0.1:{ports['grpc']}", f"http://127.0.0.1:{ports['http']}", f"127.0.0.1:{ports['metrics']}", folder / "log")
    try:
        until(lambda: get(f"{made.http_url}/v2/health/ready")[0] == 200 or process.poll() is not None, "ready")
        assert process.poll() is None, made.log.read_text()[-3000:]
        yield made
    finally:
        process.kill()
        process.wait()
        cleanup.clean_up(process.pid, f"masklet_{host}_", run.path)


@dataclass
class Prometheus:
    """A real Prometheus."""

    url: str

    def ask(self, expression: str) -> list[dict[str, Any]]:
        """The answer to an instant query. An expression that is none is an AssertionError."""
        status, body = get(f"{self.url}/api/v1/query?{urllib.parse.urlencode({'query': expression})}")
        assert status == 200, body
        found: list[dict[str, Any]] = json.loads(body)["data"]["result"]
        return found

    def firing(self) -> set[str]:
        """Names of the alerts that fire."""
        return {series["metric"]["alertname"] for series in self.ask('ALERTS{alertstate="firing"}')}


@contextmanager
def prometheus(config: dict[str, Any], rules: str, folder: Path) -> Iterator[Prometheus]:
    """Runs it with a configuration, whose rule_files is replaced by these rules."""
    folder.mkdir()
    (folder / "rules.yaml").write_text(rules)
    (folder / "prometheus.yaml").write_text(json.dumps(config | {"rule_files": ["rules.yaml"]}))
    address = f"127.0.0.1:{free_port()}"
    command = [
        tool("prometheus"),
        f"--config.file={folder / 'prometheus.yaml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
    ]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {"GOMAXPROCS": "1"})
    try:
        until(lambda: get(f"http://{address}/-/ready")[0] == 200, (folder / "log").read_text())
        yield Prometheus(f"http://{address}")
    finally:
        process.kill()
        process.wait()


@dataclass
class Collector:
    """Keeps what an OpenTelemetry exporter sends by OTLP/HTTP in JSON."""

    url: str = ""
    spans: list[dict[str, Any]] = field(default_factory=list)
    services: set[str] = field(default_factory=set)

    def take(self, body: bytes) -> None:
        for resource in json.loads(body)["resourceSpans"]:
            self.services |= {item["value"]["stringValue"] for item in resource["resource"]["attributes"] if item["key"] == "service.name"}
            self.spans += [span for scope in resource["scopeSpans"] for span in scope["spans"]]


@contextmanager
def collector() -> Iterator[Collector]:
    kept = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            kept.take(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        kept.url = f"http://127.0.0.1:{server.server_port}/v1/traces"
        yield kept
        server.shutdown()
