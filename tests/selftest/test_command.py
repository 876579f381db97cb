"""`masklet-build selftest` as it is typed."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from masklet_build import nano
from masklet_build.cli import main
from masklet_build.export.profiles import Limits
from masklet_build.manifest import Manifest, file_sha256
from masklet_build.repository.assemble import assemble
from tests.selftest.spoilt import spoil

pytestmark = pytest.mark.engines


@pytest.fixture(autouse=True)
def small_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two objects per call, so that a whole test takes seconds."""
    monkeypatch.setattr(Limits, "of", lambda variant: Limits(2, 2))


@pytest.fixture
def engines(tmp_path: Path) -> Path:
    return Path(shutil.copytree(nano.ENGINES, tmp_path / "engines"))


def test_right_engines_pass_and_leave_a_report(engines: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["selftest", str(engines)]) == 0
    said = capsys.readouterr().out
    assert "PASS: every engine answers as the float32 network does" in said
    report = json.loads((engines / "selftest.json").read_text())
    assert report["passed"] is True
    assert (report["variant"], report["precision"], report["bar"]["held_to"]) == ("nano", "fp32", "fp32")
    assert report["files"] == {name: file_sha256(engines / f"{name}.onnx") for name in report["files"]}
    assert set(report["files"]) == {call["engine"] for call in report["calls"]}
    assert (report["clip"]["frames"], report["clip"]["problems"]) == (24, [])


def test_a_spoilt_engine_fails_and_is_named(engines: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoil(engines / "memory_encoder.onnx")
    assert main(["selftest", str(engines)]) == 1
    said = capsys.readouterr().out
    assert "FAIL: memory_encoder." in said
    assert "memory_encoder, profile" in said
    assert json.loads((engines / "selftest.json").read_text())["passed"] is False


@pytest.mark.parametrize("target", ["embedded", "onnxruntime"])
def test_a_repository_is_tested_where_it_lies(target: str, tmp_path: Path) -> None:
    repository = assemble("nano", nano.ENGINES, tmp_path / "repository", target=target)
    assert main(["selftest", str(repository)]) == 0
    assert json.loads((repository / "memory_bank" / "selftest.json").read_text())["passed"] is True


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: shutil.rmtree(folder), "has neither plans.json nor manifest.json"),
        (lambda folder: (folder / "mask_prompt.onnx").unlink(), "has no engine mask_prompt"),
        (
            lambda folder: replace(Manifest.read(folder), checkpoint={"name": "mine.pt", "sha256": "9" * 64}).write(folder),
            "no fixtures of nano with weights 999999999999",
        ),
    ],
    ids=["nothing", "missing", "other-weights"],
)
def test_what_cannot_be_tested_is_said(change: object, words: str, engines: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert callable(change)
    change(engines)
    assert main(["selftest", str(engines)]) == 1
    assert words in capsys.readouterr().err
    assert not (engines / "selftest.json").exists()


def test_without_a_path_it_needs_tensorrt_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["selftest"]) == 1
    said = capsys.readouterr().err
    assert "TensorRT is not installed here" in said
    assert "docker/tensorrt.md" in said
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_to_still_gives_the_verdict(
    engines: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from masklet_build.check import report

    def refuse(made: object) -> None:
        raise OSError(30, "Read-only file system", str(engines))

    monkeypatch.setattr(report, "write", refuse)
    assert main(["selftest", str(engines)]) == 0
    assert "not written: [Errno 30] Read-only file system" in capsys.readouterr().out
