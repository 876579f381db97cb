"""Who may reach whom, by the network policies of each rendering: every port of every pod, from everywhere."""

from __future__ import annotations

import itertools

import pytest

from tests.deploy.manifests import RENDERED, Object, component, one, rendered
from tests.deploy.network import ENVOY, NEIGHBOUR, OUTSIDE, PROMETHEUS, STRANGER, Place, may_reach, pods

pytestmark = pytest.mark.programs

HTTP, GRPC, METRICS = 8000, 8001, 8002
OTHERS = {"prometheus": PROMETHEUS, "envoy": ENVOY, "a pod beside it": NEIGHBOUR, "a pod of the cluster": STRANGER, "the internet": OUTSIDE}
FROM_ENVOY, FROM_HAPROXY, FROM_PROMETHEUS = {("envoy", GRPC)}, {("masklet-gateway", GRPC), ("masklet-gateway", HTTP)}, {("prometheus", METRICS)}
ANYBODY = {(who, GRPC) for who in OTHERS}  # but the server itself, which reaches nobody
ALLOWED = {  # to the server
    ("component", "gateway-envoy"): FROM_ENVOY,
    ("component", "tls-gateway"): FROM_ENVOY,
    ("component", "gateway-haproxy"): FROM_HAPROXY,
    ("component", "monitoring"): FROM_PROMETHEUS,
    ("component", "tls-server"): ANYBODY,  # whose certificates Triton checks
    ("overlay", "haproxy"): FROM_HAPROXY | FROM_PROMETHEUS,
    ("overlay", "production"): FROM_ENVOY | FROM_PROMETHEUS,
}
# A pod of kube-system, and of OpenShift; a cache on the machine, at its own address or at that of the Service.
RESOLVERS = [
    (Place("kube-system", {"k8s-app": "kube-dns"}), 53),
    (Place("openshift-dns", {"dns.operator.openshift.io/daemonset-dns": "default"}), 5353),
    (Place(address="169.254.20.10"), 53),
    (Place(address="10.96.0.10"), 53),
]


def reaching(objects: list[Object], target: Place) -> set[tuple[str, int]]:
    """Who gets through to which port."""
    sources = {**pods(objects), **OTHERS}
    return {(who, port) for who, port in itertools.product(sources, (HTTP, GRPC, METRICS, 22)) if may_reach(objects, sources[who], target, port)}


@pytest.mark.parametrize(("kind", "name"), RENDERED)
def test_nobody_reaches_a_server_but_who_is_meant_to(kind: str, name: str) -> None:
    objects = rendered(kind, name)
    assert reaching(objects, pods(objects)["masklet"]) == ALLOWED.get((kind, name), set())


@pytest.mark.parametrize(("kind", "name"), RENDERED)
def test_a_server_reaches_nobody_but_its_object_store(kind: str, name: str) -> None:
    objects = rendered(kind, name)
    server = pods(objects)["masklet"]
    reached = {port for port in (22, 80, 443, GRPC) if may_reach(objects, server, OUTSIDE, port)}
    assert reached == ({443} if name == "models-object-store" else set())
    assert not any(may_reach(objects, server, place, port) for place in (STRANGER, NEIGHBOUR, PROMETHEUS) for port in (80, GRPC))


def test_haproxy_is_reached_at_its_one_port_and_reaches_frames_and_health_alone() -> None:
    objects = component("gateway-haproxy")
    gateway, server = (pods(objects)[name] for name in ("masklet-gateway", "masklet"))
    assert reaching(objects, gateway) == ANYBODY
    assert {port for port in (HTTP, GRPC, METRICS) if may_reach(objects, gateway, server, port)} == {HTTP, GRPC}
    assert not any(may_reach(objects, gateway, place, port) for place in (OUTSIDE, STRANGER, NEIGHBOUR) for port in (80, 443, GRPC))


@pytest.mark.parametrize(("name", "pod"), [("gateway-haproxy", "masklet-gateway"), ("models-object-store", "masklet")])
def test_who_needs_names_reaches_the_resolver_wherever_the_cluster_has_it(name: str, pod: str) -> None:
    objects = component(name)
    for (place, port), protocol in itertools.product(RESOLVERS, ("UDP", "TCP")):
        assert may_reach(objects, pods(objects)[pod], place, port, protocol), (place, port, protocol)


def test_a_gateway_without_tls_or_authentication_has_no_address_outside_the_cluster() -> None:
    for name in ("gateway-envoy", "gateway-haproxy"):
        objects = component(name)
        assert {item["spec"].get("type", "ClusterIP") for item in objects if item["kind"] == "Service"} == {"ClusterIP"}
    assert envoy_service(component("gateway-envoy")) == "ClusterIP", "Envoy Gateway makes a load balancer where nobody says so"
    assert envoy_service(component("tls-gateway")) == "LoadBalancer"
    policy = one(component("tls-gateway"), "ClientTrafficPolicy")["spec"]
    assert policy["tls"]["clientValidation"]["caCertificateRefs"], "what is outside asks for certificates"


def envoy_service(objects: list[Object]) -> str:
    """The type of the Service that Envoy Gateway makes."""
    reference = one(objects, "Gateway")["spec"]["infrastructure"]["parametersRef"]
    assert (reference["group"], reference["kind"]) == ("gateway.envoyproxy.io", "EnvoyProxy")
    made = one(objects, "EnvoyProxy", reference["name"])["spec"]["provider"]
    assert made["type"] == "Kubernetes"
    return str(made["kubernetes"]["envoyService"]["type"])


@pytest.mark.parametrize(("kind", "name"), RENDERED)
def test_services_have_the_addresses_that_triton_and_haproxy_listen_at(kind: str, name: str) -> None:
    for service in (item for item in rendered(kind, name) if item["kind"] == "Service"):
        assert (service["spec"]["ipFamilyPolicy"], service["spec"]["ipFamilies"]) == ("SingleStack", ["IPv4"])
