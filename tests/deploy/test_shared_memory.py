"""What /dev/shm has to hold, and who says so where it is too small."""

from __future__ import annotations

import importlib.util
import os
from collections import namedtuple
from pathlib import Path

import pytest

from masklet_build import nano
from masklet_build.repository.assemble import assemble
from masklet_build.serve import launcher, shared_memory
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


def test_the_image_says_so_too_and_begins_its_models_with_as_much(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("entrypoint", ROOT / "docker" / "entrypoint.py")
    assert spec
    assert spec.loader
    entrypoint = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(entrypoint)
    assert launcher.STUB_SHARED_MEMORY == entrypoint.STUB_SHARED_MEMORY
    monkeypatch.setattr(os, "statvfs", lambda folder: Blocks(4096, 64 * MIB // 4096, 0))  # Docker's default
    assert "has 64 MiB" in entrypoint.shared_memory_problem()
    monkeypatch.setattr(os, "statvfs", lambda folder: Blocks(4096, 2048 * MIB // 4096, 0))
    assert entrypoint.shared_memory_problem() == ""
