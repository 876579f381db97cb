"""Where a server listens, what it closes, and what it says of what stays open."""

from __future__ import annotations

import contextlib
import http.client
import urllib.request
from pathlib import Path

import pytest
import tritonclient.grpc as grpc
from tritonclient.utils import InferenceServerException

from masklet.health import Health
from masklet_build.serve import ServeError, Server, probe
from masklet_build.serve.address import Address
from masklet_build.serve.command import exposure
from masklet_build.serve.environment import TRITON
from tests.serving.toy import ask, write_repository

FREE = {"grpc_port": 0, "http_port": 0, "metrics_port": 0}
PATIENCE_S = 60  # only something broken uses it up


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return write_repository(tmp_path / "repository")


@pytest.mark.server
def test_administration_is_closed_and_health_and_statistics_are_not(repository: Path, serving_python: Path) -> None:
    with Server(repository, python=serving_python, **FREE) as server, grpc.InferenceServerClient(server.grpc_url) as client:
        for closed in (client.get_model_repository_index, client.get_system_shared_memory_status, client.get_log_settings, client.get_trace_settings):
            with pytest.raises(InferenceServerException, match="restricted"):
                closed()
            closed(headers={"triton-grpc-protocol-admin-key": server.admin_key})
        assert client.get_inference_statistics("tracker").model_stats
        assert client.get_server_metadata().version.startswith(TRITON.split()[0]), "what the warning says is no longer true"
        for path, status in (("v2/health/ready", 200), ("v2/models/tracker/stats", 403), ("v2/models/tracker/config", 403), ("v2/logging", 403)):
            with contextlib.closing(http.client.HTTPConnection(server.http_url)) as connection:
                connection.request("GET", f"/{path}")
                assert connection.getresponse().status == status, path


@pytest.mark.server
@pytest.mark.parametrize("host", ["::1", "::", "[::1]"])
def test_a_server_listens_at_ipv6(repository: Path, serving_python: Path, host: str) -> None:
    with Server(repository, python=serving_python, host=host, http_host=host, metrics_host=host, **FREE) as server:
        assert server.grpc_url.startswith("[::1]:")
        assert probe(server.grpc_url, PATIENCE_S).health is Health.ALIVE
        assert server.is_ready()
        with urllib.request.urlopen(server.metrics_url) as metrics:
            assert b"nv_inference" in metrics.read()
        if host == "::":
            assert ask(f"127.0.0.1:{server.address.grpc}") in server.stubs(), "every network of IPv4 too"


def test_http_and_metrics_stay_on_this_machine_whatever_grpc_does(repository: Path, serving_python: Path) -> None:
    server = Server(repository, python=serving_python, host="0.0.0.0", **FREE)
    assert {name: host for name, (host, _) in server.address.listeners().items()} == {"grpc": "0.0.0.0", "http": "127.0.0.1", "metrics": "127.0.0.1"}


@pytest.mark.parametrize(
    ("address", "said"),
    [
        (Address("127.0.0.1", 1, 2, 3), None),
        (Address("::1", 1, 2, 3), None),
        (Address("localhost", 1, 2, 3), None),
        (Address("0.0.0.0", 1, 2, 3), "gRPC at 0.0.0.0:1. "),
        (Address("::", 1, 2, 3, http_host="10.0.0.1", metrics_host="::"), "gRPC at [::]:1, HTTP at 10.0.0.1:2, metrics at [::]:3. "),
        (Address("gpu-1", 1, 2, 3), "gRPC at gpu-1:1. "),
    ],
)
def test_what_other_machines_reach_is_said_with_the_reason(address: Address, said: str | None) -> None:
    told = exposure(address)
    assert (told is None) == (said is None)
    if told and said:
        assert f"other machines may reach {said}This is Triton 2.51 (24.10)" in told
        assert "before 25.07" in told
        assert "neither authentication nor TLS" in told


def test_a_host_that_is_not_this_machines_is_told_from_a_used_port(repository: Path, serving_python: Path) -> None:
    with pytest.raises(ServeError, match=r"192\.0\.2\.1:0 for grpc: Cannot assign requested address\. The host must be an address of this machine"):
        Server(repository, python=serving_python, host="192.0.2.1", **FREE)
    with pytest.raises(ServeError, match=r"no\.invalid:0 for grpc: (?!Unknown error)\w.*\. The host must be an address of this machine"):
        Server(repository, python=serving_python, host="no.invalid", **FREE)
