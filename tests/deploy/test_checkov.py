"""checkov, which knows what insecure manifests look like, over everything at once: it takes long to start."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.deploy.manifests import COMPONENTS, KUBERNETES, NEEDS, OVERLAYS, text, with_components
from tests.deploy.tools import ROOT, tool

pytestmark = pytest.mark.programs

DOCKER = ROOT / "docker"
PLANTED = "apiVersion: v1\nkind: Pod\nmetadata: {name: planted}\nspec: {containers: [{name: c, image: c, securityContext: {privileged: true}}]}\n"


def test_checkov_finds_what_is_waived_with_a_reason_and_nothing_else(tmp_path: Path) -> None:
    for name in OVERLAYS:
        (tmp_path / f"overlay-{name}.yaml").write_text(text(KUBERNETES / "overlays" / name))
    for name in COMPONENTS:
        (tmp_path / f"component-{name}.yaml").write_text(with_components((*NEEDS.get(name, ()), name)))
    for name in ("server", "build"):
        (tmp_path / name).mkdir()
        shutil.copy(DOCKER / f"{name}.Dockerfile", tmp_path / name / "Dockerfile")
    (tmp_path / "planted.yaml").write_text(PLANTED)
    command = [tool("checkov"), "--directory", str(tmp_path), "--framework", "kubernetes", "dockerfile", "--output", "json", "--compact", "--quiet"]
    said = subprocess.run([*command, "--skip-download"], capture_output=True, text=True)
    reports = json.loads(said.stdout)
    failed = [check for report in reports for check in report["results"]["failed_checks"]]
    assert {report["check_type"] for report in reports} == {"kubernetes", "dockerfile"}
    assert sum(report["summary"]["passed"] for report in reports) > 200
    assert [report["summary"]["parsing_errors"] for report in reports] == [0, 0]
    planted = {check["check_id"] for check in failed if "planted" in check["file_path"]}
    assert "CKV_K8S_16" in planted, "a privileged container was not found: checkov looks at nothing"
    waived = yaml.safe_load((DOCKER / "checkov-waivers.yaml").read_text())
    found = {check["check_id"]: f"{check['check_name']}: {check['resource']}" for check in failed if "planted" not in check["file_path"]}
    assert set(found) == set(waived), {name: found.get(name, "not found any more") for name in set(found) ^ set(waived)}
    assert all(len(reason) > 40 for reason in waived.values())
