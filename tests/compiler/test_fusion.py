"""Which attention TensorRT for RTX fuses: bare graphs, one rule each. Profiles, `FusibleAttention` and lint are as they are because of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from onnx import parser

from masklet_build.engines import kernels
from masklet_build.engines.callbacks import logging
from masklet_build.engines.compilers import compiler_of
from masklet_build.engines.plans import RTX

pytest.importorskip("tensorrt_rtx_bindings")

pytestmark = pytest.mark.engines

FUSED, UNFUSED = (1, 0), (0, 1)  # kernels of fused attention, and of a softmax apart
LARGE = 2**24  # products of queries and keys from which a single head of a single row is fused, too

BARE = "scores = MatMul (q, k)\n shares = Softmax <axis = -1> (scores)\n out = MatMul (shares, v)"
EIGHTH = {"float16": 12288, "bfloat16": 15872, "float": 0.125}  # the bits of 0.125


def attention(
    folder: Path, batch: int | tuple[int, int] = 2, heads: int = 1, queries: int = 64, keys: int = 96, width: int = 64, values: int | None = None,
    of_type: str = "float16", body: str = BARE, lead: str | None = None,
) -> tuple[int, int]:  # fmt: skip
    """Kernels of one attention. `batch`: a number, or a range of rows; `lead`: the axes in front of tokens and width, by default batch and heads."""
    free = isinstance(batch, tuple)
    lead = lead or f"{'B' if free else batch},{heads}"
    shapes = {"q": (queries, width), "k": (width, keys), "v": (keys, width if values is None else values)}
    inputs = ", ".join(f"{of_type}[{lead},{rows},{columns}] {name}" for name, (rows, columns) in shapes.items())
    text = f"""<ir_version: 10, opset_import: ["" : 22]>
    bare ({inputs}) => ({of_type}[{lead},{queries},{shapes["v"][1]}] out) <{of_type} eighth = {{{EIGHTH[of_type]}}}> {{ {body} }}"""
    ranges = {name: [(rows, heads, *size) for rows in (batch[0], batch[0], batch[1])] for name, size in shapes.items()} if free else {}
    return compiled(text, ranges, folder / "log")


def compiled(text: str, ranges: dict[str, Sequence[tuple[int, ...]]], log_file: Path) -> tuple[int, int]:
    compiler = compiler_of(RTX)
    trt = compiler.trt
    with logging(trt, log_file) as (log, logger):
        builder = trt.Builder(logger)
        network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        network_parser = trt.OnnxParser(network, logger)
        assert network_parser.parse(parser.parse_model(text).SerializeToString())
        config = builder.create_builder_config()
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
        compiler.configure(config)
        if ranges:
            profile = builder.create_optimization_profile()
            for name, shapes in ranges.items():
                profile.set_shape(name, *(trt.Dims(list(shape)) for shape in shapes))
            assert config.add_optimization_profile(profile) == 0
        assert builder.build_serialized_network(network, config) is not None, list(log.errors)
        (found,) = kernels.of_log(log.text(), 1)
    return found.attention, found.softmax


def test_a_single_head_of_a_single_row_is_fused_where_there_are_many_products_only(tmp_path: Path) -> None:
    """A static batch of one, one head: memory attention of one object. A range of 1 to 2 is fused at any size."""
    for queries, keys, wanted in ((256, 1856, UNFUSED), (1024, 7232, UNFUSED), (4096, LARGE // 4096 - 64, UNFUSED), (4096, LARGE // 4096, FUSED)):
        assert attention(tmp_path, 1, queries=queries, keys=keys) == wanted, (queries, keys)
        assert attention(tmp_path, (1, 2), queries=queries, keys=keys) == FUSED, (queries, keys)


def test_two_rows_or_two_heads_are_fused(tmp_path: Path) -> None:
    assert attention(tmp_path, batch=2) == FUSED
    assert attention(tmp_path, batch=1, heads=2) == FUSED


@pytest.mark.parametrize(("of_type", "wanted"), [("float16", FUSED), ("bfloat16", FUSED), ("float", UNFUSED)])
def test_attention_in_fp16_and_bf16_is_fused_and_in_fp32_it_is_not(of_type: str, wanted: tuple[int, int], tmp_path: Path) -> None:
    assert attention(tmp_path, of_type=of_type) == wanted


def test_widths_from_9_to_256_are_fused_where_values_are_as_wide_as_queries(tmp_path: Path) -> None:
    assert {width: attention(tmp_path, width=width) for width in (9, 16, 20, 33, 256)} == dict.fromkeys((9, 16, 20, 33, 256), FUSED)
    assert {width: attention(tmp_path, width=width) for width in (8, 257, 264)} == dict.fromkeys((8, 257, 264), UNFUSED)
    assert attention(tmp_path, width=256, values=64) == attention(tmp_path, width=32, values=64) == UNFUSED


def test_attention_to_a_single_key_is_not_fused(tmp_path: Path) -> None:
    """EdgeTAM's latents of a window, which therefore take their own value instead."""
    assert attention(tmp_path, (1, 2), heads=256, queries=1, keys=1) == UNFUSED
    assert attention(tmp_path, (1, 2), heads=256, queries=1, keys=2) == FUSED


@pytest.mark.parametrize(("lead", "wanted"), [("2", UNFUSED), ("2,1", FUSED), ("2,3,4", FUSED)])
def test_attention_has_axes_of_rows_and_heads(lead: str, wanted: tuple[int, int], tmp_path: Path) -> None:
    assert attention(tmp_path, lead=lead) == wanted


@pytest.mark.parametrize(
    ("scores", "weights", "wanted"),
    [
        ("Mul (bare, eighth)", "Identity (shares)", FUSED),
        ("Div (bare, eighth)", "Identity (shares)", FUSED),
        ("Identity (bare)", "Mul (shares, eighth)", FUSED),
        ("Cast <to = 1> (bare)", "Cast <to = 10> (shares)", FUSED),
        ("Tanh (bare)", "Identity (shares)", UNFUSED),
        ("Sub (bare, bare)", "Identity (shares)", UNFUSED),
    ],
)
def test_scales_and_casts_may_stand_between_the_products(scores: str, weights: str, wanted: tuple[int, int], tmp_path: Path) -> None:
    """Of which NVIDIA documents nothing for TensorRT: lint finds all of them."""
    body = f"bare = MatMul (q, k)\n scores = {scores}\n shares = Softmax <axis = -1> (scores)\n weights = {weights}\n out = MatMul (weights, v)"
    assert attention(tmp_path, body=body) == wanted
