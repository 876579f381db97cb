"""Where the programs are that check docker/. A test whose program this machine has not is skipped, and says why."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent  # of the environment that `make setup` puts them into
SYSTEM_PATH = ":".join((os.environ.get("PATH", os.defpath), "/usr/sbin"))
KUBECTL_NEEDED = (1, 27)  # the first whose kustomize knows all fields that the manifests use


def entrypoint(folder: Path) -> Path:
    """The entrypoint of the server image, laid out in `folder` with what its Dockerfile puts beside it."""
    (files,) = re.findall(r"^COPY (docker/entrypoint\.py .*) /opt/masklet/$", (ROOT / "docker" / "server.Dockerfile").read_text(), re.MULTILINE)
    folder.mkdir(exist_ok=True)
    for file in files.split():
        shutil.copy(ROOT / file, folder)
    return folder / "entrypoint.py"


def tool(name: str) -> str:
    """Path of a program of `make setup`: envoy, hadolint, kubernetes-validate, check-jsonschema, haproxy, nginx, prometheus, promtool."""
    found = shutil.which(name, path=f"{BIN}:{SYSTEM_PATH}")
    if found is None:
        pytest.skip(f"there is no {name} in {BIN} nor on PATH: run `make setup`, which says what it could not install")
    return found


@functools.cache
def _kubectl() -> tuple[str, str]:
    """Path and problem."""
    found = shutil.which("kubectl")
    if found is None:
        return "", "there is no kubectl on PATH, and no package index has it (kubernetes.io/docs/tasks/tools)"
    said = subprocess.run([found, "version", "--client", "--output=json"], capture_output=True, text=True, check=True).stdout
    version = json.loads(said)["clientVersion"]
    if (int(version["major"]), int(version["minor"].rstrip("+"))) < KUBECTL_NEEDED:
        return "", f"kubectl {version['gitVersion']} is older than {KUBECTL_NEEDED[0]}.{KUBECTL_NEEDED[1]}"
    return found, ""


def kubectl() -> str:
    """Path of kubectl, which has Kustomize in it. Not provided by `make setup`: no package index has it."""
    found, problem = _kubectl()
    if problem:
        pytest.skip(problem)
    return found
