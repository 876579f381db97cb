"""The manifests of what stands around the server: probes, gateways, autoscalers, monitoring; their names and numbers against what they speak to."""

from __future__ import annotations

import re
import subprocess

import pytest

from masklet import Tracker
from masklet.cli.arguments import parse
from masklet.testing import MockTransport
from tests.deploy.manifests import OVERLAYS, RENDERED, component, container, one, overlay, rendered
from tests.deploy.tools import ROOT, tool

pytestmark = pytest.mark.programs

HAPROXY = ROOT / "docker" / "gateways" / "haproxy.cfg"


@pytest.mark.parametrize(("kind", "name"), RENDERED)
def test_a_pod_gets_the_time_that_its_drain_and_its_end_take(kind: str, name: str) -> None:
    objects = rendered(kind, name)
    drain = parse(container(objects)["lifecycle"]["preStop"]["exec"]["command"][1:])
    env = {item["name"]: item.get("value") for item in container(objects)["env"]}
    spec = one(objects, "Deployment")["spec"]
    assert spec["template"]["spec"]["terminationGracePeriodSeconds"] >= drain.grace_s + drain.deadline_s + int(env["MASKLET_EXIT_TIMEOUT_S"]) + 30
    assert str(drain.drain_file) == env["MASKLET_DRAIN_FILE"]
    assert spec["progressDeadlineSeconds"] > spec["template"]["spec"]["terminationGracePeriodSeconds"]
    assert drain.drain_file.is_relative_to(next(mount["mountPath"] for mount in container(objects)["volumeMounts"] if mount["name"] == "tmp"))


@pytest.mark.parametrize("name", OVERLAYS)
def test_probes_are_commands_that_the_client_has_and_end_before_kubernetes_gives_up(name: str) -> None:
    made = container(overlay(name))
    grpc = next(port["containerPort"] for port in made["ports"] if port["name"] == "grpc")
    for probe, ready in (("startupProbe", True), ("readinessProbe", True), ("livenessProbe", False)):
        command = made[probe]["exec"]["command"]
        said = parse(command[1:])
        assert (command[0], said.command, said.url, said.ready) == ("masklet", "probe", f"localhost:{grpc}", ready)
        assert said.timeout_s + 2 <= made[probe]["timeoutSeconds"], f"{probe}: Python has to start, too"


def test_a_server_with_mutual_tls_is_probed_as_every_other() -> None:
    """Counters need no certificate; see test_lifecycle.py for what probes ask."""
    made = container(component("tls-server"))
    (folder,) = [mount["mountPath"] for mount in made["volumeMounts"] if mount["name"] == "tls"]
    assert {"name": "MASKLET_TLS_DIR", "value": folder} in made["env"]
    probes = ("startupProbe", "readinessProbe", "livenessProbe")
    assert [made[probe] for probe in probes] == [container(overlay("cpu"))[probe] for probe in probes]


def test_the_two_autoscalers_agree() -> None:
    keda = one(component("autoscaling-keda"), "ScaledObject")["spec"]
    hpa = one(component("autoscaling-hpa"), "HorizontalPodAutoscaler")["spec"]
    assert (keda["minReplicaCount"], keda["maxReplicaCount"]) == (hpa["minReplicas"], hpa["maxReplicas"])
    assert keda["advanced"]["horizontalPodAutoscalerConfig"]["behavior"] == hpa["behavior"]
    (trigger,) = keda["triggers"]
    (metric,) = hpa["metrics"]
    assert trigger["metadata"]["threshold"] == metric["pods"]["target"]["averageValue"]
    assert metric["pods"]["metric"]["name"] in trigger["metadata"]["query"]


@pytest.mark.parametrize("name", ["autoscaling-keda", "autoscaling-hpa"])
def test_an_autoscaler_alone_says_how_many_pods_there_are(name: str) -> None:
    assert "replicas" not in one(component(name), "Deployment")["spec"]


def test_the_gateway_hashes_by_the_header_that_the_client_sends() -> None:
    transport = MockTransport(lambda request: None)
    with Tracker("server:8001", transport=transport) as tracker:
        tracker.open()
    (header,) = one(component("gateway-envoy"), "BackendTrafficPolicy")["spec"]["loadBalancer"]["consistentHash"]["headers"]
    assert header["name"] in transport.headers[0]
    assert f"balance hdr({header['name']})" in HAPROXY.read_text()


def test_the_gateway_routes_frames_to_the_grpc_port_and_no_administration() -> None:
    objects = component("gateway-envoy")
    (rule,) = one(objects, "GRPCRoute")["spec"]["rules"]
    methods = {match["method"]["method"] for match in rule["matches"]}
    assert methods == {"ModelStreamInfer", "ModelInfer", "ModelReady", "ServerReady", "ServerLive"}
    (backend,) = rule["backendRefs"]
    ports = {port["port"]: port for port in one(objects, "Service")["spec"]["ports"]}
    assert ports[backend["port"]]["name"] == "grpc"
    assert ports[backend["port"]]["appProtocol"] == "kubernetes.io/h2c"


def test_tls_leaves_no_plain_listener() -> None:
    objects = component("tls-gateway")
    (listener,) = one(objects, "Gateway")["spec"]["listeners"]
    assert (listener["protocol"], listener["tls"]["mode"]) == ("HTTPS", "Terminate")
    assert one(objects, "ClientTrafficPolicy")["spec"]["tls"]["clientValidation"]["caCertificateRefs"]


def test_the_environment_of_haproxy_is_what_its_configuration_reads() -> None:
    (made,) = one(component("gateway-haproxy"), "Deployment", "masklet-gateway")["spec"]["template"]["spec"]["containers"]
    read = set(re.findall(r'"\$\{(MASKLET_\w+)\}"', HAPROXY.read_text()))
    given = {item["name"] for item in made["env"] if item["name"].startswith("MASKLET_")}
    assert given == read - {"MASKLET_DNS"}  # optional there: without it /etc/resolv.conf is read
    (config,) = [item["data"] for item in component("gateway-haproxy") if item["metadata"]["name"].startswith("masklet-haproxy-")]
    assert config == {name: (HAPROXY.parent / name).read_text() for name in ("haproxy.cfg", "messages.lua")}


def test_haproxy_takes_its_configuration_with_that_environment() -> None:
    (made,) = one(component("gateway-haproxy"), "Deployment", "masklet-gateway")["spec"]["template"]["spec"]["containers"]
    environment = {item["name"]: item["value"].replace("$(NAMESPACE)", "masklet") for item in made["env"] if "value" in item}
    done = subprocess.run([tool("haproxy"), "-c", "-f", str(HAPROXY)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_monitoring_scrapes_the_port_and_the_job_of_the_rules() -> None:
    """Of pods: those that drain are no endpoints of the Service any more."""
    objects = component("monitoring")
    monitor, pod = one(objects, "PodMonitor")["spec"], one(objects, "Deployment")["spec"]["template"]
    assert pod["metadata"]["labels"][monitor["jobLabel"]] == "masklet"
    assert monitor["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert [endpoint["port"] for endpoint in monitor["podMetricsEndpoints"]] == ["metrics"]
    assert {item["kind"] for item in objects if item["apiVersion"].startswith("monitoring.")} == {"PodMonitor", "PrometheusRule"}
    assert one(objects, "ConfigMap", "masklet-dashboard")["data"] == {"masklet.json": (ROOT / "docker/observability/dashboard.json").read_text()}
