"""What is stored: complete, small, of the right weights."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from masklet.contract import engines, resolve
from masklet.families import NANO
from masklet_build import nano
from masklet_build.check.calls import calls
from masklet_build.export.fixtures.fixtures import SHIPPED, Fixtures, FixturesError, find, read, write
from masklet_build.export.profiles import Limits, profiles
from masklet_build.manifest import FIXTURES, Manifest

SHA256 = Manifest.read(nano.ENGINES).checkpoint["sha256"]


def test_what_is_shipped_is_of_the_weights_that_are_shipped_and_small(shipped: Fixtures) -> None:
    assert (shipped.variant, shipped.checkpoint_sha256) == ("nano", SHA256)
    assert SHIPPED.stat().st_size < 4 << 20


def test_every_profile_of_every_engine_is_asked(shipped: Fixtures) -> None:
    table = profiles(NANO, Limits.of(NANO))
    for model in engines(NANO):
        assert {call.profile for call in calls(shipped, model, table[model.name])} == {profile.name for profile in table[model.name]}, model.name


def test_rows_of_all_kinds_are_stored(shipped: Fixtures) -> None:
    read_ = {(row.sizes.F, row.sizes.P) for row in shipped.of("memory_attention")}
    assert read_ == {(1, 1), (4, 4), (7, 16), (7, 23), (8, 1), (8, 17), (14, 23)}
    decoded = [{name: int(row.inputs[name]) for name in ("KIND", "HAS_MASK", "MULTIMASK")} for row in shipped.of("mask_decoder")]
    assert {item["KIND"] for item in decoded} == {0, 1, 2}
    assert {item["MULTIMASK"] for item in decoded} == {item["HAS_MASK"] for item in decoded} == {0, 1}
    assert {row.sizes.N for row in shipped.of("mask_decoder")} >= {2, 3, 8, 9, 65}
    assert {int(row.inputs["BINARISE"]) for row in shipped.of("memory_encoder")} == {0, 1}
    assert {float(row.inputs["LOW"].max()) for row in shipped.of("memory_encoder")} > {NANO.family.no_object_score}
    assert {int(row.outputs["PRESENT"].values[0]) for row in shipped.of("mask_prompt")} == {0, 1}


def test_rows_have_the_contracts_tensors(shipped: Fixtures) -> None:
    for model in engines(NANO):
        for row in shipped.of(model.name):
            wanted = {tensor.name: tensor for tensor in model.inputs if model.batched or (tensor.dims[0] == "B" and tensor.name != "VIDEO")}
            assert {name: array.dtype for name, array in row.inputs.items()} == {name: tensor.numpy_dtype for name, tensor in wanted.items()}
            for tensor in model.outputs:
                fixed = resolve(tensor.dims if model.batched else tensor.dims[1:], NANO)
                assert row.outputs[tensor.name].shape == fixed
                assert row.outputs[tensor.name].values.dtype == tensor.numpy_dtype
                assert np.isfinite(row.outputs[tensor.name].values).all()


def test_inputs_are_what_float16_holds_exactly(shipped: Fixtures) -> None:
    """Else what was read would not be what the network was asked."""
    arrays = [array for row in shipped.rows for array in row.inputs.values()] + [array for frame in shipped.frames for array in frame.values()]
    assert sum(array.dtype == np.float32 for array in arrays) > 60
    assert all((array.astype(np.float16).astype(array.dtype) == array).all() for array in arrays if array.dtype == np.float32)


def test_rows_of_a_kind_differ(shipped: Fixtures) -> None:
    """Rows that are equal could change places unseen."""
    for engine in ("image_encoder", "memory_attention", "memory_encoder"):
        for sizes in {row.sizes for row in shipped.of(engine)}:
            alike = [row for row in shipped.of(engine) if row.sizes == sizes]
            firsts = {next(iter(row.outputs.values())).values.tobytes() for row in alike}
            assert len(firsts) == len(alike) >= 2


def test_the_clip_is_whole(shipped: Fixtures) -> None:
    clip = shipped.clip
    assert len(clip.frames) == len(clip.truth) == 24
    assert len(clip.steps) == len(clip.answers) == 25  # one frame is corrected
    assert {len(answer.masks) for answer in clip.answers} == {len(masks) for masks in clip.truth} == {3}
    given = {name for prompt in clip.steps[0].prompts for name in prompt}
    assert {"points", "box", "mask"} <= given
    assert clip.steps[1].refine


def test_writing_and_reading_changes_nothing(shipped: Fixtures, tmp_path: Path) -> None:
    write(shipped, tmp_path / "again.npz")
    again = read(tmp_path / "again.npz")
    assert again.clip.frames == shipped.clip.frames
    assert again.clip.answers == shipped.clip.answers
    for one, other in zip(again.rows, shipped.rows, strict=True):
        assert (one.engine, one.frame, one.sizes) == (other.engine, other.frame, other.sizes)
        for name, array in other.inputs.items():
            assert np.array_equal(one.inputs[name], array)
        for name, expected in other.outputs.items():
            assert one.outputs[name].shape == expected.shape
            assert np.array_equal(one.outputs[name].values, expected.values)


def test_fixtures_of_other_weights_are_not_taken(shipped: Fixtures, tmp_path: Path) -> None:
    other = replace(shipped, checkpoint_sha256="5" * 64)
    write(other, tmp_path / FIXTURES)
    assert find([tmp_path], "nano", SHA256).checkpoint_sha256 == SHA256  # the package's
    assert find([tmp_path], "nano", "5" * 64).checkpoint_sha256 == "5" * 64  # those beside the engines
    assert find([tmp_path / FIXTURES], "nano", "5" * 64).variant == "nano"  # a file that is named
    with pytest.raises(FixturesError, match=r"no fixtures of nano with weights 666666666666 in .*fixtures.npz.*masklet-build export nano"):
        find([tmp_path], "nano", "6" * 64)


@pytest.mark.parametrize("damage", ["cut", "text", "version"])
def test_a_damaged_file_is_said_with_what_to_do(damage: str, shipped: Fixtures, tmp_path: Path) -> None:
    path = tmp_path / "fixtures.npz"
    if damage == "text":
        path.write_text("no zip")
    elif damage == "cut":
        path.write_bytes(SHIPPED.read_bytes()[:10000])
    else:
        np.savez(path, meta=np.array(json.dumps({"version": 99})))
    with pytest.raises(FixturesError, match="Export again"):
        read(path)
