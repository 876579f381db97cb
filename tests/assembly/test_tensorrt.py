"""Repositories of TensorRT plans: what Triton reads in their configs is what plans.json says of the engines, and what does not fit is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from masklet import contract
from masklet.families import VARIANTS, Variant, variant
from masklet_build.cli import main
from masklet_build.embedded.shapes import distance
from masklet_build.engines.plans import Machine, Plans
from masklet_build.export.profiles import Limits, Shapes, choose, steady
from masklet_build.manifest import file_sha256
from masklet_build.models.variants import trunk_of
from masklet_build.repository.assemble import AssembleError, assemble
from masklet_build.repository.combine import combine
from masklet_build.repository.configs import KIND_CPU, KIND_GPU, Config, read_config
from tests.assembly.standins import engines_of, plans_of

ONE = variant("efficienttam_ti_512")
ENGINES = tuple(model.name for model in contract.engines(ONE))


@pytest.fixture
def plans(tmp_path: Path) -> Path:
    return plans_of(ONE, tmp_path / "plans")


def assembled(folder: Path, of: Variant = ONE, **settings: str) -> Path:
    named = {f"memory_bank.{name}": value for name, value in settings.items()}
    return assemble(of.name, folder, folder.with_name("repository"), target="tensorrt", settings=named)


def edit(folder: Path, change: Callable[[Plans], Plans]) -> None:
    change(Plans.read(folder)).write(folder)


@pytest.mark.parametrize("of", VARIANTS.values(), ids=lambda of: of.name)
def test_configs_say_what_plans_json_says_of_every_engine(tmp_path: Path, of: Variant) -> None:
    folder = plans_of(of, tmp_path / "plans")
    repository = assembled(folder, of)
    for name, plan in Plans.read(folder).engines.items():
        config = read_config(repository / name)
        assert (config.platform, config.backend, config.default_model_filename) == ("tensorrt_plan", "tensorrt", "model.plan")
        assert (repository / name / "1" / "model.plan").read_bytes() == (folder / f"{name}.plan").read_bytes()
        (group,) = config.instance_group
        assert (group.kind, group.count, list(group.gpus)) == (KIND_GPU, 1, [0])
        assert list(group.profile) == [str(index) for index in range(len(plan.profiles))]
        strategies = [value.string_value for key, value in config.parameters.items() if key == "execution_context_allocation_strategy"]
        assert strategies == ["ON_PROFILE_CHANGE"] * (len(plan.profiles) > 1)
        dims = {entry.name: list(entry.dims) for entry in config.input}
        for profile in plan.profiles:
            assert set(profile.inputs) == set(dims)
            for tensor, shapes in profile.inputs.items():
                lead = [-1] if config.max_batch_size else []
                assert all(_allows([*lead, *dims[tensor]], shape) for shape in shapes)
    assert not list(repository.rglob("*.onnx"))


def _allows(dims: Sequence[int], shape: Sequence[int]) -> bool:
    """Whether Triton lets a tensor of this shape through to a model with these dims."""
    return len(dims) == len(shape) and all(dim in (-1, size) for dim, size in zip(dims, shape, strict=True))


def _graphs(config: Config) -> list[dict[str, tuple[int, ...]]]:
    """The shapes of each CUDA graph of a model, with the batch."""
    captured = []
    for graph in config.optimization.cuda.graph_spec:
        assert not graph.HasField("graph_lower_bound"), "smaller calls would run beside memory that nobody wrote"
        assert (graph.batch_size > 0) == (config.max_batch_size > 0), "Triton refuses anything else"
        lead = [graph.batch_size] if graph.batch_size else []
        captured.append({tensor: (*lead, *shape.dim) for tensor, shape in graph.input.items()})
    assert config.optimization.cuda.graphs == bool(captured), "graphs without a list are captured for other shapes"
    return captured


@pytest.mark.parametrize("of", VARIANTS.values(), ids=lambda of: of.name)
def test_graphs_are_captured_for_the_calls_of_one_tracked_object_and_no_other(tmp_path: Path, of: Variant) -> None:
    """Those that `test_profiles.py` sees the bank make. A profile is tuned for each, whatever range it has besides."""
    folder = plans_of(of, tmp_path / "plans")
    repository = assembled(folder, of)
    for name, plan in Plans.read(folder).engines.items():
        captured = _graphs(read_config(repository / name))
        assert captured == ([steady(of)[name]] if name != "mask_prompt" else []), name
        assert all(distance(plan.profiles[choose(plan.profiles, shapes)].inputs, shapes) == 0 for shapes in captured), name


def test_the_graphs_of_a_variant_in_numbers(plans: Path) -> None:
    repository = assembled(plans)
    found = {name: _graphs(read_config(repository / name)) for name in ENGINES}
    assert found == {
        "image_encoder": [{"IMAGE": (1, 512, 512, 3)}],
        "mask_prompt": [],
        "memory_attention": [
            {"EMBEDDING": (1, 256, 32, 32), "VIDEO": (1,), "MEMORY": (1, 7, 1024, 64), "SLOT": (1, 7), "POINTERS": (1, 16, 256)},
        ],
        "mask_decoder": [
            {
                "FEATURES": (1, 256, 32, 32),
                "KIND": (1,),
                "POINTS": (1, 2, 2),
                "LABELS": (1, 2),
                "MASK_PROMPT": (1, 1, 128, 128),
                "HAS_MASK": (1,),
                "MULTIMASK": (1,),
                "PRESENT": (1,),
            }
        ],
        "memory_encoder": [{"EMBEDDING": (1, 256, 32, 32), "VIDEO": (1,), "LOW": (1, 128, 128), "BINARISE": (1,)}],
    }


def test_the_bank_is_one_process_on_the_gpu_of_its_engines_and_takes_tensors_there(plans: Path) -> None:
    repository = assembled(plans)
    bank = read_config(repository / "memory_bank")
    assert [(group.kind, group.count, list(group.gpus)) for group in bank.instance_group] == [(KIND_GPU, 1, [0])]
    assert bank.parameters["FORCE_CPU_ONLY_INPUT_TENSORS"].string_value == "no"
    for name in ("preprocess", "postprocess"):
        config = read_config(repository / name)
        assert {group.kind for group in config.instance_group} == {KIND_CPU}
        assert "FORCE_CPU_ONLY_INPUT_TENSORS" not in config.parameters


def test_only_this_target_has_tensors_on_a_gpu(tmp_path: Path) -> None:
    repository = assemble(ONE.name, engines_of(ONE, tmp_path / "engines"), tmp_path / "repository", target="onnxruntime")
    assert "FORCE_CPU_ONLY_INPUT_TENSORS" not in read_config(repository / "memory_bank").parameters


def test_what_is_known_of_the_plans_lies_beside_the_bank(plans: Path) -> None:
    (plans / "selftest.json").write_text("{}")
    bank = assembled(plans) / "memory_bank"
    assert {path.name for path in bank.iterdir() if path.is_file()} == {"config.pbtxt", "plans.json", "selftest.json"}
    assert Plans.read(bank) == Plans.read(plans)


# What a limit of the plans allows, beside the default in model_repository/.
SMALL = Limits(videos=2, objects=3, conditioning=4, points=5, objects_per_video=6)


def test_limits_of_the_server_are_lowered_to_those_of_the_plans(tmp_path: Path) -> None:
    sam3 = variant("sam3")
    for of, expected in ((ONE, ("3", "4", "5", "48")), (sam3, (str(min(3, sam3.max_objects)), "8", "5", "6"))):
        folder = plans_of(of, tmp_path / of.name, limits=SMALL)
        repository = assemble(of.name, folder, tmp_path / f"repository {of.name}", target="tensorrt")
        bank = read_config(repository / "memory_bank").parameters
        names = ("max_engine_batch", "max_conditioning", "max_points", "max_objects")
        assert tuple(bank[name].string_value for name in names) == expected, "SAM 3 itself keeps 4 conditioning frames; only its objects are rivals"
        assert read_config(repository / "image_encoder").max_batch_size == min(2, trunk_of(of).max_images)


def test_a_limit_that_the_plans_allow_is_kept(plans: Path) -> None:
    bank = read_config(assembled(plans, max_conditioning="2", max_points="64") / "memory_bank").parameters
    assert (bank["max_conditioning"].string_value, bank["max_points"].string_value) == ("2", "64")


@pytest.mark.parametrize(("name", "value"), [("max_conditioning", "0"), ("max_conditioning", "9"), ("max_points", "65"), ("max_engine_batch", "9")])
def test_a_limit_over_that_of_the_plans_is_refused(plans: Path, name: str, value: str) -> None:
    with pytest.raises(AssembleError, match=rf"memory_bank\.{name} is {value}, and the plans were built for at most"):
        assembled(plans, **{name: value})
    assert not plans.with_name("repository").exists()


def _reshaped(plans: Plans, engine: str, tensor: str, change: Callable[[int, tuple[int, ...]], tuple[int, ...]]) -> Plans:
    """Plans one of whose profiles takes other shapes: `change` of 0, 1, 2 for the smallest, the tuned, the largest, and what it was."""
    plan = plans.engines[engine]
    profile = plan.profiles[0]
    inputs = {**profile.inputs, tensor: Shapes(*(change(part, shape) for part, shape in enumerate(profile.inputs[tensor])))}
    table = (replace(profile, inputs=inputs), *plan.profiles[1:])
    return replace(plans, engines={**plans.engines, engine: replace(plan, profiles=table)})


def _without(plans: Plans, engine: str) -> Plans:
    return replace(plans, engines={name: plan for name, plan in plans.engines.items() if name != engine})


def _renamed(plans: Plans) -> Plans:
    plan = plans.engines["memory_encoder"]
    (first, *others) = plan.profiles
    inputs = {("MASK" if name == "LOW" else name): shapes for name, shapes in first.inputs.items()}
    return replace(plans, engines={**plans.engines, "memory_encoder": replace(plan, profiles=(replace(first, inputs=inputs), *others))})


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "no plans": (lambda folder: (folder / "plans.json").unlink(), "has no plans.json, so it holds no plans"),
    "not plans": (lambda folder: (folder / "plans.json").write_text("[]"), "cannot be read"),
    "plans of another compiler": (
        lambda folder: edit(folder, lambda plans: replace(plans, machine=Machine("tensorrt-rtx", "1.7.1.116", "", ("8.9",), ""))),
        r"holds plans of TensorRT for RTX, which tensorrt does not run.*--runtime tensorrt-rtx",
    ),
    "another variant": (lambda folder: edit(folder, lambda plans: replace(plans, variant="nano")), "holds plans of nano, not efficienttam_ti_512"),
    "another contract": (lambda folder: edit(folder, lambda plans: replace(plans, contract_version=7)), "plans for contract 7"),
    "a changed plan": (lambda folder: (folder / "mask_decoder.plan").write_bytes(b"other"), "mask_decoder.plan is missing or not the file"),
    "a lost plan": (lambda folder: (folder / "mask_prompt.plan").unlink(), "mask_prompt.plan is missing or not the file"),
    "an engine missing": (lambda folder: edit(folder, lambda plans: _without(plans, "memory_encoder")), "no plan of memory_encoder"),
    "another grid": (
        lambda folder: edit(folder, lambda plans: _reshaped(plans, "memory_attention", "EMBEDDING", lambda _, shape: (*shape[:2], 64, 64))),
        "of memory_attention takes other inputs",
    ),
    "a size left open": (
        lambda folder: edit(folder, lambda plans: _reshaped(plans, "mask_decoder", "POINTS", lambda part, shape: (*shape[:2], min(part + 1, 2)))),
        "of mask_decoder takes other inputs",
    ),
    "a dimension too few": (
        lambda folder: edit(folder, lambda plans: _reshaped(plans, "image_encoder", "IMAGE", lambda _, shape: shape[1:])),
        "of image_encoder takes other inputs",
    ),
    "a dimension too many": (
        lambda folder: edit(folder, lambda plans: _reshaped(plans, "image_encoder", "IMAGE", lambda _, shape: (*shape, 1))),
        "of image_encoder takes other inputs",
    ),
    "another input": (lambda folder: edit(folder, _renamed), "LOW, MASK"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused_with_the_way_out_and_leaves_nothing(plans: Path, name: str) -> None:
    spoil, says = REFUSED[name]
    spoil(plans)
    with pytest.raises(AssembleError, match=says) as caught:
        assembled(plans)
    assert any(word in str(caught.value) for word in ("masklet-build engine", "build again", "build plans"))
    assert not plans.with_name("repository").exists()


def test_onnx_engines_are_no_plans(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    engines = engines_of(ONE, tmp_path / "engines")
    assert main(["assemble", ONE.name, "--engines", str(engines), "--target", "tensorrt", "--out", str(tmp_path / "repository")]) == 1
    assert "Make others: masklet-build engine" in capsys.readouterr().err


def test_the_package_has_no_plans_of_nano(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["assemble", "nano", "--target", "tensorrt", "--out", str(tmp_path / "repository")])
    assert caught.value.code == 2
    assert "masklet-build engine nano" in capsys.readouterr().err


def test_repositories_of_plans_combine(tmp_path: Path) -> None:
    made = []
    for name in ("nano", "sam2.1_t"):
        folder = plans_of(variant(name), tmp_path / f"plans {name}")
        made.append(assemble(name, folder, tmp_path / f"repository {name}", target="tensorrt"))
    combine(made, tmp_path / "both")
    for name, engine in product(("nano", "sam2.1_t"), ENGINES):
        config = read_config(tmp_path / "both" / f"{engine}_{name}")
        alone = read_config(tmp_path / f"repository {name}" / engine)
        alone.name = config.name
        assert config == alone
        plan = Plans.read(tmp_path / f"plans {name}").engines[engine]
        assert file_sha256(tmp_path / "both" / f"{engine}_{name}" / "1" / "model.plan") == plan.sha256
