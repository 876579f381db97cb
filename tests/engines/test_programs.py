"""PyTorch programs of the engines: of every kind of network, for every size, on any device."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch.export.passes import move_to_device_pass

from masklet_build.checkpoints.random_weights import save_official
from masklet_build.embedded.torch_runner import TorchRunner
from masklet_build.export import programs
from masklet_build.export.onnx_export import CHECKED_SIZES, ExportError, compare
from masklet_build.export.precision.check import bar
from masklet_build.export.precision.choice import Choice
from masklet_build.export.precision.plan import Plan
from masklet_build.export.programs import check_program, export_programs, write_programs
from masklet_build.manifest import Manifest, file_sha256
from masklet_build.models.samples import Sizes, sample_inputs
from masklet_build.models.variants import step_of, trunk_of, variant

pytestmark = pytest.mark.torch

# Every trunk; pooled memories; high-resolution maps, pointer times, rivals, soft masks, a perceiver. The engines left out are like one that is here.
KINDS = [
    *[("efficienttam_ti_512", engine) for engine in ("image_encoder", "mask_prompt", "memory_attention", "mask_decoder", "memory_encoder")],
    ("efficienttam_ti_1", "memory_attention"),
    ("efficienttam_ti_2", "memory_attention"),
    *[("sam2.1_t", engine) for engine in ("image_encoder", "mask_decoder")],
    *[("sam3:2@336", engine) for engine in ("image_encoder", "mask_prompt", "memory_encoder")],
    *[("edgetam", engine) for engine in ("image_encoder", "memory_attention", "memory_encoder")],
]
# They wait for a value, or bring one from the host: a CUDA graph cannot be recorded around them.
ON_THE_HOST = ("item", "_local_scalar_dense", "nonzero", "masked_select", "index.Tensor", "where.Scalar", "lift_fresh", "cpu", "is_nonzero", "unique")
SIZES = (*CHECKED_SIZES, Sizes(V=2, B=4, F=7, P=16, N=5, R=3))


class Written(NamedTuple):
    """A network, the file of one of its programs, and all that lie beside it, loaded: a second one where memories are pooled."""

    network: Any
    path: Path
    programs: dict[str, torch.export.ExportedProgram]


@pytest.fixture(scope="module", autouse=True)
def without_trace() -> Iterator[None]:
    """PyTorch writes megabytes of its own tracing for whoever listens, and pytest listens to every logger."""
    trace = logging.getLogger("torch.__trace")
    level = trace.level
    trace.setLevel(logging.WARNING)
    yield
    trace.setLevel(level)


@pytest.fixture(scope="module", params=KINDS, ids="-".join)
def written(narrow, request, network, tmp_path_factory) -> Written:
    name, engine = request.param
    made = network(name, max(64, step_of(variant(name))))
    path = write_programs(made.stages.stages[engine], made.stages.models[engine], made.variant, tmp_path_factory.mktemp("programs"))
    return Written(made, path, {file.name: torch.export.load(file) for file in path.parent.iterdir()})


def test_a_program_computes_what_the_stage_does_for_every_size(written):
    runner = TorchRunner(written.path, "fp32", 1, 1, "cpu")
    compare(lambda inputs: runner([inputs])[0], written.path.stem, written.network.stages, written.network.variant, SIZES)


def test_a_program_asks_nothing_of_the_host(written):
    assert all(name.endswith(".pt2") for name in written.programs)
    for program in written.programs.values():
        called = {str(node.target).removeprefix("aten.") for node in program.graph.nodes if node.op == "call_function"}
        assert len(called) > 3
        assert not [name for name in called if name.startswith(ON_THE_HOST)]


def test_a_memory_of_one_frame_has_a_program_of_its_own_where_others_are_pooled(written):
    pooled = written.path.stem == "memory_attention" and written.network.variant.pooling != "none"
    assert set(written.programs) == {written.path.name, *(["memory_attention.one_frame.pt2"] if pooled else [])}


def test_attention_is_an_operator_that_pytorch_fuses(written):
    called = [str(node.target) for node in written.programs[written.path.name].graph.nodes]
    if written.path.stem == "memory_attention":
        assert called.count("aten.scaled_dot_product_attention.default") == 2 * written.network.variant.memory_layers
    assert not [name for name in called if "softmax" in name]


def test_a_program_moves_to_another_device_as_a_whole(written):
    """Device meta has shapes and no values. Operators refuse tensors of which one stayed on the CPU. The program itself moves."""
    made, engine = written.network, written.path.stem
    sizes = Sizes(V=trunk_of(made.variant).max_images if engine == "image_encoder" else 2, B=3, F=2, P=3, N=2, R=2)
    inputs = sample_inputs(engine, made.variant, sizes, seed=0)
    module = move_to_device_pass(written.programs[written.path.name], "meta").module()
    outputs = module(*(torch.tensor(array, device="meta") for array in inputs.values()))
    assert {x.device.type for x in outputs} == {"meta"}


@pytest.fixture
def checkpoint(network, tmp_path) -> Path:
    save_official(network("efficienttam_ti_512", 64).state, tmp_path / "weights.pt")
    return tmp_path / "weights.pt"


def test_an_export_lists_its_files_and_says_what_they_are_for(network, checkpoint, tmp_path, monkeypatch):
    def written(stage, model, variant, folder):
        (folder / f"{model.name}.pt2").write_bytes(model.name.encode())
        return folder / f"{model.name}.pt2"

    monkeypatch.setattr(programs, "write_programs", written)  # real ones above
    monkeypatch.setattr(programs, "check_program", lambda path, *rest: {"X": 0.5} if path.stem == "mask_decoder" else {})
    choice = Choice.of(network("efficienttam_ti_512", 64).variant, "bf16", purpose="torch")
    manifest = export_programs(network("efficienttam_ti_512", 64).variant, checkpoint, tmp_path / "engines", choice=choice)
    assert Manifest.read(tmp_path / "engines") == manifest
    assert manifest.files == {path.name: file_sha256(path) for path in (tmp_path / "engines").glob("*.pt2")}
    assert len(manifest.files) == 5
    assert (manifest.purpose, manifest.precision, manifest.attention, manifest.opset) == ("torch", "bf16", "bf16", 0)
    assert manifest.differences == {"mask_decoder": {"X": 0.5}}
    assert manifest.tools["torch"] == torch.__version__


@pytest.mark.parametrize(("engine", "precision"), [("memory_attention", "bf16"), ("memory_encoder", "fp16")])
def test_programs_in_halves_are_near_float32_and_hold_halves(network, tmp_path, engine, precision):
    made = network("efficienttam_ti_512", 64)
    choice, model = Choice.of(made.variant, precision, purpose="torch"), made.stages.models[engine]
    path = write_programs(Plan(choice).stage(engine, made.stages.stages[engine]), model, made.variant, tmp_path)
    found = check_program(path, model, choice, made.stages, made.variant, CHECKED_SIZES[:2])
    assert all(0 < value < bar(choice) for value in found.values())
    weights = torch.export.load(path).state_dict
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    assert {weight.dtype for name, weight in weights.items() if "norm" not in name and weight.ndim > 1} == {half}
    assert {weight.dtype for name, weight in weights.items() if "norm" in name} == {torch.float32}


def test_a_program_that_computes_something_else_fails_the_export_and_leaves_nothing(network, checkpoint, tmp_path, monkeypatch):
    real = programs.write_programs

    def broken(stage, model, *rest):
        biases = [parameter for name, parameter in stage.named_parameters() if name.endswith("bias")]
        biases[-1].data += 1e-2
        path = real(stage, model, *rest)
        biases[-1].data -= 1e-2
        return path

    monkeypatch.setattr(programs, "write_programs", broken)
    with pytest.raises(ExportError, match="image_encoder: output EMBEDDING differs from PyTorch"):
        export_programs(network("efficienttam_ti_512", 64).variant, checkpoint, tmp_path / "engines")
    assert [path.name for path in tmp_path.iterdir()] == ["weights.pt"]
