"""Checkpoints as training programs leave them: the parameters are found wherever they lie, exactly, and nothing else in the file is run."""

from __future__ import annotations

import collections
import dataclasses
import os
import pathlib
from typing import Any

import numpy as np
import pytest
import torch

from masklet.families import VARIANTS, variant
from masklet_build.checkpoints.loading import CheckpointError, checkpoint_sha256, load_checkpoint
from masklet_build.checkpoints.random_weights import noise
from masklet_build.export.onnx_export import export
from masklet_build.models.network import parameter_shapes

pytestmark = pytest.mark.torch

NANO = variant("nano")
SHAPES = parameter_shapes(NANO)
STATE = {name: torch.from_numpy(noise(0, name, shape)) for name, shape in SHAPES.items()}
EMA = {name: tensor + 1 for name, tensor in STATE.items()}


class Settings:
    """Of a training program that is not here when its checkpoint is read."""

    def __init__(self) -> None:
        self.rate = 1e-4


class Hostile:
    """Runs a function when it is unpickled, the usual way."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.said = function, arguments

    def __reduce__(self) -> Any:
        return self.said


def prefixed(prefix: str, state=STATE) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


@pytest.fixture
def loaded(tmp_path):
    """Saves and loads; the state, and what was said."""

    def load(content, weights=None):
        said: list[str] = []
        torch.save(content, tmp_path / "file.pt")
        return load_checkpoint(tmp_path / "file.pt", NANO, weights=weights, say=said.append), said

    return load


@pytest.fixture
def refusal(loaded):
    def load(content, weights=None) -> str:
        with pytest.raises(CheckpointError) as caught:
            loaded(content, weights)
        return str(caught.value)

    return load


def assert_equal(found, expected) -> None:
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


UNSAID = {
    "official": {"model": STATE},
    "bare": STATE,
    "ordered": collections.OrderedDict(STATE),
    "trainer": {"model": STATE, "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 0.1}]}, "epoch": 3, "best": 0.7},
    "numpy scalar": {"model": STATE, "best": np.float64(0.7)},
    "class": {"model": STATE, "config": Settings(), "where": pathlib.PurePosixPath("/runs/3")},
}
SAID = {
    "state_dict": ({"state_dict": STATE}, "those of state_dict"),
    "model_state_dict": ({"model_state_dict": STATE}, "those of model_state_dict"),
    "ema": ({"ema": STATE}, "those of ema"),
    "nested": ({"checkpoint": {"net": {"weights": STATE}}}, "those of checkpoint/net/weights"),
    "parallel": ({"model": prefixed("module.")}, "those of model, without module in their names"),
    "compiled": (prefixed("_orig_mod."), "those of ., without _orig_mod in their names"),
    "both": ({"model": prefixed("module._orig_mod.")}, "without _orig_mod and module in their names"),
    "lightning": ({"state_dict": prefixed("model."), "hyper_parameters": {"lr": 1.0}}, "those of state_dict/model"),
    "beside a loss": ({"state_dict": prefixed("model.") | {"loss.weight": torch.zeros(2)}}, "those of state_dict/model"),
    "deepspeed": ({"module": prefixed("model.")}, "those of module/model"),
    "compiled within": (
        {"model": {name.replace("image_encoder.", "image_encoder._orig_mod."): tensor for name, tensor in STATE.items()}},
        "without _orig_mod in their names",
    ),
}


@pytest.mark.parametrize("form", UNSAID)
def test_the_parameters_of_an_official_place_are_loaded_without_a_word(loaded, form):
    state, said = loaded(UNSAID[form])
    assert_equal(state, STATE)
    assert said == []


@pytest.mark.parametrize("form", SAID)
def test_parameters_elsewhere_and_behind_prefixes_are_loaded_and_said(loaded, form):
    content, words = SAID[form]
    state, said = loaded(content)
    assert_equal(state, STATE)
    (line,) = said
    assert words in line


def test_parts_of_names_that_are_dropped_stand_in_no_name_of_a_network():
    parts = {part for known in VARIANTS.values() for name in parameter_shapes(known) for part in name.split(".")}
    assert parts.isdisjoint({"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ({"ema": EMA, "model": STATE}, ("model", "ema")),
        ({"model_ema": EMA, "state_dict": STATE}, ("state_dict", "model_ema")),
        ({"state_dict": prefixed("ema_model.", EMA) | prefixed("model.")}, ("state_dict/model", "state_dict/ema_model")),
        ({"teacher": EMA, "student": prefixed("module.")}, ("student", "teacher")),
    ],
)
def test_of_model_and_average_the_model_is_taken_and_the_other_is_named_and_can_be_chosen(loaded, refusal, content, names):
    state, said = loaded(content)
    assert_equal(state, STATE)
    (line,) = said
    assert f"Taken: {names[0]}" in line
    assert f"--weights {names[1]}" in line
    other, said = loaded(content, names[1])
    assert_equal(other, EMA)
    assert f"Taken: {names[1]}" in said[0]
    assert f"--weights {names[0]}" in said[0]
    message = refusal(content, "best")
    assert "there are no weights 'best' that fit. Those that do: " in message
    assert all(name in message for name in names)


def test_the_same_weights_twice_are_no_choice(loaded):
    assert loaded({"model": STATE, "best": dict(STATE)})[1] == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"model": STATE | {"extra.weight": torch.zeros(3)}}, "1 tensors unexpected: extra.weight."),
        ({"state_dict": prefixed("model.", {name: STATE[name] for name in list(STATE)[1:]})}, "nor does what it holds under state_dict/model"),
        ({"model": prefixed("module.") | {"no_obj_ptr": STATE["no_obj_ptr"] + 1}}, "does not fit nano"),  # two tensors for one name
    ],
)
def test_what_is_not_exactly_the_variant_is_refused(refusal, content, words):
    assert words in refusal(content)


def test_a_whole_network_that_was_pickled_is_not_called_incomplete(refusal):
    network = torch.nn.Sequential(torch.nn.Linear(2, 2))
    for content in (network, {"model": network}):
        message = refusal(content)
        assert "is whole, but holds no parameters by name" in message
        assert "torch.nn.modules.container.Sequential" in message or "torch.nn.modules.linear.Linear" in message
        assert 'torch.save({"model": model.state_dict()}, "weights.pt")' in message
        assert "ncomplete" not in message


@pytest.mark.parametrize("form", ["zip", "before 1.6"])
def test_a_class_that_hinders_reading_is_named(tmp_path, form):
    """A subclass of dict cannot be stood in for; in files of old no class can."""
    content = {"model": STATE, "config": collections.defaultdict(int, {"a": 1}) if form == "zip" else Settings()}
    torch.save(content, tmp_path / "file.pt", _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(tmp_path / "file.pt", NANO)
    message = str(caught.value)
    assert ("collections.defaultdict" if form == "zip" else f"{__name__}.Settings") in message
    assert "is whole, but holds objects of" in message
    assert "torch.save({" in message
    assert not any(word in message for word in ("ncomplete", "\x1b", "weights_only"))


@pytest.mark.filterwarnings("ignore:.torch:DeprecationWarning", "ignore:.torch.load. received a zip file:UserWarning")
def test_a_torchscript_program_is_called_one(tmp_path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "file.pt"))
    with pytest.raises(CheckpointError, match=r"is a TorchScript program, not a checkpoint\. Save the parameters alone"):
        load_checkpoint(tmp_path / "file.pt", NANO)


@pytest.mark.parametrize("function", [open, eval])
def test_a_call_beside_the_parameters_is_not_made(loaded, tmp_path, function):
    trace = str(tmp_path / "ran")
    hostile = Hostile(open, trace, "w") if function is open else Hostile(eval, f"open({trace!r}, 'w')")
    assert_equal(loaded({"model": STATE, "config": hostile})[0], STATE)
    assert [path.name for path in tmp_path.iterdir()] == ["file.pt"]


@pytest.mark.parametrize(("function", "named"), [(os.system, "posix.system"), (os.mkdir, "posix.mkdir"), (pathlib.Path.touch, "pathlib.Path")])
def test_what_cannot_be_stood_in_for_is_refused_by_name_and_not_called(refusal, tmp_path, function, named):
    trace = tmp_path / "ran"
    argument = {os.system: f"touch {trace}", os.mkdir: str(trace)}.get(function, trace)
    assert named in refusal({"model": STATE, "config": Hostile(function, argument)})
    assert [path.name for path in tmp_path.iterdir()] == ["file.pt"]


def test_a_function_in_the_place_of_parameters_is_named(refusal):
    assert "dataclasses.replace" in refusal({"model": dataclasses.replace})


def test_engines_of_other_weights_in_a_file_are_told_apart(network, tmp_path):
    tiny = network("efficienttam_ti_512", 64)
    ema = {name: tensor * 1.01 for name, tensor in tiny.state.items()}
    torch.save({"model": tiny.state, "ema": ema}, tmp_path / "file.pt")
    lines: list[str] = []
    made = export(tiny.variant, tmp_path / "file.pt", tmp_path / "engines", weights="ema", sizes=(), progress=lines.append)
    assert any("Taken: ema. To take others: --weights model" in line for line in lines)
    assert made.checkpoint["source"].endswith("; its weights ema")
    assert made.checkpoint["sha256"] == checkpoint_sha256(tmp_path / "file.pt", "ema") != checkpoint_sha256(tmp_path / "file.pt")
