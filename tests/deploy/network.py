"""NetworkPolicies as Kubernetes reads them: who may open a connection to whom, in a rendering.

https://kubernetes.io/docs/concepts/services-networking/network-policies/: policies add up; a pod that none selects is open; both ends have to agree.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.deploy.manifests import Object

OURS = "masklet"  # the namespace


@dataclass(frozen=True)
class Place:
    """Where a connection begins or ends: a pod, by its namespace and labels, or an address that no pod has. `ports`: of a pod, by name."""

    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    address: str = "10.0.0.1"
    ports: Mapping[str, int] = field(default_factory=dict)


PROMETHEUS = Place("monitoring", {"app": "prometheus"})
ENVOY = Place("envoy-gateway-system", {"app": "envoy"})
NEIGHBOUR = Place(OURS, {"app": "something else"})
STRANGER = Place("elsewhere", {"app": "something else"})
OUTSIDE = Place(address="203.0.113.7")


def pods(objects: list[Object]) -> dict[str, Place]:
    """The pods of a rendering by the name of their deployment."""
    found = {}
    for item in (item for item in objects if item["kind"] == "Deployment"):
        template = item["spec"]["template"]
        ports = {port["name"]: port["containerPort"] for port in template["spec"]["containers"][0]["ports"]}
        found[item["metadata"]["name"]] = Place(OURS, template["metadata"]["labels"], ports=ports)
    return found


def may_reach(objects: list[Object], source: Place, target: Place, port: int, protocol: str = "TCP") -> bool:
    """Whether the policies of a rendering let a connection through."""
    return _end(objects, "Egress", source, target, target, port, protocol) and _end(objects, "Ingress", target, source, target, port, protocol)


def _end(objects: list[Object], way: str, pod: Place, peer: Place, target: Place, port: int, protocol: str) -> bool:
    """Whether one end agrees: `pod`, if a policy selects it for this way."""
    specs = [item["spec"] for item in objects if item["kind"] == "NetworkPolicy"]
    bound = [spec for spec in specs if way in spec["policyTypes"] and pod.namespace == OURS and _matches(spec["podSelector"], pod.labels)]
    if not bound:
        return True
    rules = [rule for spec in bound for rule in spec.get(way.lower(), [])]
    peers = {"Egress": "to", "Ingress": "from"}[way]
    return any(_peer(rule.get(peers), peer) and _port(rule.get("ports"), target, port, protocol) for rule in rules)


def _peer(wanted: list[Object] | None, peer: Place) -> bool:
    return not wanted or any(_is(one, peer) for one in wanted)


def _is(wanted: Object, peer: Place) -> bool:
    if "ipBlock" in wanted:
        assert set(wanted["ipBlock"]) == {"cidr"}
        return not peer.namespace and ipaddress.ip_address(peer.address) in ipaddress.ip_network(wanted["ipBlock"]["cidr"])
    namespaces = wanted.get("namespaceSelector", {"matchLabels": {"kubernetes.io/metadata.name": OURS}})
    known = {"kubernetes.io/metadata.name": peer.namespace}
    return bool(peer.namespace) and _matches(namespaces, known) and _matches(wanted.get("podSelector", {}), peer.labels)


def _port(wanted: list[Object] | None, target: Place, port: int, protocol: str) -> bool:
    return not wanted or any(one.get("protocol", "TCP") == protocol and target.ports.get(str(one["port"]), one["port"]) == port for one in wanted)


def _matches(selector: Object, labels: Mapping[str, str]) -> bool:
    assert set(selector) <= {"matchLabels"}, "another kind of selector: teach this module first"
    return selector.get("matchLabels", {}).items() <= labels.items()
