"""What the compiler says of its work, read by profile: real logs of engines that are built here."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("torch")

from masklet.contract import memory_attention
from masklet.families import NANO
from masklet_build.checkpoints.random_weights import random_parameters
from masklet_build.engines.builder import Built, build
from masklet_build.engines.compilers import compiler_of
from masklet_build.engines.kernels import memory_of_log, of_log
from masklet_build.engines.plans import RTX, Settings
from masklet_build.export.onnx_export import BF16_OPSET, export_engine
from masklet_build.export.precision.choice import Choice
from masklet_build.export.precision.rewrite import typed_stage
from masklet_build.export.profiles import Limits, Profile, profiles
from masklet_build.models.network import build_stages

pytestmark = [pytest.mark.torch, pytest.mark.engines]

TRACKED, PROMPTED = profiles(NANO, Limits.of(NANO), wide=True)["memory_attention"]
ATTENTIONS = 4  # two layers, each with one to itself and one to memories


def alone(profile: Profile) -> Profile:
    """The profile with its batch fixed to one object, where the compiler fuses no attention of one head and few keys."""
    return Profile("alone", profile.sizes, {name: type(shapes)(*((1, *shape[1:]) for shape in shapes)) for name, shapes in profile.inputs.items()})


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("log")


@pytest.fixture(scope="module")
def built(work: Path) -> Built:
    """One engine with three profiles; attention is fused in all but the second."""
    stage = typed_stage(build_stages(random_parameters(NANO, 0), NANO)["memory_attention"], Choice("bf16", "bf16", "tensorrt"))
    export_engine(stage, memory_attention(NANO), NANO, work / "graph.onnx", BF16_OPSET)
    table = (TRACKED, alone(TRACKED), PROMPTED)
    return build(compiler_of(RTX), memory_attention(NANO), NANO, work / "graph.onnx", table, Settings(), b"", work / "said.log")


def test_a_single_profile_whose_attention_is_not_fused_is_seen(built: Built) -> None:
    assert built.softmax_nodes == ATTENTIONS
    assert [(kernels.attention, kernels.softmax) for kernels in built.kernels] == [(ATTENTIONS, 0), (0, ATTENTIONS), (ATTENTIONS, 0)]


def test_memory_is_that_of_each_profile(built: Built) -> None:
    eight, one, many = built.memory
    assert 0 < one < eight < many, "one object takes less than eight, and few memories less than many"


def test_every_kernel_belongs_to_one_profile_and_what_orders_them_is_none(built: Built, work: Path) -> None:
    lines = (work / "said.log").read_text().splitlines()
    kinds = Counter(line.split(", LayerType: ")[1].split(",")[0] for line in lines if line.startswith("Name: ") and ", LayerType: " in line)
    aside = [kinds.pop(kind) for kind in ("signal", "wait", "shape_call")]
    assert min(aside) > 0, "else this says nothing"
    assert sum(kernels.total for kernels in built.kernels) == kinds.total()


def test_a_log_of_other_profiles_is_not_read(built: Built, work: Path) -> None:
    text = (work / "said.log").read_text()
    for log, told, wanted in ((text, 3, 4), (text, 3, 2), ("[VERBOSE] nothing", 0, 3)):
        with pytest.raises(ValueError, match=f"kernels are told of {told} profiles, not of {wanted}"):
            of_log(log, wanted)
        with pytest.raises(ValueError, match=f"memory of {told} profiles, not of {wanted}"):
            memory_of_log(log, wanted)
