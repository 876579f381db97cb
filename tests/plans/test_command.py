"""`masklet-build engine` where there is no TensorRT."""

from __future__ import annotations

import pytest

from masklet_build.cli import main

ARGUMENTS = ["engine", "nano", "--onnx", "engines", "--out", "plans"]


def test_a_machine_without_tensorrt_is_told_where_to_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("masklet_build.engines.compilers.find_spec", lambda name: None)
    assert main(ARGUMENTS) == 1
    assert "TensorRT is not installed here" in (said := capsys.readouterr().err)
    assert "For GeForce and RTX cards: masklet-build engine --rtx, on any CPU" in said
    assert "docker/tensorrt.md" in said


@pytest.mark.parametrize("wrong", [["--objects", "0"], ["--videos", "-1"], ["--level", "6"]], ids=" ".join)
def test_numbers_that_no_engine_can_have_are_wrong_arguments(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main([*ARGUMENTS, *wrong])
    assert left.value.code == 2
    assert wrong[1] in capsys.readouterr().err


def test_help_says_where_plans_run_and_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["engine", "--help"])
    said = capsys.readouterr().out
    assert "nowhere else" in said
    assert "goes on with the engine that it stopped at" in said
