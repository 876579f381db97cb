"""A frame's time is taken apart without a rest, and the models that compute nothing move as much as the real ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.bare import ENGINES, steady_inputs
from benchmarks.null_repository import null_models, null_repository
from benchmarks.overhead_report import CALLED, HOPS, STEPS, Case, Passed, hops_and_copies, markdown, taken_apart
from benchmarks.triton_times import PHASES
from masklet import contract
from masklet.contract import TIMING_FIELDS
from masklet.families import NANO
from masklet_build import nano
from masklet_build.repository.assemble import assemble
from masklet_build.repository.configs import read_config
from tests.fakes import loading


def passed(slowness: float = 1.0, *, engine: float = 10.0, hop: float = 1.0) -> Passed:
    """A frame in which an engine takes `engine`, a message to image_encoder and back `hop`, and each wait and copy 1."""
    timing = dict.fromkeys(TIMING_FIELDS, 2.0) | dict.fromkeys(CALLED, engine)
    infer = {"preprocess": 3.0, "postprocess": 3.0, "image_encoder": engine + hop, "memory_bank": 4.0 + sum(timing[name] for name in CALLED)}
    models = {name: dict.fromkeys(PHASES, 1.0) | {"compute_infer": infer[name], "success": infer[name] + 3.5} for name in STEPS}
    models["tracker"] = dict.fromkeys(PHASES, 0.0) | {"success": sum(models[name]["success"] for name in STEPS) + 2}
    slower = {name: {phase: slowness * value for phase, value in phases.items()} for name, phases in models.items()}
    return Passed(slowness * (models["tracker"]["success"] + 7), slowness * 3, {name: slowness * value for name, value in timing.items()}, slower)


def test_the_parts_add_up_to_the_frame() -> None:
    rows = taken_apart(passed(), passed(engine=0.0))
    assert sum(sum(row.values()) for row in rows.values()) == pytest.approx(passed().frame)
    assert rows["client and gRPC"] == {"work": pytest.approx(3), "hops": pytest.approx(4)}
    assert rows["ensemble"] == {"hops": pytest.approx(2)}


def test_the_image_encoder_is_what_its_model_takes_beyond_one_that_computes_nothing() -> None:
    rows = taken_apart(passed(), passed(engine=0.0))
    assert {name: rows[name]["work"] for name in ENGINES} == dict.fromkeys(ENGINES, pytest.approx(10))


def test_engines_decoding_resizing_and_mask_coding_are_no_overhead() -> None:
    rows = taken_apart(passed(), passed(engine=0.0))
    assert hops_and_copies(rows) == pytest.approx(passed().frame - 4 * 10 - 2 * 2 - 3)


def filled() -> Case:
    case = Case("v", "fp32", "f", bare=[40.0, 80.0])
    for slowness in (1.0, 2.0):
        case.real.append(passed(slowness))
        case.null.append(passed(slowness, engine=0.0))
        case.separate.append(passed(slowness).frame + 1)
    for longer, shorter, count in HOPS.values():
        case.chains.setdefault(longer, [3.0 + 2.0 * count] * 2)
        case.chains.setdefault(shorter or "", [3.0] * 2)
    return case


def test_a_slower_round_changes_no_share() -> None:
    share = filled().summary()["hops_and_copies_percent"]
    assert share["quartile_1"] == pytest.approx(share["quartile_3"])


def test_every_row_of_the_tables_has_as_many_cells_as_their_heads() -> None:
    facts = {"threads": 2, "load_before": 0.1, "command": "c", "date": "d", "commit": "e", "versions": {"python": "3"}}
    content = {"cases": [filled().summary()], "machine": {"cpu": "p", "cores": 2, "ram_gib": 8}, **facts}
    tables = [block for block in markdown(content).split("\n\n") if block.startswith("|")]
    assert [len(table.splitlines()) for table in tables] == [3, 12, 2 + len(HOPS)]
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1


@pytest.fixture(scope="module")
def null(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return null_repository(NANO, nano.ENGINES, tmp_path_factory.mktemp("null") / "repository", b"mask")


@pytest.fixture
def utils() -> Iterator[Any]:
    with loading.backend_utils() as utils:
        yield utils


def start(folder: Path) -> Any:
    model = loading.load(folder / "1" / "model.py").TritonPythonModel()
    model.initialize(loading.arguments(read_config(folder), folder))
    return model


def test_the_null_tracker_has_the_configs_of_the_real_one(null: Path, tmp_path: Path) -> None:
    real = assemble(NANO.name, nano.ENGINES, tmp_path / "real")
    for folder in real.iterdir():
        config = read_config(null / folder.name)
        if "null" in config.parameters:
            del config.parameters["null"]
        assert config == read_config(folder)
        assert (null / folder.name / "1" / "model.py").exists() == (folder.name != "tracker")
        assert not list((null / folder.name).rglob("*.onnx"))


@pytest.mark.parametrize("model", [model for model in null_models(NANO) if model.name in STEPS], ids=lambda model: model.name)
def test_a_null_model_answers_with_every_tensor_in_the_size_of_a_tracked_frame(null: Path, utils: Any, model: contract.Model) -> None:
    (response,) = start(null / model.name).execute([utils.InferenceRequest("abc")])
    answer = {tensor.name(): tensor.as_numpy() for tensor in response.output_tensors()}
    assert {name: array.dtype for name, array in answer.items()} == {tensor.name: tensor.numpy_dtype for tensor in model.outputs}
    inputs = {**steady_inputs(NANO, 1)["memory_encoder"], **steady_inputs(NANO, 1)["image_encoder"]}  # what models hand on to each other
    for name in answer.keys() & inputs.keys():
        assert answer[name].shape[-3:] == inputs[name].shape[-3:]
    if model is contract.POSTPROCESS:
        assert (answer["MASKS"].tobytes(), answer["MASK_BYTES"].tolist()) == (b"mask", [[4]])
        assert answer["TOKEN"].tobytes() == b"abc"
        assert answer["LOGITS"].size == 0


def test_a_caller_calls_what_it_is_measured_with(null: Path, utils: Any) -> None:
    calls: list[tuple[str, tuple[int, ...]]] = []

    def called(request: Any) -> Any:
        (tensor,) = request.inputs()
        calls.append((request._model_name, tensor.as_numpy().shape))
        return utils.InferenceResponse([utils.Tensor("OUT", np.zeros(1, np.float32))])

    utils.InferenceRequest.models.update(dict.fromkeys(("features", "chain_three"), called))
    features = (1, NANO.hidden, NANO.grid, NANO.grid)
    for caller, expected in (("three_caller", [("features", features)] * len(CALLED)), ("ensemble_caller", [("chain_three", features)])):
        calls.clear()
        start(null / caller).execute([utils.InferenceRequest()])
        assert calls == expected
    assert len(read_config(null / "chain_three").ensemble_scheduling.step) == len(CALLED)


def test_every_chain_that_is_measured_is_there(null: Path) -> None:
    asked = {name for longer, shorter, _ in HOPS.values() for name in (longer, shorter) if name}
    assert asked <= {folder.name for folder in null.iterdir()}
    for longer, shorter, count in HOPS.values():
        if longer.startswith("chain") and str(shorter).startswith("chain"):
            steps = [len(read_config(null / str(name)).ensemble_scheduling.step) for name in (longer, shorter)]
            assert steps[0] - steps[1] == count
