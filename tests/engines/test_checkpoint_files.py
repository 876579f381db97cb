"""A checkpoint may be one safetensors file, an index of several, or a folder with either."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from masklet.families import NANO, VARIANTS
from masklet_build.checkpoints import loading
from masklet_build.checkpoints.hugging_face import to_official
from masklet_build.checkpoints.hugging_face.names import joined, rename_all, split_rows
from masklet_build.checkpoints.loading import CheckpointError, checkpoint_sha256, load_checkpoint, source_of
from masklet_build.checkpoints.official_files import OfficialFile
from masklet_build.nano import CHECKPOINT

pytestmark = pytest.mark.torch

INDEX = "model.safetensors.index.json"
PARTS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return load_checkpoint(CHECKPOINT, NANO)


@pytest.fixture
def folder(state, tmp_path) -> Path:
    """nano in two parts, as large models lie on Hugging Face."""
    names = sorted(state)
    halves = (names[: len(names) // 2], names[len(names) // 2 :])
    for part, held in zip(PARTS, halves, strict=True):
        safetensors.torch.save_file({name: state[name].contiguous() for name in held}, tmp_path / part)
    where = {name: part for part, held in zip(PARTS, halves, strict=True) for name in held}
    (tmp_path / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return tmp_path


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path, NANO)
    return str(caught.value)


@pytest.fixture
def official(state, tmp_path, monkeypatch) -> Callable[[str], Path]:
    """A checkpoint whose hash is known as that of an official file of this name."""

    def made(name: str) -> Path:
        path = tmp_path / "given.safetensors"
        safetensors.torch.save_file(state, path)
        monkeypatch.setattr(loading, "OFFICIAL_FILES", {name: OfficialFile(None, checkpoint_sha256(path))})
        return path

    return made


def test_the_official_file_of_another_variant_is_refused_though_everything_else_fits(official):
    said = refusal(official("efficienttam_ti_1.pt"))
    assert "is efficienttam_ti_1.pt, the official checkpoint of efficienttam_ti_1, and not of nano: its sha256 says so" in said
    assert "Name efficienttam_ti_1." in said


def test_one_file_may_be_of_two_variants(official):
    path = official("sam3.pt")
    assert {source_of(path, VARIANTS[name]) for name in ("sam3", "sam3_newest")} == {"the official file sam3.pt"}
    with pytest.raises(CheckpointError, match=r"of sam3 or sam3_newest, and not of sam2\.1_t.* masklet-build download sam2\.1_t"):
        source_of(path, VARIANTS["sam2.1_t"])


def test_a_file_that_nobody_knows_is_said_to_be_taken_on_trust(state, tmp_path):
    assert source_of(CHECKPOINT, NANO) == "the file of this package"
    safetensors.torch.save_file(state, tmp_path / "own.safetensors")
    assert "not an official file: that its weights are of nano is taken on trust" in source_of(tmp_path / "own.safetensors", NANO)


@pytest.mark.parametrize("inside", ["", INDEX])
def test_parts_load_as_one_by_their_folder_and_by_their_index(folder, state, inside):
    assert_equal(load_checkpoint(folder / inside, NANO), state)


def test_a_folder_with_one_file_loads(state, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(CHECKPOINT.read_bytes())
    assert_equal(load_checkpoint(tmp_path, NANO), state)
    assert checkpoint_sha256(tmp_path) == checkpoint_sha256(CHECKPOINT) == hashlib.sha256(CHECKPOINT.read_bytes()).hexdigest()


def test_a_byte_of_any_part_changes_what_identifies_the_checkpoint(folder):
    before = checkpoint_sha256(folder)
    assert before == checkpoint_sha256(folder / INDEX)
    content = bytearray((folder / PARTS[1]).read_bytes())
    content[-1] ^= 1
    (folder / PARTS[1]).write_bytes(content)
    assert checkpoint_sha256(folder) != before


def test_a_missing_part_is_named(folder):
    (folder / PARTS[1]).unlink()
    assert f"1 of its 2 parts are missing beside it: {PARTS[1]}" in refusal(folder)


def test_a_part_outside_the_folder_is_not_read(folder):
    """An index is data from the network: it cannot name other files of this machine."""
    index = json.loads((folder / INDEX).read_text())
    index["weight_map"] = {name: f"/etc/{part}" for name, part in index["weight_map"].items()}
    (folder / INDEX).write_text(json.dumps(index))
    load_checkpoint(folder, NANO)


@pytest.mark.parametrize("content", ["{}", "[]", "not json", '{"weight_map": 3}'])
def test_an_index_that_is_none_is_refused(folder, content):
    (folder / INDEX).write_text(content)
    assert "it has no weight_map" in refusal(folder)


def test_a_folder_without_a_checkpoint_says_what_it_holds(tmp_path):
    assert "It is empty." in refusal(tmp_path)
    (tmp_path / "pytorch_model.bin").touch()
    assert "neither model.safetensors nor model.safetensors.index.json. It holds pytorch_model.bin." in refusal(tmp_path)


def test_official_names_stay_as_they_are(state):
    assert_equal(to_official(state), state)


def test_a_tensor_that_is_stored_twice_must_be_the_same_twice():
    rules = [(r"^[ab]$", "c")]
    assert_equal(rename_all({"a": torch.ones(2), "b": torch.ones(2)}, rules), {"c": torch.ones(2)})
    with pytest.raises(ValueError, match="b differs from another tensor that stands for c too"):
        rename_all({"a": torch.ones(2), "b": torch.zeros(2)}, rules)


def test_parts_are_joined_in_order_and_only_where_all_are_there():
    state = {"x.k.w": torch.tensor([1.0]), "x.q.w": torch.tensor([0.0]), "y.q.w": torch.tensor([5.0])}
    assert_equal(joined(state, (".q", ".k"), ".qk"), {"x.qk.w": torch.tensor([0.0, 1.0]), "y.q.w": torch.tensor([5.0])})


def test_rows_are_split_only_where_each_gets_a_name():
    state = {"rows": torch.tensor([[1.0], [2.0]])}
    assert_equal(split_rows(state, "rows", ["a", "b"]), {"a": torch.tensor([[1.0]]), "b": torch.tensor([[2.0]])})
    assert_equal(split_rows(state, "rows", ["a"]), state)
