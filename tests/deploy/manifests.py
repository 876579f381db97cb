"""Kustomize's output, as objects."""

from __future__ import annotations

import functools
import os
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.tools import ROOT, kubectl

KUBERNETES = ROOT / "docker" / "kubernetes"
OVERLAYS = tuple(sorted(path.parent.name for path in KUBERNETES.glob("overlays/*/kustomization.yaml")))
COMPONENTS = tuple(sorted(path.parent.name for path in KUBERNETES.glob("components/*/kustomization.yaml")))
RENDERED = [*(("overlay", name) for name in OVERLAYS), *(("component", name) for name in COMPONENTS)]
NEEDS = {"tls-gateway": ("gateway-envoy",)}  # components that patch objects of others
Object = dict[str, Any]


@functools.cache
def text(folder: Path) -> str:
    """The YAML of a kustomization. A failure is Kustomize's own message."""
    done = subprocess.run([kubectl(), "kustomize", str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def overlay(name: str) -> list[Object]:
    return list(yaml.safe_load_all(text(KUBERNETES / "overlays" / name)))


@functools.cache
def with_components(names: tuple[str, ...], base: str = "cpu") -> str:
    """YAML of an overlay of ours with components added, as a user's own overlay would."""
    with tempfile.TemporaryDirectory() as folder:
        kustomization = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "namespace": "masklet",
            "resources": [os.path.relpath(KUBERNETES / "overlays" / base, Path(folder).resolve())],
            "components": [os.path.relpath(KUBERNETES / "components" / name, Path(folder).resolve()) for name in names],
        }
        (Path(folder) / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        return text(Path(folder))


def component(name: str) -> list[Object]:
    """The CPU overlay with one component and what it needs."""
    return list(yaml.safe_load_all(with_components((*NEEDS.get(name, ()), name))))


def rendered(kind: str, name: str) -> list[Object]:
    """One of RENDERED."""
    return overlay(name) if kind == "overlay" else component(name)


def one(objects: Iterable[Object], kind: str, name: str = "masklet") -> Object:
    """The object of that kind and name."""
    (found,) = [item for item in objects if item["kind"] == kind and item["metadata"]["name"] == name]
    return found


def container(objects: Iterable[Object]) -> Object:
    """Triton's container."""
    (found,) = one(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    return found
