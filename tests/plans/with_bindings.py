"""masklet's TensorRT code over the real Python classes of one version. test_bindings.py runs this file in a process where they can be imported."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import tensorrt as trt

from masklet_build import nano
from masklet_build.cli import main
from masklet_build.engines.kernels import Kernels
from masklet_build.engines.plans import Machine, Plans, PlansError, Settings
from masklet_build.engines.runtime import PlanStages, RunError
from masklet_build.export.profiles import Limits, NoProfile, profiles
from masklet_build.manifest import Manifest, file_sha256
from masklet_build.models.samples import Sizes, sample_inputs
from tests.plans.world import MODELS, VARIANT, ParserProblem, World, computed


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    made.install(monkeypatch)
    return made


@pytest.fixture
def onnx(tmp_path: Path) -> Path:
    """The engines of nano that are in the package."""
    shutil.copytree(nano.ENGINES, tmp_path / "onnx")
    return tmp_path / "onnx"


def engine(onnx: Path, *options: str) -> int:
    return main(["engine", "nano", "--onnx", str(onnx), "--out", str(onnx.parent / "plans"), *options])


def read(onnx: Path) -> Plans:
    return Plans.read(onnx.parent / "plans")


def test_all_engines_of_a_variant_are_built_and_described(world: World, onnx: Path) -> None:
    assert engine(onnx) == 0
    plans = read(onnx)
    assert plans.machine == Machine("tensorrt", trt.__version__, "Stub GPU", ("8.9",), "13.4")
    assert (plans.variant, plans.precision, plans.attention) == ("nano", "fp32", "fp32")
    assert plans.checkpoint == Manifest.read(onnx).checkpoint
    assert plans.limits == Limits.of(VARIANT)
    assert plans.settings == Settings()
    assert list(plans.engines) == list(MODELS)
    for name, table in profiles(VARIANT, plans.limits).items():
        plan = plans.engines[name]
        assert plan.profiles == table
        assert plan.onnx == {f"{name}.onnx": file_sha256(onnx / f"{name}.onnx")}
        assert plan.memory == tuple((index + 1) << 20 for index in range(len(table)))
        assert plan.softmax_nodes == 2
        assert plan.kernels == (Kernels(total=3, attention=1, softmax=1, casts=1, reformats=0),) * len(table)
        assert plan.warnings == ("be careful",)
        assert (onnx.parent / "plans" / f"{name}.plan").read_bytes() == name.encode()
        assert "[VERBOSE] a tactic was tried\n[WARNING] be careful\n" in (onnx.parent / "plans" / f"{name}.log").read_text()
    plans.check(onnx.parent / "plans", plans.machine)


def test_networks_are_strongly_typed_and_profiles_are_those_of_the_table(world: World, onnx: Path) -> None:
    assert engine(onnx, "--objects", "2", "--videos", "3") == 0
    for builder in world.builders:
        builder.create_network.assert_called_once_with(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    table = [profile for rows in profiles(VARIANT, Limits.of(VARIANT, videos=3, objects=2)).values() for profile in rows]
    for wanted, given in zip(table, world.profiles, strict=True):
        calls = {call.args[0]: tuple(tuple(shape) for shape in call.args[1:]) for call in given.set_shape.call_args_list}
        assert calls == {name: tuple(shapes) for name, shapes in wanted.inputs.items()}


def test_settings_reach_the_builder(world: World, onnx: Path) -> None:
    assert engine(onnx, "--workspace-gib", "2", "--level", "5", "--tf32") == 0
    for config in world.configs:
        config.set_memory_pool_limit.assert_called_once_with(trt.MemoryPoolType.WORKSPACE, 2 << 30)
        assert config.builder_optimization_level == 5
        assert config.profiling_verbosity == trt.ProfilingVerbosity.DETAILED
        config.set_flag.assert_called_once_with(trt.BuilderFlag.TF32)
        config.clear_flag.assert_not_called()
    assert read(onnx).settings == Settings(level=5, workspace_gib=2.0, tf32=True)


def test_tf32_is_off_unless_asked_for(world: World, onnx: Path) -> None:
    assert engine(onnx) == 0
    for config in world.configs:
        config.clear_flag.assert_called_once_with(trt.BuilderFlag.TF32)
        config.set_flag.assert_not_called()


def test_a_node_that_tensorrt_cannot_read_is_named_with_the_next_step(world: World, onnx: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world.parser_problems = [ParserProblem(), ParserProblem(node=-1, name="", operator="", text="the model is odd")]
    assert engine(onnx) == 1
    said = capsys.readouterr().err
    assert "node /attention/NonZero (NonZero): not today [UNSUPPORTED_NODE]" in said
    assert "the model: the model is odd" in said
    assert "masklet-build export --help" in said
    assert not (onnx.parent / "plans").exists()


@pytest.mark.parametrize("options", [["--level", "5"], ["--tf32"], ["--objects", "3"]], ids=" ".join)
def test_plans_of_other_settings_are_built_again(world: World, onnx: Path, options: list[str]) -> None:
    assert engine(onnx) == 0
    assert engine(onnx, "--force", *options) == 0
    assert set(world.built[len(MODELS) :]) >= {"mask_decoder", "memory_attention", "memory_encoder"}


def test_a_plan_that_cannot_be_inspected_is_kept_and_what_is_not_known_is_told(world: World, onnx: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world.loads = False
    assert engine(onnx) == 0
    read(onnx).check_files(onnx.parent / "plans")
    for plan in read(onnx).engines.values():
        assert (plan.kernels, plan.memory) == ((), ())
        assert plan.warnings[-1].startswith("masklet-build could not read what the plan is made of: it cannot load the plan that it just built")
    assert "mask_decoder: masklet-build could not read what the plan is made of" in capsys.readouterr().out


def test_each_profile_with_attention_that_could_be_fused_and_is_not_is_told(world: World, onnx: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert engine(onnx) == 0
    assert "attentions are fused" not in capsys.readouterr().out, "float32 never is"
    manifest = json.loads((onnx / "manifest.json").read_text())
    (onnx / "manifest.json").write_text(json.dumps({**manifest, "attention": "fp16"}))
    assert engine(onnx, "--force") == 0
    said = capsys.readouterr().out
    for name, plan in read(onnx).engines.items():
        for profile in plan.profiles:
            assert f"{name}: in profile {profile.name!r} 1 of 2 attentions are fused" in said


def test_kernels_that_do_not_say_their_profile_are_counted_together(world: World, onnx: Path) -> None:
    world.tags = False
    assert engine(onnx) == 0
    plan = read(onnx).engines["memory_attention"]
    assert (plan.kernels, len(plan.memory)) == ((), len(plan.profiles))
    assert f"told of 1 profiles, not of {len(plan.profiles)}; in all of them together Kernels(total={3 * len(plan.profiles)}, " in plan.warnings[-1]
    assert read(onnx).engines["mask_prompt"].kernels == (Kernels(total=3, attention=1, softmax=1, casts=1, reformats=0),)
    assert (onnx.parent / "plans" / "memory_attention.layers.json").is_file()


def test_ctrl_c_stops_at_a_step(world: World, onnx: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(count: int, config: object) -> bool:
        monitor = config.progress_monitor  # type: ignore[attr-defined]
        assert isinstance(monitor, trt.IProgressMonitor)
        monitor.phase_start("Building", None, 2)
        os.kill(os.getpid(), signal.SIGINT)
        answers.append(monitor.step_complete("Building", 0))  # an exception here would have to cross TensorRT's own code
        monitor.phase_finish("Building")
        return bool(answers[-1])

    answers: list[bool] = []
    world.builds = interrupted
    assert engine(onnx) == 1
    assert "stopped" in capsys.readouterr().err
    assert answers == [False]


def test_timings_go_from_engine_to_engine_and_are_kept_for_this_gpu_only(world: World, onnx: Path, tmp_path: Path) -> None:
    assert engine(onnx, "--timing-cache", str(tmp_path / "timings")) == 0
    assert world.timings == [b"", *(f"timings of {count}".encode() for count in range(1, len(MODELS)))]
    (kept,) = (tmp_path / "timings").iterdir()
    assert kept.name == f"tensorrt-{trt.__version__}-Stub_GPU-8.9-driver-13.4.timings"
    assert kept.read_bytes() == f"timings of {len(MODELS)}".encode()
    assert engine(onnx, "--timing-cache", str(tmp_path / "timings"), "--level", "1", "--force") == 0
    assert world.timings[len(MODELS)] == f"timings of {len(MODELS)}".encode()


def test_timings_that_tensorrt_does_not_take_are_measured_anew(world: World, onnx: Path) -> None:
    world.takes_timings = False
    assert engine(onnx) == 0
    assert world.timings[:3] == [b"", b"timings of 1", b""]


def stages(onnx: Path) -> PlanStages:
    assert engine(onnx) == 0
    return PlanStages(onnx.parent / "plans")


@pytest.mark.parametrize("name", list(MODELS))
def test_a_call_gives_what_the_engine_computes_at_any_size(world: World, onnx: Path, name: str) -> None:
    """One object, more, fewer again: memory grows, profiles change, and no answer is another call's."""
    run = stages(onnx)
    for sizes in (Sizes(), Sizes(V=2, B=3, F=7, P=16, N=4), Sizes(V=1, B=2, F=9, P=3, N=2)):
        inputs = sample_inputs(name, VARIANT, sizes, seed=3)
        outputs = run.call(name, inputs)
        for tensor in MODELS[name].outputs:
            got = outputs[tensor.name]
            assert got.dtype == tensor.numpy_dtype
            assert np.array_equal(got, computed(inputs, tensor.name, got.shape).astype(tensor.numpy_dtype))
    assert set(outputs) == {tensor.name for tensor in MODELS[name].outputs}


def test_the_profile_is_changed_only_when_a_call_needs_another(world: World, onnx: Path) -> None:
    run = stages(onnx)
    wanted = [Sizes(F=7, P=16), Sizes(F=7, P=16), Sizes(F=2, P=2), Sizes(V=3, B=3, F=7, P=16)]
    for sizes in wanted:
        run.call("memory_attention", sample_inputs("memory_attention", VARIANT, sizes, seed=1))
    table = [profile.name for profile in run.plans.engines["memory_attention"].profiles]
    used = [table[call.args[0]] for call in world.contexts["memory_attention"].set_optimization_profile_async.call_args_list]
    assert used == ["steady b1-2", "start b1-2", "steady b3-4"]


def test_a_call_that_no_profile_holds_is_refused(world: World, onnx: Path) -> None:
    with pytest.raises(NoProfile, match="masklet-build engine"):
        stages(onnx).call("mask_decoder", sample_inputs("mask_decoder", VARIANT, Sizes(V=9, B=9), seed=0))


def test_an_input_of_another_type_is_refused(world: World, onnx: Path) -> None:
    inputs = sample_inputs("mask_prompt", VARIANT, Sizes(), seed=0)
    with pytest.raises(RunError, match="MASK is float64, not uint8"):
        stages(onnx).call("mask_prompt", {"MASK": inputs["MASK"].astype(np.float64)})


def test_an_engine_that_does_not_run_is_told(world: World, onnx: Path) -> None:
    world.runs = False
    with pytest.raises(RunError, match="mask_prompt: TensorRT does not run it"):
        stages(onnx).call("mask_prompt", sample_inputs("mask_prompt", VARIANT, Sizes(), seed=0))


def test_plans_of_another_tensorrt_are_not_loaded(world: World, onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert engine(onnx) == 0
    monkeypatch.setattr(trt, "__version__", "9.9.9")
    with pytest.raises(PlansError, match=r"here it is 9\.9\.9"):
        PlanStages(onnx.parent / "plans")
