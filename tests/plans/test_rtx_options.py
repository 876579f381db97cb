"""What `masklet-build engine --rtx` refuses before it compiles anything: options, targets, and engines that are none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import tensorrt_rtx_bindings as trt

from masklet_build import nano
from masklet_build.cli import main
from masklet_build.engines.targets import TARGETS, targets_of
from masklet_build.manifest import Manifest


def test_targets_are_those_of_the_compiler_but_turing() -> None:
    known = {f"{name[2:-1]}.{name[-1]}" for name in dir(trt.ComputeCapability) if name.startswith("SM")}
    assert known - {"7.5"} == set(TARGETS)
    assert targets_of("89, 8.6,sm_120,89") == ("8.9", "8.6", "12.0")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--rtx", "--sm", "75"], "7.5 is Turing"),
        (["--rtx", "--sm", "75", "--sm", "89"], "7.5 is Turing"),
        (["--rtx", "--sm", "86,90"], "9.0 is Hopper, which TensorRT for RTX does not build for. Take TensorRT"),
        (["--rtx", "--sm", "100"], "10.0 is Blackwell for data centres"),
        (["--rtx", "--sm", "10.3"], "10.3 is Blackwell for data centres"),
        (["--rtx", "--sm", "87"], "8.7 is no target of TensorRT for RTX. It has 8.0, 8.6, 8.9, 12.0, 12.1"),
        (["--rtx", "--sm", "ada"], "'ada' is no compute capability"),
        (["--rtx", "--sm", ""], "'' is no compute capability"),
        (["--sm", "89"], "--sm needs --rtx"),
        (["--rtx", "--timing-cache", "cache"], "--timing-cache means nothing with --rtx"),
        *((["--rtx", "--workspace-gib", wrong], f"--workspace-gib {wrong}: give GiB") for wrong in ("-1", "0", "nan", "inf", "1e+15")),
        (["--rtx", "--level", "3"], "--level means nothing with --rtx"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_that_mean_nothing_are_refused_with_the_reason(
    options: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(["engine", "nano", "--out", str(tmp_path / "plans"), *options])
    assert left.value.code == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_only_nano_has_engines_in_the_package(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["engine", "sam2.1_t", "--rtx", "--out", str(tmp_path / "plans")])
    assert left.value.code == 2
    assert "masklet-build export sam2.1_t" in capsys.readouterr().err


def test_programs_for_pytorch_are_refused_with_what_to_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "programs").mkdir()
    replace(Manifest.read(nano.ENGINES), purpose="torch", files={}).write(tmp_path / "programs")
    assert main(["engine", "nano", "--rtx", "--onnx", str(tmp_path / "programs"), "--out", str(tmp_path / "plans")]) == 1
    said = capsys.readouterr()
    assert "holds PyTorch programs, of which no plans are made. ONNX: masklet-build export nano --for tensorrt" in said.err
    assert "building" not in said.out
    assert [path.name for path in tmp_path.iterdir()] == ["programs"]
