"""`masklet-build lint --compile` over the real compiler of TensorRT for RTX: what is refused and what is not fused is told by engine and profile."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

pytest.importorskip("torch")
pytest.importorskip("tensorrt_rtx_bindings")

from masklet.contract import engines
from masklet.families import NANO
from masklet_build import cli, nano
from masklet_build.engines import trial
from masklet_build.engines.builder import Built
from masklet_build.engines.kernels import Kernels
from masklet_build.engines.trial import Trial, told
from masklet_build.export import profiles as shapes
from masklet_build.export.onnx_export import CHECKED_SIZES, export
from masklet_build.export.precision.choice import Choice
from masklet_build.export.profiles import Limits, Profile, Range, profiles
from masklet_build.manifest import Manifest
from tests.lint.graphs import model

pytestmark = [pytest.mark.torch, pytest.mark.engines]

ONE = ["--compile", "--objects", "1", "--videos", "1"]  # few profiles


@pytest.fixture(scope="module")
def bf16(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bf16") / "engines"
    export(NANO, nano.CHECKPOINT, folder, choice=Choice("bf16", "bf16", "tensorrt"), sizes=CHECKED_SIZES[1:2])
    return folder


def only(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Has these engines compiled alone."""
    monkeypatch.setattr(trial, "engines", lambda variant: [one for one in engines(variant) if one.name in names])


def fused(out: str) -> dict[tuple[str, str], str]:
    """(engine, profile) -> fused attention, such as "4 of 4", of the printed table."""
    table, engine = {}, ""
    for line in out.partition("fused attention    MiB  seconds\n")[2].splitlines():
        if line[:18].strip() not in ("", *(one.name for one in engines(NANO))):
            break
        engine = line[:18].strip() or engine
        table[engine, line[18:36].strip()] = line[36:53].strip()
    return table


def test_all_attention_of_nano_in_bf16_is_fused_whatever_the_limits(bf16: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With one object, too, whose batch is not always 1 to the compiler."""
    assert cli.main(["lint", str(bf16), *ONE]) == 0
    out = capsys.readouterr().out
    assert out.count("no findings") == 5
    assert fused(out) == {
        ("image_encoder", "b1"): "6 of 6",
        ("mask_prompt", "any"): "none",
        ("memory_attention", "steady b1-2"): "4 of 4",
        ("memory_attention", "start b1-2"): "4 of 4",
        ("memory_attention", "prompted b1-2"): "4 of 4",
        ("mask_decoder", "tracked b1"): "7 of 7",
        ("mask_decoder", "prompted"): "7 of 7",
        ("memory_encoder", "b1"): "none",
    }
    assert "is not TensorRT: either may refuse what the other takes" in out


def test_attention_of_a_batch_that_is_always_one_is_named_with_its_profile(
    bf16: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As every profile of one object was before its batch could be 2."""
    monkeypatch.setattr(shapes, "_FUSED_ALONE", 0)
    only(monkeypatch, "memory_attention", "memory_encoder")
    assert cli.main(["lint", str(bf16), *ONE]) == 1
    out = capsys.readouterr().out
    assert out.count("no findings") == 5
    for profile in ("steady b1", "start b1", "prompted b1"):
        assert fused(out)["memory_attention", profile] == "0 of 4"
        assert f"memory_attention, profile '{profile}': only 0 of 4 attentions in fp16 or bf16 are fused" in out
    assert fused(out)["memory_encoder", "b1"] == "none"


def test_an_engine_that_is_refused_is_named_with_the_reason_and_the_others_are_reported(
    bf16: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(bf16, tmp_path / "engines")
    graph = onnx.load(folder / "memory_encoder.onnx")
    twice = model("agraph (float[B] x) => (float[B] y) { nothing = NonZero (x) y = Identity (x) }").graph.node[0]
    twice.input[0], twice.name = graph.graph.input[0].name, "planted"
    graph.graph.node.insert(0, twice)
    onnx.save(graph, folder / "memory_encoder.onnx")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    only(monkeypatch, "mask_prompt", "memory_encoder")
    assert cli.main(["lint", str(folder), *ONE]) == 1
    out = capsys.readouterr().out
    assert "memory_encoder: 1 finding\n" in out
    assert fused(out)["memory_encoder", "refused"] == ""
    assert fused(out)["mask_prompt", "any"] == "none"
    assert "memory_encoder is refused: " in out
    assert "node planted (NonZero): " in out
    assert (next(tmp_path.glob("masklet-lint-*")) / "memory_encoder.log").is_file()


def test_a_refusal_alone_gives_exit_code_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a profile: the graph is as lint wants it."""

    def contradicting(*arguments: object) -> dict[str, tuple[Profile, ...]]:
        table = profiles(NANO, Limits(videos=1, objects=1))
        (any_,) = table["mask_prompt"]
        least, _, most = any_.inputs["MASK"]
        turned = replace(any_, sizes={"B": Range(2, 1, 1)}, inputs={"MASK": any_.inputs["MASK"]._replace(min=(2, *least[1:]), max=most)})
        return {**table, "mask_prompt": (turned,)}

    monkeypatch.setattr(trial, "profiles", contradicting)
    only(monkeypatch, "mask_prompt", "memory_encoder")
    assert cli.main(["lint", str(nano.ENGINES), *ONE]) == 1
    out = capsys.readouterr().out
    assert out.count("no findings") == 5
    assert "mask_prompt is refused: TensorRT for RTX does not take the profile 'any'" in out
    assert fused(out)["memory_encoder", "b1"] == "none"


def test_attention_in_fp32_is_no_failure_but_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The engines of the package: fp32, in the form for CPUs."""
    only(monkeypatch, "image_encoder", "memory_attention")
    assert cli.main(["lint", str(nano.ENGINES), *ONE]) == 0
    out = capsys.readouterr().out
    assert fused(out)["image_encoder", "b1"] == "0 of 6"
    assert fused(out)["memory_attention", "steady b1-2"] == "0 of 4"
    assert "10 are in fp32, which is hardly ever fused" in out
    assert "the graphs have the form for CPUs" in out


def built(attention: int) -> Built:
    return Built(b"", b"", "", 3, (Kernels(9, attention, 3 - attention, 0, 0),), (5 << 20,), (), 2.0)


def test_of_mixed_types_only_the_reduced_ones_have_to_be_fused() -> None:
    """Where a range scan keeps an attention in fp32."""
    right, wrong = (Trial("memory_attention", ["steady b1-2"], 2, 1, built(count)) for count in (2, 1))
    assert right.problems == []
    assert "profile 'steady b1-2': only 1 of 2" in wrong.problems[0]
    lines = list(told([right]))
    assert lines[1].split() == ["memory_attention", "steady", "b1-2", "2", "of", "3", "5", "2"]
    assert "1 are in fp32" in lines[-1]


def test_kernels_that_cannot_be_read_are_a_problem() -> None:
    """Else nobody would notice when a new version writes its log in another way."""
    blind = Trial("memory_attention", ["steady b1-2"], 2, 0, replace(built(2), kernels=(), memory=(), warnings=("no kernels are told",)))
    assert "not known: no kernels are told" in blind.problems[0]
    assert "? of 2" in list(told([blind]))[1]


def test_ctrl_c_stops_it_and_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "masklet_build", "lint", str(nano.ENGINES), "--compile"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    ) as process:
        assert process.stderr is not None
        assert process.stderr.read(len("\rimage_encoder:")).endswith("image_encoder:")  # its bar: the builder has begun
        process.send_signal(signal.SIGINT)
        said = process.communicate()[1]
    assert process.returncode == 1
    assert said.splitlines()[-1] == "masklet-build lint: stopped. Nothing was kept."
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


def test_without_the_compiler_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt_rtx_bindings", None)
    monkeypatch.setattr("masklet_build.common.find_spec", lambda name: None if name == "tensorrt_rtx_bindings" else object())
    assert cli.main(["lint", str(nano.ENGINES), "--compile"]) == 1
    assert "pip install 'masklet-build[rtx]'" in capsys.readouterr().err
    assert cli.main(["lint", str(nano.ENGINES)]) == 0


def test_programs_for_pytorch_have_no_graphs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    replace(Manifest.read(nano.ENGINES), purpose="torch").write(tmp_path)
    assert cli.main(["lint", str(tmp_path), "--compile"]) == 1
    assert "holds PyTorch programs, which have no graphs. For TensorRT: masklet-build export nano --for tensorrt" in capsys.readouterr().err


@pytest.mark.parametrize(("options", "says"), [(["--objects", "2"], "are for --compile"), (["--compile", "--objects", "0"], "objects is 0")])
def test_limits_without_use_or_sense_are_refused(options: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["lint", str(nano.ENGINES), *options])
    assert caught.value.code == 2
    assert says in capsys.readouterr().err
