"""The table of what the compiler makes of every variant: real builds, kept by a second run, and what is said of those that are not as wished."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("tensorrt_rtx_bindings")

import torch

from benchmarks import compile_table
from benchmarks.compile_row import measured
from benchmarks.compile_table import cells, complete, fused, kept, remarks, small_first
from benchmarks.engines import without_products
from masklet.contract import engines
from masklet.families import NANO, VARIANTS
from masklet_build.checkpoints.random_weights import random_parameters
from masklet_build.engines.compilers import compiler_of
from masklet_build.engines.plans import RTX, Machine
from masklet_build.export.onnx_export import export_engine
from masklet_build.export.precision.choice import Choice
from masklet_build.export.precision.rewrite import typed_stage
from masklet_build.models.network import build_stages

pytestmark = pytest.mark.torch


def engine(*, attentions: int = 4, warnings: tuple[str, ...] = (), **profiles: int) -> dict:
    """An engine of a row; profiles: fused attentions of each."""
    made = {
        name: {"attention": count, "softmax": attentions - count, "memory": (index + 1) << 20} for index, (name, count) in enumerate(profiles.items())
    }
    return {"plan_bytes": 3_000_000, "attentions": attentions, "warnings": list(warnings), "profiles": made}


def row(**engines: dict) -> dict:
    cost = {"seconds": 9.0, "cpu_seconds": 5.0, "gib": 0.5}
    return {"export": {"bytes": 1, **cost}, "wide": {"engines": engines, **cost}}


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr("sys.argv", ["compile_table", *words])
    assert compile_table.main() == 0


def test_rows_are_those_of_real_builds_and_a_second_run_keeps_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, "nano@64", "--precision", "bf16", "--out", str(tmp_path))
    assert "| nano@64 | bf16 (attention fp16) | yes | 17 of 17 |  |" in (tmp_path / "compile_table.md").read_text()
    made = kept(tmp_path, compiler_of(RTX).machine())
    found = made["nano@64 bf16"]
    assert {*found["wide"]["engines"]} == {"image_encoder", "mask_prompt", "memory_attention", "mask_decoder", "memory_encoder"}
    assert all(found[step]["gib"] > 0.1 and found[step]["cpu_seconds"] > 0 for step in ("export", "wide"))
    run(monkeypatch, "nano@64", "--precision", "bf16", "--out", str(tmp_path))
    assert kept(tmp_path, compiler_of(RTX).machine()) == made


def test_a_graph_traced_without_products_is_the_same_file(tmp_path: Path) -> None:
    """memory_encoder has convolutions and products, beside each other and of each other's outputs."""
    model = next(model for model in engines(NANO) if model.name == "memory_encoder")
    stage = typed_stage(build_stages(random_parameters(NANO, 0), NANO)[model.name], Choice("fp16", "fp16", "tensorrt"))
    export_engine(stage, model, NANO, tmp_path / "computed.onnx")
    with without_products():
        export_engine(stage, model, NANO, tmp_path / "traced.onnx")
        assert not torch.equal(*products())
    assert (tmp_path / "traced.onnx").read_bytes() == (tmp_path / "computed.onnx").read_bytes()
    assert torch.equal(*products())


def products() -> tuple[torch.Tensor, torch.Tensor]:
    """What a product is, and what it should be."""
    return torch.ones(2, 3) @ torch.ones(3, 4), torch.full((2, 4), 3.0)


def test_rows_of_another_compiler_or_for_other_targets_are_measured_anew(tmp_path: Path) -> None:
    one = Machine(RTX, "1.0", "", ("8.9",), "")
    (tmp_path / "compile_table.json").write_text(json.dumps({"compiler": "1.0", "targets": ["8.9"], "rows": {"nano fp32": row()}}))
    assert kept(tmp_path, one) == {"nano fp32": row()}
    assert kept(tmp_path, replace(one, version="1.1")) == {}
    assert kept(tmp_path, replace(one, targets=("8.9", "12.0"))) == {}
    assert kept(tmp_path / "absent", one) == {}


def test_a_row_is_measured_again_for_a_step_that_it_lacks() -> None:
    assert complete(row(), ("wide",))
    assert not complete(row(), ("wide", "narrow"))
    assert complete({"export": {"error": "no memory"}}, ("wide", "narrow"))
    assert not complete({}, ("wide",))


def test_a_step_that_takes_more_memory_than_it_may_says_so_in_its_row(tmp_path: Path) -> None:
    found = measured("export", "nano", "bf16", tmp_path, gib=0.1)
    assert "with 0.1 GiB at most it ended with" in found["error"]
    assert cells("nano", "bf16", {"export": found})[2] == "not: export"
    assert list(remarks({"nano bf16": {"export": found}})) == [f"Refused, export: {found['error']} (wide profiles): `nano bf16`."]


def test_an_engine_is_as_fused_as_its_worst_profile() -> None:
    made = row(memory_attention=engine(one=2, two=4), mask_decoder=engine(attentions=7, any=7), mask_prompt=engine(attentions=0, any=0))
    assert fused(made["wide"], "memory_attention") == (2, 4, ["one"])
    assert cells("nano", "fp16", made)[2:7] == ["yes", "9 of 11", "", "9", "2 (memory_attention)"]


def test_what_is_not_as_wished_is_said_once_with_the_rows_that_it_is_so_of() -> None:
    short, refused = engine(one=2, two=4), {"error": "no such kernel"}
    rows = {"nano fp16": row(memory_attention=short), "nano bf16": row(memory_attention=short), "edgetam bf16": row(image_encoder=refused)}
    rows |= {"nano fp32": row(memory_attention=engine(one=0)), "sam3 bf16": row(mask_decoder=engine(any=4, warnings=("slow",)))}
    assert list(remarks(rows)) == [
        "Not all fused, memory_attention: one 2 of 4 (wide profiles): `nano fp16`, `nano bf16`.",
        "Refused, image_encoder: no such kernel (wide profiles): `edgetam bf16`.",
        "Warned, mask_decoder: slow (wide profiles): `sam3 bf16`.",
    ]
    assert cells("edgetam", "bf16", rows["edgetam bf16"])[2] == "not: image_encoder"


def test_every_checkpoint_has_a_variant_in_the_table() -> None:
    assert {VARIANTS[name].checkpoint for name in small_first()} == {made.checkpoint for made in VARIANTS.values()}
    assert small_first()[0] == "nano"
    assert small_first()[-1] == "sam3"
