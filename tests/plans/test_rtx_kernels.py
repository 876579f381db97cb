"""Kernels and memory of nano in every precision, as the real compiler makes and tells them: all attention is fused where that can be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from masklet import contract
from masklet.families import NANO
from masklet_build import nano
from masklet_build.engines.builder import Built, build
from masklet_build.engines.compilers import TensorRTForRTX
from masklet_build.engines.kernels import of_log
from masklet_build.engines.plans import Plans, Settings
from masklet_build.engines.targets import DEFAULT_TARGETS
from masklet_build.export.profiles import Limits, Profile, profiles
from tests.plans.naive_memory import peak, sized, softmax_bytes

pytest.importorskip("torch")
from masklet_build.cli import main
from masklet_build.export.onnx_export import CHECKED_SIZES, export
from masklet_build.export.precision.choice import Choice
from masklet_build.export.precision.film import drawn_film

pytestmark = [pytest.mark.torch, pytest.mark.engines]

PRECISIONS = ("fp32", "fp16", "bf16")
MODELS = {model.name: model for model in contract.engines(NANO)}
LIMITS = Limits.of(NANO)
SCRATCH = 16 << 20  # bytes that convolutions may take for themselves


class Made:
    """nano exported and built in one precision."""

    def __init__(self, precision: str, folder: Path) -> None:
        self.onnx = nano.ENGINES  # in fp32
        if precision != "fp32":
            self.onnx = folder / "onnx"
            choice = Choice(precision, precision, "tensorrt")
            film = drawn_film(NANO.image_size)[:2] if choice.scanned else None  # the second frame is the first that reads memories
            export(NANO, nano.CHECKPOINT, self.onnx, choice=choice, film=film, sizes=CHECKED_SIZES[:1])
        assert main(["engine", "nano", "--rtx", "--onnx", str(self.onnx), "--out", str(folder / "plans")]) == 0
        self.plans = Plans.read(folder / "plans")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Made]:
    kept: dict[str, Made] = {}

    def make(precision: str) -> Made:
        if precision not in kept:
            kept[precision] = Made(precision, tmp_path_factory.mktemp(precision))
        return kept[precision]

    return make


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_attention_is_fused_in_every_profile_but_in_fp32(precision: str, made: Callable[[str], Made]) -> None:
    one = made(precision)
    attentions = {}
    for name, plan in one.plans.engines.items():
        attentions[name] = sum(node.op_type == "Softmax" for node in onnx.load(one.onnx / f"{name}.onnx").graph.node)
        assert plan.softmax_nodes == attentions[name], name
        assert len(plan.kernels) == len(plan.profiles), name
        for kernels in plan.kernels:
            fused, apart = (0, attentions[name]) if precision == "fp32" else (attentions[name], 0)
            assert (kernels.attention, kernels.softmax) == (fused, apart), name
    assert min(attentions[name] for name in ("image_encoder", "memory_attention", "mask_decoder")) > 0


@pytest.mark.parametrize("precision", PRECISIONS)
def test_memory_is_that_of_the_graphs_and_little_more(precision: str, made: Callable[[str], Made]) -> None:
    """At most twice what nodes one after another need, since branches run beside each other, and scratch; at least what a call gives back."""
    one = made(precision)
    for name, plan in one.plans.engines.items():
        for profile, memory in zip(plan.profiles, plan.memory, strict=True):
            graph = sized(one.onnx / f"{name}.onnx", {tensor: shapes.max for tensor, shapes in profile.inputs.items()})
            assert 0 < memory < 2 * peak(graph) + SCRATCH, (name, profile.name)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_fused_attention_keeps_no_scores(precision: str, made: Callable[[str], Made]) -> None:
    """What it saves beside fp32 is more than the float32 scores of one attention."""
    fused, apart = made(precision).plans.engines["memory_attention"], made("fp32").plans.engines["memory_attention"]
    for index, profile in enumerate(fused.profiles):
        graph = sized(made("fp32").onnx / "memory_attention.onnx", {tensor: shapes.max for tensor, shapes in profile.inputs.items()})
        assert fused.memory[index] + max(softmax_bytes(graph)) < apart.memory[index], profile.name


def build_attention(one: Made, table: tuple[Profile, ...], log: Path) -> Built:
    return build(TensorRTForRTX(DEFAULT_TARGETS), MODELS["memory_attention"], NANO, one.onnx / "memory_attention.onnx", table, Settings(), b"", log)


def one_object(profile: Profile) -> Profile:
    """The profile with its batch fixed to a single object, where the compiler fuses no attention of one head and few keys."""
    inputs = {name: type(shapes)(*((1, *shape[1:]) for shape in shapes)) for name, shapes in profile.inputs.items()}
    return Profile(f"{profile.name} alone", profile.sizes, inputs)


@pytest.fixture(scope="module")
def mixed(made: Callable[[str], Made], tmp_path_factory: pytest.TempPathFactory) -> tuple[Built, Path]:
    """One engine with three profiles, attention fused in all but the second."""
    wide, prompted = profiles(NANO, LIMITS, wide=True)["memory_attention"]
    log = tmp_path_factory.mktemp("mixed") / "memory_attention.log"
    return build_attention(made("bf16"), (wide, one_object(wide), prompted), log), log


def test_a_single_profile_whose_attention_is_not_fused_is_seen(mixed: tuple[Built, Path]) -> None:
    built, _ = mixed
    assert [(kernels.attention, kernels.softmax) for kernels in built.kernels] == [(4, 0), (0, 4), (4, 0)]
    assert built.memory[1] < built.memory[0] < built.memory[2], "one object takes less than eight, and few memories less than many"


def test_what_orders_kernels_is_no_kernel(mixed: tuple[Built, Path]) -> None:
    built, log = mixed
    lines = [line for line in log.read_text().splitlines() if line.startswith("Name: ") and ", LayerType: " in line]
    kinds = [line.split(", LayerType: ")[1].split(",")[0] for line in lines]
    assert {"signal", "wait", "shape_call"} <= set(kinds), "else this says nothing"
    assert sum(kernels.total for kernels in built.kernels) == sum(kind not in ("signal", "wait", "shape_call") for kind in kinds)


def test_a_log_that_tells_other_profiles_is_not_read(mixed: tuple[Built, Path]) -> None:
    _, log = mixed
    with pytest.raises(ValueError, match="kernels are told of 3 profiles, not of 4"):
        of_log(log.read_text(), 4)
    with pytest.raises(ValueError, match="kernels are told of 0 profiles, not of 3"):
        of_log("[VERBOSE] nothing", 3)


def test_builds_in_one_process_have_logs_of_their_own_and_no_warnings(made: Callable[[str], Made], tmp_path: Path) -> None:
    """NVIDIA's library has one logger per process, and warns of a second one."""
    table = profiles(NANO, LIMITS, wide=True)["mask_prompt"]
    kept = []
    for name in ("first", "second"):
        onnx_file = made("bf16").onnx / "mask_prompt.onnx"
        kept.append(build(TensorRTForRTX(("8.9",)), MODELS["mask_prompt"], NANO, onnx_file, table, Settings(), b"", tmp_path / name))
    assert [built.warnings for built in kept] == [(), ()]
    assert kept[0].kernels == kept[1].kernels
    assert all("] Layers:" in (tmp_path / name).read_text() for name in ("first", "second"))
