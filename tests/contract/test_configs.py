"""The Triton configs, committed and assembled, say what masklet.contract says, and keep the rules that a video's life hangs on."""

from __future__ import annotations

import re
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from masklet import contract
from masklet.families import VARIANTS, Variant, variant
from masklet_build.repository import settings
from masklet_build.repository.assemble import IMAGE_TARGETS, TARGETS, AssembleError, assemble
from tests.assembly.standins import engines_of, plans_of
from tests.contract.config_rules import breaches
from tests.fakes.loading import MODELS

ONE = variant("efficienttam_ti_512")
SHA256 = "5" * 64


def read(repository: Path) -> dict[str, Any]:
    """Every config of a repository, by the name of its folder. Raises text_format.ParseError where Triton would refuse one."""
    files = sorted(repository.glob("*/config.pbtxt"))
    return {file.parent.name: text_format.Parse(file.read_text(), model_config_pb2.ModelConfig()) for file in files}


@pytest.fixture
def assembled(tmp_path: Path) -> Callable[..., Path]:
    """Assembles a repository of a variant."""

    def make(of: Variant = ONE, **options: Any) -> Path:
        engines = (plans_of if options.get("target") == "tensorrt" else engines_of)(of, tmp_path / "engines", SHA256)
        return assemble(of.name, engines, tmp_path / "repository", **options)

    return make


def test_the_committed_configs_keep_the_rules() -> None:
    assert breaches(read(MODELS), ONE, assembled=False) == []


@pytest.mark.parametrize("of", VARIANTS.values(), ids=lambda of: of.name)
def test_what_clients_send_is_all_that_is_bytes(of: Variant) -> None:
    """Both as contract and as config: see `config_rules` for what others could do to the server."""
    models = (*contract.models(of), contract.escorted(contract.image_encoder(of)))
    texts = {(model.name, tensor.name) for model in models for tensor in (*model.inputs, *model.outputs) if tensor.dtype == "BYTES"}
    assert texts == {(model, tensor) for model in ("tracker", "preprocess") for tensor in ("FRAME_ENCODED", "PROMPTS")}
    assert not {tensor.name for model in models for tensor in model.outputs if tensor.dtype == "BYTES"}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("of", VARIANTS.values(), ids=lambda of: of.name)
def test_assembled_configs_keep_the_rules(assembled: Callable[..., Path], of: Variant, target: str) -> None:
    repository = assembled(of, target=target)
    configs = read(repository)
    assert breaches(configs, of, assembled=True, target=target) == []
    assert {name: config.name for name, config in configs.items()} == {name: name for name in configs}
    for name in configs.keys() & {model.name for model in contract.engines(of)}:
        text = (repository / name / "config.pbtxt").read_text()
        assert re.search(r"^max_batch_size: \d", text, re.MULTILINE), "left out, Triton completes it to something else"
        assert configs[name].backend == (target if target in IMAGE_TARGETS else "python")
    bank = {key: value.string_value for key, value in configs["memory_bank"].parameters.items()}
    assert (bank["variant"], bank["checkpoint_sha256"], bank["precision"]) == (of.name, SHA256, "bf16" if target == "tensorrt" else "fp32")
    assert bank["contract_version"] == str(contract.CONTRACT_VERSION)
    assert configs["preprocess"].parameters["variant"].string_value == of.name


@pytest.mark.parametrize(("videos", "seconds", "places"), [("1", "2", 16384), ("5000", "600", 20000)])
def test_places_and_patience_follow_the_settings(assembled: Callable[..., Path], videos: str, seconds: str, places: int) -> None:
    repository = assembled(settings={"memory_bank.max_videos": videos, "memory_bank.idle_seconds": seconds})
    configs = read(repository)
    assert breaches(configs, ONE, assembled=True, target="embedded") == []
    assert configs["memory_bank"].parameters["max_videos"].string_value == videos
    for name in ("preprocess", "image_encoder", "memory_bank"):
        batching = configs[name].sequence_batching
        assert batching.oldest.max_candidate_sequences == places
        assert batching.max_sequence_idle_microseconds == {"2": 600, "600": 2400}[seconds] * 1_000_000


@pytest.mark.parametrize("setting", ["memory_bank.max_video", "bank.max_videos", "max_videos"])
def test_a_setting_that_nobody_has_is_refused_and_leaves_nothing(assembled: Callable[..., Path], tmp_path: Path, setting: str) -> None:
    with pytest.raises(AssembleError, match=re.escape(setting.rpartition(".")[2])):
        assembled(settings={setting: "1"})
    assert not (tmp_path / "repository").exists()


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("memory_bank.max_objects", "abc", "max_objects is 'abc', and must be a whole number of at least 1"),
        ("memory_bank.max_videos", "0", "whole number of at least 1"),
        ("memory_bank.max_videos", "-3", "whole number of at least 1"),
        ("memory_bank.max_videos", "99999999999999999999", "at most 100000"),
        ("memory_bank.max_objects", "2147483648", "at most 2147483647"),
        ("memory_bank.idle_seconds", "1e99", "at most 31536000"),
        ("memory_bank.max_bank_mib", "1.5", "whole number"),
        ("memory_bank.max_conditioning", "1", "0 or a whole number of at least 2"),
        ("memory_bank.idle_seconds", "nan", "seconds above 0"),
        ("memory_bank.idle_seconds", "soon", "seconds above 0"),
        ("memory_bank.drain_file", "draining", "begins with /"),
        ("memory_bank.variant", "sam3", "left alone: assembly fills it in"),
        ("preprocess.max_frame_side", "", "whole number"),
    ],
)
def test_a_value_that_cannot_be_is_refused_and_leaves_nothing(
    assembled: Callable[..., Path], tmp_path: Path, setting: str, value: str, said: str
) -> None:
    with pytest.raises(AssembleError, match=f"--set {re.escape(setting)}: .*{re.escape(said)}"):
        assembled(settings={setting: value})
    assert not (tmp_path / "repository").exists()


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("memory_bank.FORCE_CPU_ONLY_INPUT_TENSORS", "0", "must be yes or no"),
        ("memory_attention.execution_context_allocation_strategy", "NONE", "must be STATIC or ON_PROFILE_CHANGE"),
    ],
)
def test_what_plans_bring_is_checked_as_well(assembled: Callable[..., Path], tmp_path: Path, setting: str, value: str, said: str) -> None:
    with pytest.raises(AssembleError, match=f"--set {re.escape(setting)}: .*{re.escape(said)}"):
        assembled(target="tensorrt", settings={setting: value})
    assert not (tmp_path / "repository").exists()


@pytest.mark.parametrize("target", TARGETS)
def test_what_each_parameter_may_be_is_known(assembled: Callable[..., Path], target: str) -> None:
    """And the committed values are among it."""
    for config in read(assembled(target=target)).values():
        for key, value in config.parameters.items():
            if settings.CHECKS[key] is not settings._filled_in:
                settings.check(key, value.string_value)


def _tensor(entries: Any, name: str) -> Any:
    return next(entry for entry in entries if entry.name == name)


def _text(entry: Any) -> None:
    entry.data_type = model_config_pb2.TYPE_STRING


def _step(configs: dict[str, Any], name: str) -> Any:
    return next(step for step in configs["tracker"].ensemble_scheduling.step if step.model_name == name)


def _drop(entries: Any, name: str) -> None:
    del entries[[entry.name for entry in entries].index(name)]


BROKEN: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "a model is missing": (lambda c: c.pop("mask_prompt"), "models"),
    "a tensor is missing": (lambda c: _drop(c["postprocess"].output, "BOXES"), "postprocess has the tensors"),
    "a tensor is too many": (lambda c: c["memory_bank"].input.add(name="CORRID"), "memory_bank has the tensors"),
    "another type": (lambda c: setattr(_tensor(c["memory_bank"].output, "FRAME_INDEX"), "data_type", 8), "FRAME_INDEX is INT32, not INT64"),
    "another size": (lambda c: _tensor(c["image_encoder"].output, "EMBEDDING").dims.__setitem__(1, 16), "EMBEDDING has dims"),
    "not optional": (
        lambda c: setattr(_tensor(c["preprocess"].input, "STATE"), "optional", False),
        "preprocess.STATE is optional in the contract only",
    ),
    "an inner input of texts": (lambda c: _text(_tensor(c["memory_bank"].input, "ENVELOPE")), "memory_bank.ENVELOPE is an input of BYTES"),
    "an output of texts": (lambda c: _text(_tensor(c["tracker"].output, "MASKS")), "tracker.MASKS is an output of BYTES"),
    "an output of texts of an engine": (lambda c: _text(_tensor(c["mask_decoder"].output, "IOU")), "mask_decoder.IOU is an output of BYTES"),
    "a further input of texts": (lambda c: _text(_tensor(c["preprocess"].input, "STATE")), "preprocess.STATE is an input of BYTES"),
    "texts in a batch": (lambda c: setattr(c["preprocess"], "max_batch_size", 8), "preprocess.PROMPTS is BYTES, and requests share a batch"),
    "batched engine": (lambda c: setattr(c["mask_decoder"], "max_batch_size", 8), "mask_decoder has max_batch_size 8"),
    "ragged preprocess": (lambda c: setattr(_tensor(c["preprocess"].input, "FRAME"), "allow_ragged_batch", False), "preprocess.FRAME varies"),
    "ragged bank": (lambda c: setattr(_tensor(c["memory_bank"].input, "RESTORE"), "allow_ragged_batch", False), "memory_bank.RESTORE varies"),
    "first come, first served": (lambda c: setattr(c["image_encoder"].dynamic_batching, "preserve_ordering", True), "image_encoder takes frames"),
    "by slots": (lambda c: c["preprocess"].sequence_batching.direct.SetInParent(), "preprocess takes frames"),
    "unordered": (lambda c: setattr(c["postprocess"].dynamic_batching, "preserve_ordering", False), "postprocess may answer"),
    "not batched": (lambda c: c["postprocess"].ClearField("dynamic_batching"), "postprocess may answer"),
    "few places": (lambda c: setattr(c["memory_bank"].sequence_batching.oldest, "max_candidate_sequences", 255), "255 places for 64 videos"),
    "few places at first": (lambda c: setattr(c["preprocess"].sequence_batching.oldest, "max_candidate_sequences", 255), "preprocess has 255 places"),
    "impatient Triton": (
        lambda c: setattr(c["memory_bank"].sequence_batching, "max_sequence_idle_microseconds", 75_000_000),
        "at memory_bank that memory_bank would go on with",
    ),
    "impatient encoder": (lambda c: setattr(c["image_encoder"].sequence_batching, "max_sequence_idle_microseconds", 1), "at image_encoder"),
    "patient encoder": (lambda c: setattr(c["image_encoder"].sequence_batching, "max_sequence_idle_microseconds", 10**10), "not as patient"),
    "two banks": (lambda c: setattr(c["memory_bank"].instance_group[0], "count", 2), "must be one instance"),
    "an output not mapped": (lambda c: _step(c, "preprocess").output_map.pop("RESTORE"), "step preprocess maps the outputs"),
    "an unknown output mapped": (lambda c: _step(c, "preprocess").output_map.update({"NOISE": "noise"}), "step preprocess maps the outputs"),
    "an input not fed": (lambda c: _step(c, "memory_bank").input_map.pop("RESTORE"), "step memory_bank feeds the inputs"),
    "a wire from nowhere": (lambda c: _step(c, "postprocess").input_map.update({"LOW": "logits"}), "LOW is fed by logits, which nobody gives"),
    "crossed wires": (lambda c: _step(c, "memory_bank").input_map.update({"RESTORE": "envelope"}), "memory_bank.RESTORE is fed by ENVELOPE"),
    "an envelope past the encoder": (lambda c: _step(c, "memory_bank").input_map.update({"ENVELOPE": "envelope"}), "nobody takes encoded"),
    "a name used twice": (lambda c: _step(c, "memory_bank").output_map.update({"LOW": "image"}), "image stands for two tensors"),
    "an input's name reused": (lambda c: _step(c, "preprocess").output_map.update({"RESTORE": "STATE"}), "STATE stands for two tensors"),
    "an output not given": (lambda c: _step(c, "memory_bank").output_map.update({"IOUS": "ious"}), "nobody gives the output IOUS"),
    "an input not taken": (lambda c: _step(c, "preprocess").input_map.update({"STATE": "PROMPTS"}), "nobody takes STATE"),
}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("configs")
    return read(assemble(ONE.name, engines_of(ONE, folder / "engines", SHA256), folder / "repository", target="separate"))


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_config_is_found(good: dict[str, Any], name: str) -> None:
    change, says = BROKEN[name]
    configs = deepcopy(good)
    change(configs)
    found = breaches(configs, ONE, assembled=True)
    assert any(says in breach for breach in found), found


@pytest.mark.parametrize("made", VARIANTS.values(), ids=lambda made: made.name)
def test_no_tensor_of_a_model_of_requests_has_more_than_one_free_dimension(made: Variant) -> None:
    """A shape such as 0 x 2^62 has no bytes and passes Triton; the python process that makes an array of it ends."""
    for model in contract.models(made):
        for tensor in (*model.inputs, *model.outputs) if model.batched else ():
            free = [dim for dim in contract.resolve(tensor.dims, made) if isinstance(dim, str)]
            assert len(free) <= 1, f"{model.name}.{tensor.name}: {free}"
