"""The Kubernetes manifests: what Kustomize makes of them, whether Kubernetes would take it, and whether its numbers and names agree."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.deploy.manifests import KUBERNETES, OVERLAYS, RENDERED, Object, container, one, overlay, rendered, text, with_components
from tests.deploy.tools import ROOT, tool

pytestmark = pytest.mark.programs

RELEASES = ("1.31", "1.34")
CUSTOM = {  # kinds that Kubernetes does not know by itself; kubernetes-validate has no schema of them
    ("gateway.networking.k8s.io/v1", "GatewayClass"),
    ("gateway.networking.k8s.io/v1", "Gateway"),
    ("gateway.networking.k8s.io/v1", "GRPCRoute"),
    ("gateway.envoyproxy.io/v1alpha1", "BackendTrafficPolicy"),
    ("gateway.envoyproxy.io/v1alpha1", "ClientTrafficPolicy"),
    ("keda.sh/v1alpha1", "ScaledObject"),
    ("gateway.envoyproxy.io/v1alpha1", "EnvoyProxy"),
    ("monitoring.coreos.com/v1", "PodMonitor"),
    ("monitoring.coreos.com/v1", "PrometheusRule"),
}


def core(objects: list[Object]) -> list[Object]:
    return [item for item in objects if (item["apiVersion"], item["kind"]) not in CUSTOM]


def kubernetes_takes(objects: list[Object], folder: Path) -> tuple[bool, str]:
    """Whether every object is valid in both releases, and what was said."""
    file = folder / "objects.yaml"
    file.write_text(yaml.safe_dump_all(objects))
    said, valid = "", True
    for release in RELEASES:
        done = subprocess.run([tool("kubernetes-validate"), "--strict", "--kubernetes-version", release, str(file)], capture_output=True, text=True)
        said, valid = said + done.stdout + done.stderr, valid and done.returncode == 0
    return valid, said


def test_kubernetes_takes_every_object_of_its_own_kinds(tmp_path: Path) -> None:
    """All at once: the program takes seconds to start. The same object of several renderings is checked once."""
    distinct = {yaml.safe_dump(item): item for kind, name in RENDERED for item in core(rendered(kind, name))}
    assert len(distinct) > 20
    valid, said = kubernetes_takes(list(distinct.values()), tmp_path)
    assert valid, said


def test_a_misspelt_field_and_a_wrong_type_are_found(tmp_path: Path) -> None:
    for path, value in ((("replicas",), "two"), (("template", "spec", "terminationGracePeriod"), 5)):
        broken = yaml.safe_load(yaml.safe_dump(one(overlay("cpu"), "Deployment")))
        place = broken["spec"]
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value
        valid, said = kubernetes_takes([broken], tmp_path)
        assert not valid
        assert path[-1] in said


@pytest.mark.parametrize(("kind", "name"), RENDERED)
def test_every_rendering_names_what_is_there(kind: str, name: str) -> None:
    """Selectors, ports, claims, secrets aside, refer to objects of the same rendering."""
    objects = rendered(kind, name)
    ids = [(item["kind"], item["metadata"]["name"]) for item in objects]
    assert len(ids) == len(set(ids))
    unknown = {(item["apiVersion"], item["kind"]) for item in objects if "." in item["apiVersion"].split("/")[0]} - CUSTOM
    assert all(version.split("/")[0].endswith("k8s.io") for version, _ in unknown), unknown
    pods = {item["metadata"]["name"]: item["spec"]["template"] for item in objects if item["kind"] == "Deployment"}
    for service in (item for item in objects if item["kind"] == "Service"):
        chosen = [pod for pod in pods.values() if service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()]
        assert len(chosen) == 1, service["metadata"]["name"]
        named = {port["name"] for port in chosen[0]["spec"]["containers"][0]["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= named
    for policy in (item for item in objects if item["kind"] == "NetworkPolicy"):
        wanted = policy["spec"]["podSelector"]["matchLabels"]
        chosen = [pod for pod in pods.values() if wanted.items() <= pod["metadata"]["labels"].items()]
        assert len(chosen) == 1, policy["metadata"]["name"]
        named = {port["name"] for port in chosen[0]["spec"]["containers"][0]["ports"]}
        assert {port["port"] for rule in policy["spec"].get("ingress", []) for port in rule["ports"]} <= named
    for pod in pods.values():
        mounted = {mount["name"] for mount in pod["spec"]["containers"][0]["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["spec"]["volumes"]}
        maps = {volume["configMap"]["name"] for volume in pod["spec"]["volumes"] if "configMap" in volume}
        assert maps <= {name for kind, name in ids if kind == "ConfigMap"}
    volumes = [volume for pod in pods.values() for volume in pod["spec"]["volumes"]]
    claims = {volume["persistentVolumeClaim"]["claimName"] for volume in volumes if "persistentVolumeClaim" in volume}
    assert claims == {name for kind, name in ids if kind == "PersistentVolumeClaim"}


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_memory_of_a_pod_holds_its_bank_and_its_shared_memory(name: str) -> None:
    config = (ROOT / "model_repository" / "memory_bank" / "config.pbtxt").read_text()
    bank = int(config.split('"max_bank_mib" value { string_value: "')[1].split('"')[0])
    spec = one(overlay(name), "Deployment")["spec"]["template"]["spec"]
    sizes = [volume["emptyDir"]["sizeLimit"] for volume in spec["volumes"] if volume.get("emptyDir", {}).get("medium") == "Memory"]
    (shm,) = [int(size.removesuffix("Gi")) for size in sizes]
    limit = int(container(overlay(name))["resources"]["limits"]["memory"].removesuffix("Gi"))
    assert limit * 1024 >= bank + shm * 1024 + 2048, "2 GiB for Triton, python models and small engines"


def test_every_folder_of_the_manifests_is_rendered() -> None:
    """Else a file would be in nobody's hands."""
    used = {path.parent for path in KUBERNETES.rglob("kustomization.yaml")}
    assert {path.parent for path in KUBERNETES.rglob("*.yaml")} <= {*used, KUBERNETES}  # example.yaml has a test of its own
    assert all(text(KUBERNETES / "overlays" / name) for name in OVERLAYS)
    assert with_components(("gpu", "gateway-envoy", "tls-gateway", "autoscaling-keda", "monitoring", "models-object-store"), "cpu")


def test_the_example_of_an_overlay_of_ones_own_renders_where_it_says_that_it_belongs(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "docker", tmp_path / "docker")
    (tmp_path / "mine").mkdir()
    shutil.copy(KUBERNETES / "example.yaml", tmp_path / "mine" / "kustomization.yaml")
    objects = list(yaml.safe_load_all(text(tmp_path / "mine")))
    assert container(objects)["image"].startswith("REGISTRY/masklet-server:")
    assert one(objects, "Gateway")


def test_the_pod_that_fills_the_volume_is_one_that_the_namespace_takes(tmp_path: Path) -> None:
    pod = json.loads((KUBERNETES / "fill-volume.json").read_text()) | {"kind": "Pod", "metadata": {"name": "fill"}}
    valid, said = kubernetes_takes([pod], tmp_path)
    assert valid, said
    (made,) = pod["spec"]["containers"]
    assert made["name"] == "fill", "kubectl run names the container as the pod, and merges by name"
    assert (made["securityContext"]["allowPrivilegeEscalation"], made["securityContext"]["capabilities"]) == (False, {"drop": ["ALL"]})
    assert pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] in {
        item["metadata"]["name"] for item in overlay("cpu") if item["kind"] == "PersistentVolumeClaim"
    }
