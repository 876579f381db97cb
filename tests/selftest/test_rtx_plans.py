"""selftest over plans of TensorRT for RTX: NVIDIA's classes by name and arguments, ONNX Runtime inside (tests/fakes/rtx_world.py)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

trt = pytest.importorskip("tensorrt_rtx_bindings")

from masklet.contract import engines  # noqa: E402
from masklet.families import NANO  # noqa: E402
from masklet_build import nano  # noqa: E402
from masklet_build.check.subject import opened  # noqa: E402
from masklet_build.cli import main  # noqa: E402
from masklet_build.embedded import gpu  # noqa: E402
from masklet_build.embedded.runners import OnnxRuntimeRunner  # noqa: E402
from masklet_build.engines.device import DeviceError  # noqa: E402
from masklet_build.engines.plans import PlansError  # noqa: E402
from masklet_build.engines.runtime import PlanStages, RunError  # noqa: E402
from masklet_build.export.profiles import Limits, NoProfile, profiles  # noqa: E402
from masklet_build.models.samples import Sizes, sample_inputs  # noqa: E402
from masklet_build.repository.assemble import assemble  # noqa: E402
from tests.fakes.rtx_world import Valid, Why, World, plans_of_nano  # noqa: E402
from tests.plans.stubs import compile_driver  # noqa: E402

pytestmark = pytest.mark.engines

LIMITS = Limits(2, 2)
TABLE = profiles(NANO, LIMITS, wide=True)


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_driver(tmp_path_factory.mktemp("driver"))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, driver: Path) -> World:
    made = World({name: [profile.inputs for profile in table] for name, table in TABLE.items()}, nano.ENGINES, on_cupy=False)
    made.install(monkeypatch, driver)
    return made


@pytest.fixture
def plans(tmp_path: Path) -> Path:
    return plans_of_nano(tmp_path / "plans", LIMITS)


@pytest.mark.parametrize("general", [False, True])
@pytest.mark.parametrize("name", [model.name for model in engines(NANO)])
def test_a_call_gives_what_the_engine_computes_with_the_kernels_that_were_asked_for(world: World, plans: Path, name: str, general: bool) -> None:
    stages, plain = PlanStages(plans, general=general), OnnxRuntimeRunner(nano.ENGINES / f"{name}.onnx", "fp32", 1, 1, "cpu")
    for sizes in (Sizes(), Sizes(V=2, B=2, F=7, P=16, N=4), Sizes(V=1, B=2, F=9, P=3, N=2)):
        inputs = sample_inputs(name, NANO, sizes, seed=3)
        (wanted,) = plain([inputs])
        for output, array in stages.call(name, inputs).items():
            np.testing.assert_array_equal(array, wanted[output])
    strategy = trt.DynamicShapesKernelSpecializationStrategy
    assert world.configs[name].dynamic_shapes_kernel_specialization_strategy is (strategy.NONE if general else strategy.EAGER)
    with pytest.raises(NoProfile):
        stages.call(name, sample_inputs(name, NANO, Sizes(V=3, B=3), seed=0))


def test_the_command_tests_the_kernels_for_a_size_and_those_for_all(world: World, plans: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["selftest", str(plans)]) == 0
    said = capsys.readouterr().out
    assert f"nano in fp32: TensorRT for RTX {trt.__version__} on Stub GPU (compute capability 8.9, CUDA 13.4)" in said
    assert "PASS" in said
    told = json.loads((plans / "selftest.json").read_text())
    assert told["passed"]
    assert (told["machine"]["gpu"], told["machine"]["targets"]) == ("Stub GPU", ["8.9"])
    kinds = {kernels: {call["engine"] for call in told["calls"] if call["kernels"] == kernels} for kernels in ("", "kernels for all sizes")}
    assert all(names == {model.name for model in engines(NANO)} for names in kinds.values())


def test_kernels_that_are_wrong_for_all_sizes_alone_fail_the_test_and_are_named(
    world: World, plans: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = PlanStages.call

    def call(self: Any, engine: str, inputs: Any) -> Any:
        outputs = right(self, engine, inputs)
        wrong = world.configs[engine].dynamic_shapes_kernel_specialization_strategy is trt.DynamicShapesKernelSpecializationStrategy.NONE
        return {name: array * 1.1 for name, array in outputs.items()} if wrong and engine == "memory_encoder" else outputs

    monkeypatch.setattr(PlanStages, "call", call)
    assert main(["selftest", str(plans)]) == 1
    said = capsys.readouterr().out
    assert "FAIL: memory_encoder" in said
    assert "report it (TensorRT: try another --level)" in said, "which --rtx refuses"
    assert "kernels for all sizes: MEMORY" in said


def test_the_engines_of_a_repository_are_tested_where_they_lie(world: World, plans: Path) -> None:
    repository = assemble("nano", plans, plans.with_name("repository"), runtime="tensorrt-rtx")
    with opened(repository) as subject:
        assert subject.home == repository / "memory_bank"
        assert subject.table == TABLE
        for stages in (subject.stages, *subject.further.values()):
            for model in engines(NANO):
                stages.call(model.name, sample_inputs(model.name, NANO, Sizes(), seed=0))


def test_without_a_driver_the_command_says_what_is_needed(plans: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(gpu, "LIBRARY", "libcuda_of_nobody.so.1")
    assert main(["selftest", str(plans)]) == 1
    assert "libcuda_of_nobody.so.1 cannot be loaded" in (said := capsys.readouterr().err)
    assert "This needs an NVIDIA GPU and its driver" in said


def test_a_gpu_that_is_no_target_is_refused_with_what_to_take(world: World, plans: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUB_CAPABILITY", "90")
    with pytest.raises(DeviceError, match=r"compute capability 9\.0, which is no target of TensorRT for RTX.*Take TensorRT"):
        PlanStages(plans)


def test_plans_of_another_version_are_not_loaded(world: World, plans: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trt, "__version__", "1.8.0.1")
    with pytest.raises(PlansError, match=r"here it is 1\.8\.0\.1"):
        PlanStages(plans)


def test_an_engine_that_is_invalid_here_is_told_in_words(world: World, plans: Path) -> None:
    world.validity = (Valid.INVALID, Why.INSUFFICIENT_GPU_MEMORY.value)
    with pytest.raises(RunError, match="too little memory: build for smaller calls"):
        PlanStages(plans).call("mask_prompt", sample_inputs("mask_prompt", NANO, Sizes(), seed=0))
