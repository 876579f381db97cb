"""`masklet-build engine nano --rtx`, with the real compiler on this CPU: interrupted, gone on with, up to date, changed, refused."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import threading
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import onnx
import pytest
import tensorrt_rtx_bindings as trt

from masklet.contract import engines
from masklet.families import NANO
from masklet_build import nano
from masklet_build.cli import main
from masklet_build.engines.plans import Machine, Plans, PlansError, Settings
from masklet_build.engines.targets import DEFAULT_TARGETS
from masklet_build.export.profiles import Limits, profiles
from masklet_build.manifest import Manifest, file_sha256

pytestmark = pytest.mark.engines

ENGINES = [model.name for model in engines(NANO)]
STOPPED_AT = "memory_attention"


class Run(NamedTuple):
    """What a command gave."""

    code: int
    out: str
    err: str

    def built(self) -> list[str]:
        return [line.split()[1].rstrip(":") for line in self.out.splitlines() if line.startswith("building ")]


def run(*arguments: object) -> Run:
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        code = main(["engine", "nano", "--rtx", *map(str, arguments)])
    return Run(code, out.getvalue(), err.getvalue())


def press_ctrl_c_during(engine: str, out: Path) -> None:
    """While the compiler is at the engine's first profile; whatever comes, no later than after a minute."""
    log, end = out.with_name(f".{out.name}.part") / f"{engine}.log", time.monotonic() + 60
    while not (log.exists() and "Constructing optimization profile number 0" in log.read_text()) and time.monotonic() < end:
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rtx")


@pytest.fixture(scope="module")
def stopped(work: Path) -> Run:
    thread = threading.Thread(target=press_ctrl_c_during, args=(STOPPED_AT, work / "plans"))
    thread.start()
    done = run("--out", work / "plans")
    thread.join()
    return done


@pytest.fixture(scope="module")
def finished(stopped: Run, work: Path) -> Run:
    return run("--out", work / "plans")


@pytest.fixture(scope="module")
def plans(finished: Run, work: Path) -> Path:
    """nano's plans, of the engines in the package."""
    assert finished.code == 0, finished.err
    return work / "plans"


def test_ctrl_c_stops_in_the_middle_of_an_engine_and_leaves_nothing(stopped: Run) -> None:
    assert stopped.code == 1
    assert stopped.built() == ENGINES[: ENGINES.index(STOPPED_AT) + 1]
    assert "stopped. The same command goes on with the engine that it stopped at." in stopped.err
    shown = [line for line in stopped.err.replace("\r", "\n").splitlines() if line.startswith(f"{STOPPED_AT}:")]
    assert shown, "the bar"
    assert not any("100%" in line for line in shown), "the compiler ends all phases when it stops"


def test_the_same_command_goes_on_with_the_engine_that_it_stopped_at(finished: Run, plans: Path) -> None:
    assert finished.built() == ENGINES[ENGINES.index(STOPPED_AT) :]
    assert [line for line in finished.out.splitlines() if "up to date" in line] == ["image_encoder is up to date", "mask_prompt is up to date"]
    assert [path.name for path in plans.parent.iterdir()] == ["plans"]


def softmax_nodes(engine: str) -> int:
    return sum(node.op_type == "Softmax" for node in onnx.load(nano.ENGINES / f"{engine}.onnx").graph.node)


def test_plans_json_says_what_was_built_for_what_and_of_what(plans: Path) -> None:
    read, limits = Plans.read(plans), Limits.of(NANO)
    assert read.machine == Machine("tensorrt-rtx", trt.__version__, "", DEFAULT_TARGETS, "")
    assert (read.variant, read.precision, read.attention, read.limits, read.settings) == ("nano", "fp32", "fp32", limits, Settings())
    assert read.checkpoint == Manifest.read(nano.ENGINES).checkpoint
    for name, table in profiles(NANO, limits, wide=True).items():
        plan = read.engines[name]
        assert plan.profiles == table
        assert plan.onnx == {f"{name}.onnx": file_sha256(nano.ENGINES / f"{name}.onnx")}
        assert len(plan.memory) == len(table)
        assert [(one.attention, one.softmax) for one in plan.kernels] == [(0, softmax_nodes(name))] * len(table), "none of nano is fused in float32"
        assert plan.softmax_nodes == softmax_nodes(name)
        assert plan.warnings == ()
        assert "[ERROR]" not in (plans / f"{name}.log").read_text()
    assert {path.name for path in plans.iterdir()} == {"plans.json", *(f"{name}{kind}" for name in ENGINES for kind in (".plan", ".log"))}


def test_the_table_tells_fusion_and_the_next_command(finished: Run, plans: Path) -> None:
    said = finished.out
    assert f"TensorRT for RTX {trt.__version__} on this CPU, for compute capability 8.6, 8.9, 12.0" in said
    assert "0 of 7" in next(line for line in said.splitlines() if line.startswith("mask_decoder  "))
    assert "none there" in next(line for line in said.splitlines() if line.startswith("memory_encoder  "))
    assert "Attention in fp32 is hardly ever fused" in said
    assert f"masklet-build selftest {plans}\n" in said
    assert f"masklet-build assemble nano --engines {plans} --runtime tensorrt-rtx" in said


def test_what_is_up_to_date_is_not_built_again(plans: Path) -> None:
    again = run("--out", plans)
    assert (again.code, again.built()) == (0, [])
    assert f"{plans} is up to date" in again.out


@pytest.fixture
def copy(plans: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(plans, tmp_path / "plans"))


def test_a_plan_that_was_damaged_is_built_again_and_only_with_force(copy: Path) -> None:
    (copy / "mask_prompt.plan").write_bytes(b"cut")
    refused = run("--out", copy)
    assert (refused.code, refused.built()) == (1, [])
    assert "holds other plans: changed files, or made of other ONNX files: mask_prompt. Choose another directory, or --force" in refused.err
    forced = run("--out", copy, "--force")
    assert forced.built() == ["mask_prompt"]
    assert [line.split()[0] for line in forced.out.splitlines() if line.split()[0] in ENGINES and "is up to date" not in line] == ENGINES, "the table"
    Plans.read(copy).check_files(copy)


def test_what_a_stopped_build_by_another_compiler_left_is_not_taken(copy: Path) -> None:
    part = copy.with_name(f".{copy.name}.part")
    part.mkdir()
    replace(Plans.read(copy), machine=Machine("tensorrt", "11.4.0.106", "NVIDIA L4", ("8.9",), "13.0")).write(part)
    for name in ENGINES:
        for kind in (".plan", ".log", ".layers.json"):
            (part / f"{name}{kind}").write_text("of TensorRT")
    (copy / "mask_prompt.plan").write_bytes(b"cut")
    names = {path.name for path in copy.iterdir()}
    assert run("--out", copy, "--force").built() == ["mask_prompt"]
    assert {path.name for path in copy.iterdir()} == names
    assert all("of TensorRT" not in (copy / f"{name}.log").read_text() for name in ENGINES)
    Plans.read(copy).check_files(copy)
    assert not part.exists()


def test_an_engine_whose_graph_changed_is_built_again_and_no_other(copy: Path, tmp_path: Path) -> None:
    engines = Path(shutil.copytree(nano.ENGINES, tmp_path / "onnx"))
    model = onnx.load(engines / "mask_prompt.onnx")
    model.graph.doc_string = "another file, the same network"
    onnx.save(model, engines / "mask_prompt.onnx")
    refused = run("--onnx", engines, "--out", copy, "--force")
    assert refused.code == 1
    assert "mask_prompt.onnx is missing or not the file that was exported" in refused.err
    manifest = json.loads((engines / "manifest.json").read_text())
    manifest["files"]["mask_prompt.onnx"] = file_sha256(engines / "mask_prompt.onnx")
    (engines / "manifest.json").write_text(json.dumps(manifest))
    assert run("--onnx", engines, "--out", copy, "--force").built() == ["mask_prompt"]
    assert Plans.read(copy).engines["mask_prompt"].onnx == {"mask_prompt.onnx": file_sha256(engines / "mask_prompt.onnx")}


def test_plans_run_with_their_version_on_any_gpu_among_their_targets(plans: Path) -> None:
    read = Plans.read(plans)
    for capability in DEFAULT_TARGETS:
        read.check(plans, Machine("tensorrt-rtx", trt.__version__, "NVIDIA GeForce", (capability,), "13.0"))
    with pytest.raises(
        PlansError, match=r"compute capability was 8\.6 or 8\.9 or 12\.0, and here it is 9\.0.*masklet-build engine nano --onnx DIR --rtx"
    ):
        read.check(plans, Machine("tensorrt-rtx", trt.__version__, "NVIDIA H100", ("9.0",), "13.0"))
    with pytest.raises(PlansError, match=rf"TensorRT for RTX was {trt.__version__}, and here it is 9\.9"):
        read.check(plans, Machine("tensorrt-rtx", "9.9", "NVIDIA GeForce", ("8.9",), "13.0"))
    with pytest.raises(PlansError, match="the compiler was TensorRT for RTX, and here it is TensorRT"):
        read.check(plans, Machine("tensorrt", "11.4.0.106", "NVIDIA L4", ("8.9",), "13.0"))


def test_tensorrts_own_target_refuses_them_and_names_theirs(plans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["assemble", "nano", "--engines", str(plans), "--target", "tensorrt", "--out", str(tmp_path / "repository")]) == 1
    assert "--runtime tensorrt-rtx" in capsys.readouterr().err
    assert not (tmp_path / "repository").exists()


def test_other_targets_are_other_plans(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("masklet_build.engines.folder.build", lambda *arguments: pytest.fail("as it must"))
    with pytest.raises(pytest.fail.Exception, match="as it must"):
        run("--out", copy, "--sm", "89", "--force")


def test_why_a_folder_of_other_plans_is_refused(plans: Path, tmp_path: Path) -> None:
    refused = run("--out", plans, "--sm", "8.9", "--objects", "4", "--tf32")
    assert (refused.code, refused.built()) == (1, [])
    assert "targets 8.6, 8.9, 12.0, now 8.9; objects 8, now 4; tf32 False, now True. Choose another directory, or --force" in refused.err
    (tmp_path / "file").touch()
    refused = run("--out", tmp_path / "file")
    assert (refused.code, refused.built()) == (1, [])
    assert "file exists and holds something else" in refused.err


def test_a_machine_without_the_package_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("masklet_build.engines.compilers.find_spec", lambda name: None)
    done = run("--out", tmp_path / "plans")
    assert done.code == 1
    assert "pip install 'masklet-build[rtx]'" in done.err


def test_a_package_whose_libraries_are_missing_is_told_as_a_missing_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def without_libraries(name: str) -> None:
        raise ImportError("libtensorrt_rtx.so.1: cannot open shared object file")

    monkeypatch.setattr("masklet_build.engines.compilers.import_module", without_libraries)
    done = run("--out", tmp_path / "plans")
    assert done.code == 1
    assert "TensorRT for RTX cannot be imported: libtensorrt_rtx.so.1" in done.err
    assert "pip install 'masklet-build[rtx]'" in done.err
