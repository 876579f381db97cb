"""Assembly for TensorRT for RTX: plans and what runs them, within the plans' limits, and only where they belong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from masklet_build.cli import main
from masklet_build.engines.plans import Plans
from masklet_build.export.profiles import Limits
from masklet_build.models import variants
from masklet_build.repository import image
from masklet_build.repository.assemble import AssembleError, assemble, read_config
from masklet_build.repository.combine import combine
from masklet_build.repository.configs import KIND_CPU
from tests.assembly.standins import RTX, engines_of, plans_of

VARIANT = variants.variant("efficienttam_ti_512")
IN_THE_BANK = ("mask_prompt", "memory_attention", "mask_decoder", "memory_encoder")
RUNS = {
    "embedded/gpu.py",
    "embedded/kernel_cache.py",
    "embedded/rtx_engine.py",
    "embedded/rtx_machine.py",
    "embedded/rtx_runner.py",
    "embedded/shapes.py",
}


@pytest.fixture
def plans(tmp_path: Path) -> Path:
    return plans_of(VARIANT, tmp_path / "plans", machine=RTX)


def assembled(plans: Path, name: str = "repository", **options: object) -> Path:
    return assemble(VARIANT.name, plans, plans.with_name(name), runtime="tensorrt-rtx", **options)


def parameters(repository: Path, model: str) -> dict[str, str]:
    return {key: value.string_value for key, value in read_config(repository / model).parameters.items()}


def test_plans_lie_where_they_run_with_what_they_were_built_for_beside_them(plans: Path) -> None:
    (plans / "memory_encoder.log").write_text("what the builder said")
    (plans / "selftest.json").write_text("{}")
    repository = assembled(plans)
    inside = {file.name: file.read_bytes() for file in (repository / "memory_bank" / "1" / "engines").iterdir()}
    record = (plans / "plans.json").read_bytes()
    assert inside == {f"{name}.plan": f"plan of {name}".encode() for name in IN_THE_BANK} | {"plans.json": record}
    version = repository / "image_encoder" / "1"
    assert {file.name for file in version.iterdir()} == {"engine.plan", "plans.json", "model.py", "masklet", "masklet_build"}
    assert {file.name for file in (repository / "memory_bank").iterdir()} == {"1", "config.pbtxt", "plans.json", "selftest.json"}
    separate = assembled(plans, "separate", target="separate")
    assert (separate / "memory_attention" / "1" / "engine.plan").read_bytes() == b"plan of memory_attention"
    assert (separate / "memory_attention" / "1" / "plans.json").read_bytes() == record


@pytest.mark.parametrize("device", ["auto", "cuda:1"])
def test_the_models_know_device_and_precision_and_are_python_models_of_the_wheel(plans: Path, device: str) -> None:
    repository = assembled(plans, device=device)
    runs = {"runtime": "tensorrt-rtx", "precision": "bf16", "threads": "0", "device": device}
    assert parameters(repository, "image_encoder") == runs
    assert runs.items() <= parameters(repository, "memory_bank").items()
    config = read_config(repository / "image_encoder")
    assert (config.backend, [group.kind for group in config.instance_group]) == ("python", [KIND_CPU])
    assert image.backend(repository) is None
    assert image.advice(repository) is None


def test_what_runs_plans_is_beside_the_models_and_is_imported_without_nvidias_packages(plans: Path) -> None:
    repository = assembled(plans)
    script = (
        "import sys; sys.modules.update({'cupy': None, 'tensorrt_rtx_bindings': None, 'torch': None}); sys.path.insert(0, sys.argv[1]); "
        "import masklet_build.embedded.engine as engine, masklet_build.embedded.rtx_machine, masklet_build.embedded.logs; print(engine.__file__)"
    )
    for model in ("image_encoder", "memory_bank"):
        folder = repository / model / "1"
        done = subprocess.run([sys.executable, "-I", "-c", script, str(folder)], capture_output=True, text=True, check=True)
        assert Path(done.stdout.strip()) == folder / "masklet_build" / "embedded" / "engine.py"
        there = {path.relative_to(folder / "masklet_build").as_posix() for path in (folder / "masklet_build").rglob("*.py")}
        assert there >= RUNS
        assert not any("torch" in name for name in there)


def test_limits_are_lowered_to_those_of_the_plans_and_none_goes_beyond(tmp_path: Path) -> None:
    plans = plans_of(VARIANT, tmp_path / "plans", limits=Limits(videos=3, objects=2, conditioning=4, points=10), machine=RTX)
    repository = assembled(plans)
    assert read_config(repository / "image_encoder").max_batch_size == 3
    bank = parameters(repository, "memory_bank")
    assert {name: bank[name] for name in ("max_engine_batch", "max_conditioning", "max_points")} == {
        "max_engine_batch": "2",
        "max_conditioning": "4",
        "max_points": "10",
    }
    for name, value in (("max_engine_batch", "3"), ("max_conditioning", "0"), ("max_points", "11")):
        with pytest.raises(AssembleError, match=rf"memory_bank\.{name} is {value}, and the plans were built for at most"):
            assembled(plans, "more", settings={f"memory_bank.{name}": value})


def test_engines_of_another_kind_are_refused_with_the_command_that_makes_the_right_ones(plans: Path, tmp_path: Path) -> None:
    onnx = engines_of(VARIANT, tmp_path / "onnx")
    typed = engines_of(VARIANT, tmp_path / "typed", purpose="tensorrt", precision="bf16")
    programs = engines_of(VARIANT, tmp_path / "programs", purpose="torch", precision="bf16")
    tensorrt = plans_of(VARIANT, tmp_path / "tensorrt")
    rtx = {"runtime": "tensorrt-rtx"}
    engine = f"masklet-build engine {VARIANT.name} --onnx"
    wrote = rf"\(ONNX: what masklet-build export {VARIANT.name} --for tensorrt wrote\)"
    for engines, options, says in [
        (onnx, rtx, rf"holds ONNX engines, which tensorrt-rtx does not run\. Make others: {engine} {onnx} --rtx --out DIR; then name them"),
        (typed, rtx, rf"holds ONNX engines, which tensorrt-rtx does not run\. Make others: {engine} {typed} --rtx --out DIR; then name them"),
        (programs, rtx, rf"holds PyTorch programs, .*: {engine} ONNX --rtx --out DIR {wrote}; .*, or use --runtime torch\.$"),
        (tensorrt, rtx, rf"holds plans of TensorRT, .*: {engine} ONNX --rtx --out DIR {wrote}; .*, or use --target tensorrt\.$"),
        (
            plans,
            {"target": "tensorrt"},
            rf"holds plans of TensorRT for RTX, .*: {engine} ONNX --out DIR, on the GPU that will serve .*"
            r", or use --runtime tensorrt-rtx in place of --target tensorrt\.$",
        ),
        (plans, {}, r"holds plans of TensorRT for RTX, which openvino does not run\. Make others: .* --for cpu .*, or use --runtime tensorrt-rtx\.$"),
        (plans, {"runtime": "torch"}, r"holds plans of TensorRT for RTX, which torch does not run\. .* --for torch "),
        (tensorrt, {}, r"holds plans of TensorRT, which openvino does not run\. .*, or use --target tensorrt\.$"),
        (tmp_path, rtx, r"has no plans\.json"),
    ]:
        with pytest.raises(AssembleError, match=says):
            assemble(VARIANT.name, engines, tmp_path / "repository", **options)
    assert not (tmp_path / "repository").exists()


def test_a_precision_and_a_device_that_plans_do_not_have_are_refused(plans: Path) -> None:
    with pytest.raises(AssembleError, match=r"holds plans in bf16, as they were exported\. Leave out --precision"):
        assembled(plans, precision="fp32")
    assert parameters(assembled(plans, precision="bf16"), "memory_bank")["precision"] == "bf16"
    with pytest.raises(AssembleError, match=r"runs on GPUs alone\. Leave out --device"):
        assembled(plans, "other", device="cpu")


def test_plans_that_are_not_whole_or_of_another_variant_are_refused(plans: Path) -> None:
    with pytest.raises(AssembleError, match="holds plans of efficienttam_ti_512, not nano"):
        assemble("nano", plans, plans.with_name("repository"), runtime="tensorrt-rtx")
    (plans / "mask_decoder.plan").write_bytes(b"cut")
    with pytest.raises(AssembleError, match=r"mask_decoder\.plan is missing or not the file that was built.*--rtx"):
        assembled(plans)


def test_the_command_says_what_comes_next_and_warns_of_a_missing_selftest(plans: Path, capsys: pytest.CaptureFixture[str]) -> None:
    repository = plans.with_name("repository")
    command = ["assemble", VARIANT.name, "--engines", str(plans), "--runtime", "tensorrt-rtx", "--device", "cuda:0", "--out", str(repository)]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert f"Next: masklet-build serve {repository}" in said
    assert "no selftest report lies beside the plans" in said


def test_the_command_wants_plans_for_nano_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["assemble", "nano", "--runtime", "tensorrt-rtx", "--out", str(tmp_path / "repository")])
    assert caught.value.code == 2
    assert "--engines is required for runtime tensorrt-rtx: the plans that `masklet-build engine nano --rtx` built" in capsys.readouterr().err


def test_repositories_of_plans_are_combined_with_others(plans: Path, tmp_path: Path) -> None:
    nano = assemble("nano", plans_of(variants.variant("nano"), tmp_path / "nano-plans", machine=RTX), tmp_path / "nano", runtime="tensorrt-rtx")
    combine([assembled(plans), nano], tmp_path / "both")
    assert Plans.read(tmp_path / "both" / "memory_bank_nano" / "1" / "engines").variant == "nano"
