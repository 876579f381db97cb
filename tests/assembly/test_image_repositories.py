"""What `assemble` and `serve` say of repositories whose engines only NVIDIA's image can run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from masklet.families import variant
from masklet_build.cli import main
from masklet_build.manifest import file_sha256
from masklet_build.repository.assemble import assemble
from tests.assembly.standins import engines_of, plans_of

ONE = variant("efficienttam_ti_512")


@pytest.fixture
def plans(tmp_path: Path) -> Path:
    return plans_of(ONE, tmp_path / "plans")


def assembled(plans: Path) -> Path:
    return assemble(ONE.name, plans, plans.with_name("repository"), target="tensorrt")


def report(plans: Path, **changes: Any) -> None:
    """selftest.json as the selftest writes it, as far as others read it."""
    files = {path.name: file_sha256(path) for path in plans.glob("*.plan")}
    (plans / "selftest.json").write_text(json.dumps({"passed": True, "files": files} | changes))


def served(repository: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What `serve` says and refuses."""
    capsys.readouterr()
    assert main(["serve", str(repository)]) == 1
    return capsys.readouterr().err


def test_serve_names_the_image_that_can_run_plans(plans: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report(plans)
    repository = assembled(plans)
    said = served(repository, capsys)
    assert "needs Triton's tensorrt backend, which the Triton of the PyPI wheel does not have" in said
    for word in ("docker run", "--gpus '\"device=0\"'", f"-v {repository}:/models:ro masklet-server", "--cuda-memory-pool-byte-size=0:1073741824"):
        assert word in said
    assert "selftest" not in said


def test_serve_names_the_image_for_onnxruntime_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    repository = assemble(ONE.name, engines_of(ONE, tmp_path / "engines"), tmp_path / "repository", target="onnxruntime")
    said = served(repository, capsys)
    assert "needs Triton's onnxruntime backend" in said
    assert "--gpus" not in said


DOUBTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no report": (lambda plans: None, "no selftest report lies beside the plans"),
    "failed": (lambda plans: report(plans, passed=False), "failed their selftest"),
    "other plans": (lambda plans: report(plans, files={"image_encoder.plan": "7" * 64}), "about other plans"),
    "damaged": (lambda plans: (plans / "selftest.json").write_text("[]"), "cannot be read"),
}


@pytest.mark.parametrize("name", DOUBTS)
def test_serve_and_assemble_warn_of_plans_that_no_selftest_has_passed(plans: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    make, says = DOUBTS[name]
    make(plans)
    repository = plans.with_name("repository")
    assert main(["assemble", ONE.name, "--engines", str(plans), "--target", "tensorrt", "--out", str(repository)]) == 0
    told = capsys.readouterr().out
    assert "warning: memory_bank: " in told
    assert says in told
    assert f"wrote {repository}. Next: docker run" in told
    warned = served(repository, capsys)
    assert "warning: memory_bank: " in warned
    assert says in warned
    assert "masklet-build selftest" in warned
