"""plans.json: read as it was written, and refused where it is for something else."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from masklet import families
from masklet.contract import CONTRACT_VERSION
from masklet_build.engines.kernels import Kernels, of_inspector
from masklet_build.engines.plans import FILE_NAME, Machine, Plan, Plans, PlansError, Settings
from masklet_build.export.profiles import Limits, profiles
from masklet_build.manifest import file_sha256

MACHINE = Machine("tensorrt", "11.0.0.114", "NVIDIA H100 PCIe", ("9.0",), "13.0")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with plans of nano: their bytes are not TensorRT's, all else is."""
    variant = families.variant("nano")
    limits = Limits.of(variant)
    engines = {}
    for name, table in profiles(variant, limits).items():
        (tmp_path / f"{name}.plan").write_bytes(name.encode())
        kernels = (Kernels(total=9, attention=2, softmax=0, casts=1, reformats=3),) * len(table)
        engines[name] = Plan(
            file_sha256(tmp_path / f"{name}.plan"), {f"{name}.onnx": "0"}, table, 1.5, (1 << 20,) * len(table), 2, kernels, ("careful",)
        )
    Plans(
        "nano", {"name": "x", "sha256": "1"}, CONTRACT_VERSION, "fp16", "bf16", limits, Settings(), MACHINE, engines, "2026-01-01T00:00:00+00:00"
    ).write(tmp_path)
    return tmp_path


def test_plans_are_read_as_they_were_written(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    plans = Plans.read(folder)
    assert plans.engines["memory_attention"].profiles == profiles(families.variant("nano"), plans.limits)["memory_attention"]
    again = tmp_path_factory.mktemp("again")
    plans.write(again)
    assert (again / FILE_NAME).read_text() == (folder / FILE_NAME).read_text()


def test_a_file_whose_writing_was_cut_off_is_the_one_before(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else all engines that a build had finished would be built again."""

    def full(path: Path, text: str, encoding: str) -> int:
        path.write_bytes(text[: len(text) // 2].encode(encoding))
        raise OSError(28, "No space left on device")

    plans = Plans.read(folder)
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space"):
        replace(plans, created="later").write(folder)
    assert Plans.read(folder) == plans


def test_plans_are_taken_where_they_were_made(folder: Path) -> None:
    Plans.read(folder).check(folder, MACHINE)
    Plans.read(folder).check(folder, replace(MACHINE, driver="13.4"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": "11.4.0.106"}, "TensorRT was 11.0.0.114, and here it is 11.4.0.106"),
        ({"gpu": "NVIDIA L4"}, "the GPU was NVIDIA H100 PCIe, and here it is NVIDIA L4"),
        ({"targets": ("8.9",)}, "compute capability was 9.0, and here it is 8.9"),
    ],
)
def test_plans_of_another_machine_are_refused_with_how_to_rebuild(folder: Path, change: dict[str, object], said: str) -> None:
    with pytest.raises(PlansError, match=said) as refused:
        Plans.read(folder).check(folder, replace(MACHINE, **change))
    assert "masklet-build engine nano" in str(refused.value)


def test_plans_for_another_contract_are_refused(folder: Path) -> None:
    with pytest.raises(PlansError, match=rf"contract 0; this masklet-build has {CONTRACT_VERSION}\. Export again"):
        replace(Plans.read(folder), contract_version=0).check(folder, MACHINE)


def test_a_changed_plan_is_refused(folder: Path) -> None:
    (folder / "mask_decoder.plan").write_bytes(b"other")
    with pytest.raises(PlansError, match=r"mask_decoder\.plan is missing or not the file"):
        Plans.read(folder).check(folder, MACHINE)


def test_a_missing_plan_is_refused(folder: Path) -> None:
    (folder / "mask_decoder.plan").unlink()
    with pytest.raises(PlansError, match=r"mask_decoder\.plan is missing or not the file"):
        Plans.read(folder).check_files(folder)


def test_a_folder_without_plans_says_how_to_build_them(tmp_path: Path) -> None:
    with pytest.raises(PlansError, match="masklet-build engine"):
        Plans.read(tmp_path)


@pytest.mark.parametrize("damage", ["settings", "machine", "engines", "variant"])
def test_a_damaged_file_is_refused(folder: Path, damage: str) -> None:
    value = json.loads((folder / FILE_NAME).read_text())
    del value[damage]
    (folder / FILE_NAME).write_text(json.dumps(value))
    with pytest.raises(PlansError, match=r"cannot be read.*Build again"):
        Plans.read(folder)


def test_a_file_of_before_there_were_two_compilers_is_refused(folder: Path) -> None:
    value = json.loads((folder / FILE_NAME).read_text())
    value["machine"] = {"tensorrt": "11.0.0.114", "gpu": "NVIDIA L4", "compute_capability": "8.9", "driver": "13.0"}
    for plan in value["engines"].values():
        plan["device_memory"], plan["layers"] = plan.pop("memory"), {"total": 9, "attention": 2, "casts": 1, "reformats": 3}
        del plan["kernels"], plan["softmax_nodes"]
    (folder / FILE_NAME).write_text(json.dumps(value))
    with pytest.raises(PlansError, match=r"another version of masklet-build wrote it.*Build again: masklet-build engine --help"):
        Plans.read(folder)


# Written by hand from the form that TensorRT's documentation shows; not the output of a real engine.
DETAILED = {
    "Layers": [
        {"Name": "__mye123", "LayerType": "kgen", "TacticName": "__myl_MulAdd_0x1"},
        {"Name": "_gemm_mha_v2_myl0_7", "LayerType": "kgen", "TacticName": "_gemm_mha_v2_0x2"},
        {"Name": "/attention/fused", "LayerType": "MHA", "TacticName": "fmha_v2_flash_attention_bf16"},
        {"Name": "/Cast_1", "LayerType": "Cast", "TacticName": ""},
        {"Name": "/broadcast_add", "LayerType": "kgen", "TacticName": "__myl_Add"},
        {"Name": "Reformatting CopyNode for Input Tensor 0", "LayerType": "Reformat", "TacticName": "0x3e8"},
    ],
    "Bindings": ["EMBEDDING"],
}


def test_layers_are_counted_by_kind() -> None:
    assert of_inspector(json.dumps(DETAILED), 1) == (Kernels(total=6, attention=2, softmax=0, casts=1, reformats=1),)


def test_layers_that_are_names_only_are_counted_too() -> None:
    assert of_inspector(json.dumps({"Layers": ["_gemm_mha_v2", "conv"], "I/O Tensors": []}), 1) == (Kernels(2, 1, 0, 0, 0),)
