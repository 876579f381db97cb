"""What /dev/shm has to hold, and who says so where it is too small."""

from __future__ import annotations

import os
from collections import namedtuple
from pathlib import Path

import pytest

from masklet_build import nano
from masklet_build.repository.assemble import assemble
from masklet_build.serve import shared_memory, triton_options
from masklet_build.serve.errors import ServeError
from tests.deploy.tools import ROOT

MIB = 1 << 20
Blocks = namedtuple("Blocks", "f_frsize f_blocks f_bavail")

PREPROCESS = """
name: "preprocess"  backend: "python"  max_batch_size: 8
instance_group [ { count: 2 kind: KIND_CPU } ]
parameters: { key: "max_frame_pixels" value: { string_value: "1000000" } }
parameters: { key: "max_state_bytes" value: { string_value: "1048576" } }
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    configs = {
        "preprocess": PREPROCESS,
        "bank": 'name: "bank" backend: "python" max_batch_size: 32',
        "encoder": 'name: "encoder" backend: "tensorrt"',
    }
    for name, text in configs.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.pbtxt").write_text(text)
    return tmp_path


def test_what_is_needed_is_every_models_beginning_a_full_batch_of_raw_frames_and_a_snapshot_on_its_way(repository: Path) -> None:
    beginnings = (2 + 1) * 16 * MIB
    frames = 2 * 8 * 3 * 1_000_000
    assert shared_memory.needed(repository) == beginnings + frames + 3 * MIB


def test_too_little_is_told_before_the_start_with_what_to_do(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = shared_memory.needed(repository)
    for free, told in ((wanted - 1, True), (wanted, False)):
        monkeypatch.setattr(os, "statvfs", lambda folder, free=free: Blocks(1, 10 * wanted, free))
        said = shared_memory.warning(repository)
        assert (said is not None) == told
        if said:
            assert f"{free // MIB} MiB free" in said
            assert "--shm-size" in said


def test_what_the_docs_give_a_container_suffices_for_every_request_that_is_taken(tmp_path: Path) -> None:
    made = assemble("nano", nano.ENGINES, tmp_path / "repository")
    assert shared_memory.needed(made) <= 2048 * MIB
    assert "--shm-size 2g" in (ROOT / "docker" / "README.md").read_text()


def test_where_little_is_free_the_models_begin_smaller_and_the_sizes_are_said(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Docker's default of 64 MiB, for 3 python models: 3 x 16 would leave too little, 3 x 8 leaves over half."""
    monkeypatch.setattr(os, "statvfs", lambda folder: Blocks(MIB, 64, 64))
    assert shared_memory.stub_bytes(repository) == 8 * MIB
    said = shared_memory.warning(repository)
    assert said
    assert "each of the 3 python models begins with 8 MiB, not 16, and" in said
    assert f"may need {shared_memory.needed(repository, 8 * MIB) // MIB} MiB there" in said


def test_too_little_for_the_least_is_an_error_with_the_sizes(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "statvfs", lambda folder: Blocks(MIB, 64, 11))
    with pytest.raises(ServeError, match=r"has 11 MiB free, and the 3 python models begin with 12 MiB there at least\. Make it larger .*--shm-size"):
        shared_memory.stub_bytes(repository)


def test_python_models_are_counted_by_their_instances(tmp_path: Path) -> None:
    """In what people write and in what assembly writes."""
    made = assemble("nano", nano.ENGINES, tmp_path / "repository", target="separate")
    total = sum(sum(group.count for group in config.instance_group) for config in shared_memory._python_models(made))
    assert triton_options.python_instances(made) == total > 6
