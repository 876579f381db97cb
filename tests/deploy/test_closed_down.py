"""Pods are closed down as Kubernetes' restricted standard asks, and further. The lists say what may be there: anything new is looked at first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.deploy.manifests import COMPONENTS, OVERLAYS, Object, component, container, one, overlay

pytestmark = pytest.mark.programs

KINDS = {  # no Role: nothing may ask the API for anything; no Job, DaemonSet or Ingress, which nothing here looks into
    *("Namespace", "ServiceAccount", "Deployment", "Service", "ConfigMap", "PersistentVolumeClaim"),
    *("NetworkPolicy", "PodDisruptionBudget", "HorizontalPodAutoscaler", "ScaledObject", "PodMonitor", "PrometheusRule"),
    *("GatewayClass", "Gateway", "GRPCRoute", "BackendTrafficPolicy", "ClientTrafficPolicy", "EnvoyProxy"),
}
WITHOUT_NAMESPACE = {"Namespace", "GatewayClass"}
POD = {  # no hostNetwork, hostPID, hostIPC, initContainers
    *("containers", "volumes", "securityContext", "serviceAccountName", "automountServiceAccountToken", "enableServiceLinks"),
    *("terminationGracePeriodSeconds", "tolerations", "topologySpreadConstraints"),
}
CONTAINER = {
    *("name", "image", "imagePullPolicy", "args", "env", "envFrom", "ports", "resources", "securityContext", "volumeMounts"),
    *("startupProbe", "readinessProbe", "livenessProbe", "lifecycle"),
}
VOLUMES = {"emptyDir", "configMap", "secret", "persistentVolumeClaim"}  # no hostPath
SECURITY = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}


def openings(objects: list[Object]) -> list[str]:
    """What is open in a rendering."""
    found = [f"{item['kind']}: a kind that nobody looked at" for item in objects if item["kind"] not in KINDS]
    found += [
        f"{item['kind']} {item['metadata']['name']} goes to the default namespace"
        for item in objects
        if item["kind"] not in WITHOUT_NAMESPACE and item["metadata"].get("namespace", "default") == "default"
    ]
    found += [
        f"namespace {item['metadata']['name']} does not enforce the restricted standard"
        for item in objects
        if item["kind"] == "Namespace" and item["metadata"].get("labels", {}).get("pod-security.kubernetes.io/enforce") != "restricted"
    ]
    policies = [item["spec"]["podSelector"]["matchLabels"].items() for item in objects if item["kind"] == "NetworkPolicy"]
    for item in (item for item in objects if item["kind"] == "Deployment"):
        pod = item["spec"]["template"]
        checks = {
            **of_a_pod(pod["spec"]),
            "no network policy": any(labels <= pod["metadata"]["labels"].items() for labels in policies),
        }
        for made in pod["spec"]["containers"]:
            checks |= of_a_container(made)
        found += [f"{item['metadata']['name']}: {problem}" for problem, closed in checks.items() if not closed]
    return found


def of_a_pod(spec: Object) -> dict[str, bool]:
    """Problems, and whether they are absent."""
    security, volumes = spec.get("securityContext", {}), spec["volumes"]
    return {
        f"fields of the pod that nobody looked at: {set(spec) - POD}": set(spec) <= POD,
        "has a token of the API": spec.get("automountServiceAccountToken") is False,
        "may be root, or a user whom the machine has too": security.get("runAsNonRoot") is True and security.get("runAsUser", 0) > 10_000,
        "no seccomp": security.get("seccompProfile") == {"type": "RuntimeDefault"},
        "a volume of another kind": all(set(volume) - {"name"} <= VOLUMES for volume in volumes),
        "an emptyDir without a limit": all("sizeLimit" in volume["emptyDir"] for volume in volumes if "emptyDir" in volume),
    }


def of_a_container(made: Object) -> dict[str, bool]:
    """Problems, and whether they are absent."""
    requests, limits = (made["resources"].get(name, {}) for name in ("requests", "limits"))
    tag = made["image"].rsplit("/")[-1].partition(":")[2]
    return {
        f"fields of the container that nobody looked at: {set(made) - CONTAINER}": set(made) <= CONTAINER,
        "is not confined": made.get("securityContext") == SECURITY,
        "a port of the machine": all(set(port) <= {"name", "containerPort"} for port in made["ports"]),
        "an image that moves": tag not in ("", "latest"),
        "CPUs not requested": "cpu" in requests,  # and no limit: throttling in the middle of a frame delays every video of the pod
        "memory not bounded": "memory" in limits and limits["memory"] == requests.get("memory"),
        "no probes": {"livenessProbe", "readinessProbe"} <= set(made),
    }


@pytest.mark.parametrize("name", OVERLAYS)
def test_an_overlay_leaves_nothing_open(name: str) -> None:
    assert openings(overlay(name)) == []
    assert one(overlay(name), "Namespace")


@pytest.mark.parametrize("name", COMPONENTS)
def test_a_component_opens_nothing(name: str) -> None:
    assert openings(component(name)) == []


def test_secrets_reach_variables_only_where_triton_takes_them_from_nowhere_else() -> None:
    having = {name for name in COMPONENTS for item in component(name) if item["kind"] == "Deployment" and "envFrom" in str(item)}
    assert having == {"models-object-store"}, "credentials of an object store"


def pod(objects: list[Object]) -> Any:
    return one(objects, "Deployment")["spec"]["template"]["spec"]


PLANTED: dict[str, Callable[[list[Object]], Any]] = {
    "the network of the machine": lambda objects: pod(objects).update(hostNetwork=True),
    "processes of the machine": lambda objects: pod(objects).update(hostPID=True),
    "another container first": lambda objects: pod(objects).update(initContainers=[{"name": "first", "image": "first:1"}]),
    "Docker's socket": lambda objects: pod(objects)["volumes"].append({"name": "d", "hostPath": {"path": "/var/run/docker.sock"}}),
    "a token": lambda objects: pod(objects).pop("automountServiceAccountToken"),
    "root": lambda objects: pod(objects)["securityContext"].pop("runAsNonRoot"),
    "a user of the machine": lambda objects: pod(objects)["securityContext"].update(runAsUser=1000),
    "every system call": lambda objects: pod(objects)["securityContext"].update(seccompProfile={"type": "Unconfined"}),
    "temporary files without end": lambda objects: pod(objects)["volumes"].append({"name": "t", "emptyDir": {}}),
    "privileged": lambda objects: container(objects)["securityContext"].update(privileged=True),
    "a capability": lambda objects: container(objects)["securityContext"]["capabilities"].update(add=["NET_RAW"]),
    "no security of the container": lambda objects: container(objects).pop("securityContext"),
    "a port of the machine": lambda objects: container(objects)["ports"][0].update(hostPort=8001),
    "the latest image": lambda objects: container(objects).update(image="registry.example:5000/masklet-server:latest"),
    "no tag": lambda objects: container(objects).update(image="registry.example:5000/masklet-server"),
    "memory without end": lambda objects: container(objects)["resources"].pop("limits"),
    "no request for CPUs": lambda objects: container(objects)["resources"]["requests"].pop("cpu"),
    "no liveness": lambda objects: container(objects).pop("livenessProbe"),
    "an open network": lambda objects: objects.remove(one(objects, "NetworkPolicy")),
    "a role": lambda objects: objects.append({"kind": "Role", "metadata": {"name": "r", "namespace": "masklet"}}),
    "the default namespace": lambda objects: one(objects, "Service")["metadata"].pop("namespace"),
    "a namespace that takes everything": lambda objects: one(objects, "Namespace")["metadata"].pop("labels"),
}


@pytest.mark.parametrize("change", PLANTED.values(), ids=PLANTED)
def test_what_is_opened_is_found(change: Callable[[list[Object]], Any]) -> None:
    objects = overlay("cpu")
    change(objects)
    assert len(openings(objects)) == 1
