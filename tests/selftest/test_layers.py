"""What is said of the layers that TensorRT made. Its JSON below is written by hand after its documentation; no TensorRT has printed it."""

from __future__ import annotations

import json

import pytest

from masklet.families import variant
from masklet_build.check.layers import remarks
from masklet_build.engines.layers import count_layers
from masklet_build.engines.plans import Layers
from masklet_build.export.profiles import Limits, profiles

NANO = variant("nano")
SAM2 = variant("sam2.1_t")


def layer(name: str, kind: str, tactic: str, shape_keys: dict[str, object]) -> dict[str, object]:
    return {"Name": name, "LayerType": kind, "Inputs": [{"Name": "x", **shape_keys}], "Outputs": [], "TacticName": tactic, "TacticValue": "0x0"}


# TensorRT 10 says type and layout in one field and lists "Bindings"; TensorRT 11 has a field for each, and "I/O Tensors".
TEN = {"Format/Datatype": "Row major linear FP16"}
ELEVEN = {"Format": "Row major linear", "DataType": "FP16"}


@pytest.mark.parametrize(("fields", "tensors"), [(TEN, "Bindings"), (ELEVEN, "I/O Tensors")])
def test_both_forms_of_the_inspectors_json_are_read(fields: dict[str, object], tensors: str) -> None:
    text = json.dumps(
        {
            "Layers": [
                layer("__myl_Fc_myl0_1", "kgen", "__myl_Fc_0x1", fields),
                layer("_gemm_mha_v2_myl0_7", "kgen", "_gemm_mha_v2_0xabc", fields),
                layer("Reformatting CopyNode for Input Tensor 0", "Reformat", "", fields),
                layer("__myl_Cast_myl0_2", "kgen", "", fields),
            ],
            tensors: ["EMBEDDING", "CONDITIONED"],
        }
    )
    assert count_layers(text) == Layers(total=4, attention=1, casts=1, reformats=1)


def said(name: str, attention: str, fused: int) -> list[str]:
    known = variant(name)
    return remarks(known, {"memory_attention": Layers(100, fused, 0, 0)}, profiles(known, Limits.of(known)), attention)


def test_fused_attention_is_counted_beside_what_there_is_to_fuse() -> None:
    (line,) = said("nano", "fp16", 24)
    assert "24 fused attention kernels in" in line
    assert "4 in each" in line  # two layers of two attentions


def test_attention_that_is_not_fused_is_said_with_what_it_costs() -> None:
    """4096 queries, 7 memories of 4096 keys and 16 pointers of 4, two bytes each: 224.5 MiB."""
    (line,) = said("sam2.1_t", "bf16", 0)
    assert "NOT fused, although it is bf16" in line
    assert "reads 224 MiB of scores" in line
    assert "Each of its 4 layers" in line


def test_attention_in_fp32_is_never_fused() -> None:
    (line,) = said("nano", "fp32", 0)
    assert "as always in fp32" in line


def test_engines_that_do_not_attend_are_passed_over() -> None:
    assert remarks(SAM2, {"memory_encoder": Layers(10, 0, 0, 0)}, profiles(SAM2, Limits.of(SAM2)), "fp16") == []
