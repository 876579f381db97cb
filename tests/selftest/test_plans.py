"""TensorRT plans as the subject. TensorRT is not here: its runtime is replaced by one with the same methods, all else is real."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from inspect import signature
from pathlib import Path

import numpy as np
import pytest

from masklet.contract import CONTRACT_VERSION, Model, engines
from masklet.families import NANO, Variant
from masklet_build import nano
from masklet_build.check import own
from masklet_build.check.subject import OnnxStages, opened
from masklet_build.cli import main
from masklet_build.engines import builder as builder_module
from masklet_build.engines import folder, runtime
from masklet_build.engines.compilers import Compiler, TensorRT
from masklet_build.engines.plans import Machine, Plan, Plans, Settings
from masklet_build.export.profiles import Limits, Profile, profiles
from masklet_build.manifest import FIXTURES, Manifest, file_sha256
from tests.selftest.spoilt import spoil

pytestmark = pytest.mark.engines

LIMITS = Limits.of(NANO, videos=2, objects=2)


def make_plans(folder: Path, *, settings: Settings | None = None, precision: str = "fp32", attention: str = "fp32") -> Path:
    """A folder as `masklet-build engine` leaves it, but that the plans are ONNX files."""
    folder.mkdir(parents=True)
    table, made = profiles(NANO, LIMITS), {}
    for model in engines(NANO):
        data = (nano.ENGINES / f"{model.name}.onnx").read_bytes()
        (folder / f"{model.name}.plan").write_bytes(data)
        rows = table[model.name]
        sha256 = file_sha256(folder / f"{model.name}.plan")
        made[model.name] = Plan(sha256, {}, rows, 1.0, (0,) * len(rows), 0, (), ())
    machine = Machine("tensorrt", "11.0.0.114", "NVIDIA L4", ("8.9",), "13.0")
    checkpoint = Manifest.read(nano.ENGINES).checkpoint
    rest = (precision, attention, LIMITS, settings or Settings(), machine, made, "2026-01-01T00:00:00+00:00")
    Plans("nano", checkpoint, CONTRACT_VERSION, *rest).write(folder)
    return folder


class PlanStages:
    """In place of masklet_build.engines.runtime.PlanStages: reads plans by the same names, runs them in ONNX Runtime."""

    def __init__(self, folder: Path) -> None:
        self._stages = OnnxStages({model.name: folder / f"{model.name}.plan" for model in engines(NANO)})
        self.plans = Plans.read(folder)
        self.machine = self.plans.machine

    def call(self, engine: str, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        table = self.plans.engines[engine].profiles
        assert any(profile.holds({name: array.shape for name, array in inputs.items()}) for profile in table)
        return self._stages.call(engine, inputs)


@pytest.fixture(autouse=True)
def tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    assert hasattr(runtime.PlanStages, "call")  # what stands in has no method that the real one lacks
    monkeypatch.setattr(runtime, "PlanStages", PlanStages)


def test_plans_are_tested_by_their_own_profiles_and_machine(tmp_path: Path) -> None:
    with opened(make_plans(tmp_path / "plans")) as subject:
        assert max(profile.sizes["B"].max for profile in subject.table["memory_attention"]) == 2
        assert subject.objects_per_call == 2
        assert subject.runtime == "TensorRT 11.0.0.114 on NVIDIA L4 (compute capability 8.9, CUDA 13.0)"
        assert subject.machine["gpu"] == "NVIDIA L4"


def test_the_whole_test_stays_within_the_profiles(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two objects per call at most, where the clip has three."""
    plans = make_plans(tmp_path / "plans", precision="fp16", attention="fp16")
    assert main(["selftest", str(plans)]) == 0
    assert "nano in fp16: TensorRT 11.0.0.114 on NVIDIA L4" in capsys.readouterr().out
    assert json.loads((plans / "selftest.json").read_text())["machine"]["gpu"] == "NVIDIA L4"


def test_surer_precisions_are_named_where_an_engine_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plans = make_plans(tmp_path / "plans", precision="fp16", attention="fp16")
    spoil(plans / "memory_attention.plan")
    assert main(["selftest", str(plans)]) == 1
    said = capsys.readouterr().out
    assert "FAIL: memory_attention. Do not serve these engines." in said
    assert "--attention bf16, --attention fp32" in said


def test_plans_of_a_repository_are_found_under_its_names(tmp_path: Path) -> None:
    plans = make_plans(tmp_path / "plans")
    bank = tmp_path / "repository" / "memory_bank"
    bank.mkdir(parents=True)
    (bank / "plans.json").write_bytes((plans / "plans.json").read_bytes())
    for model in engines(NANO):
        folder = tmp_path / "repository" / model.name / "1"
        folder.mkdir(parents=True)
        (folder / "model.plan").write_bytes((plans / f"{model.name}.plan").read_bytes())
    assert main(["selftest", str(tmp_path / "repository")]) == 0
    assert (bank / "selftest.json").is_file()


@pytest.mark.parametrize(
    ("precision", "attention", "tf32", "held_to"),
    [("fp32", "fp32", False, "fp32"), ("fp32", "fp32", True, "tf32"), ("fp32", "fp16", True, "fp16"), ("bf16", "fp16", False, "bf16")],
)
def test_plans_are_held_to_the_coarsest_type_that_they_compute_in(precision: str, attention: str, tf32: bool, held_to: str, tmp_path: Path) -> None:
    with opened(make_plans(tmp_path / "plans", settings=Settings(tf32=tf32), precision=precision, attention=attention)) as subject:
        assert subject.held_to == held_to


MACHINE = Machine("tensorrt", "11.0.0.114", "NVIDIA L4", ("8.9",), "13.0")


@pytest.fixture
def builder(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A builder whose plans are the ONNX files; the engines that it built."""
    built: list[str] = []

    def build(
        compiler: Compiler, model: Model, variant: Variant, onnx: Path, table: Sequence[Profile], settings: Settings, timings: bytes, log_file: Path
    ) -> builder_module.Built:
        built.append(model.name)
        log_file.write_text("")
        return builder_module.Built(onnx.read_bytes(), b"", "", 0, (), (), (), 1.0)

    assert signature(build).parameters.keys() == signature(builder_module.build).parameters.keys()
    monkeypatch.setattr(folder, "build", build)
    monkeypatch.setattr(TensorRT, "machine", lambda compiler: MACHINE)
    monkeypatch.setattr(own, "compiler_of", lambda name: TensorRT())
    return built


def test_fixtures_go_along_from_the_export_to_the_plans(builder: list[str], tmp_path: Path) -> None:
    onnx = Path(shutil.copytree(nano.ENGINES, tmp_path / "onnx"))
    (onnx / FIXTURES).write_bytes(b"what float32 answered")
    folder.build_plans(NANO, onnx, tmp_path / "plans", TensorRT(), limits=LIMITS, settings=Settings())
    assert (tmp_path / "plans" / FIXTURES).read_bytes() == b"what float32 answered"


@pytest.mark.torch
def test_without_a_path_nano_is_exported_built_and_tested_and_kept(
    builder: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    monkeypatch.setattr(Limits, "of", lambda variant: LIMITS)
    command = ["selftest", "--precision", "fp32", "--work", str(tmp_path / "work")]
    assert main(command) == 0
    assert "PASS" in capsys.readouterr().out
    assert builder == [model.name for model in engines(NANO)]
    assert Manifest.read(tmp_path / "work" / "fp32-onnx").purpose == "tensorrt"
    assert (tmp_path / "work" / "fp32-plans" / "selftest.json").is_file()
    assert main(command) == 0
    assert len(builder) == len(engines(NANO))  # nothing is built again
