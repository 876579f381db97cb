"""What many videos are compared with: the same server, but for how much an engine takes at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

from benchmarks.many_videos import repository
from masklet_build.repository.configs import read_config

pytestmark = pytest.mark.torch

BATCHERS = {"image_encoder", "memory_bank"}  # who decides how much an engine gets: Triton for the encoder, the bank for the others


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("repositories")
    server, limited = (repository(folder / str(limit), "fp32", 2, limited=limit) for limit in (False, True))
    return server, limited


def test_no_engine_of_the_limited_server_gets_two_frames_or_two_objects(both: tuple[Path, Path]) -> None:
    _, limited = both
    assert read_config(limited / "image_encoder").max_batch_size == 1
    assert read_config(limited / "memory_bank").parameters["max_engine_batch"].string_value == "1"


def test_nothing_else_differs(both: tuple[Path, Path]) -> None:
    server, limited = both
    differ = {folder.name for folder in server.iterdir() if read_config(folder) != read_config(limited / folder.name)}
    assert differ == BATCHERS
    encoder, bank = (read_config(server / name) for name in sorted(BATCHERS))
    encoder.max_batch_size = 1
    bank.parameters["max_engine_batch"].string_value = "1"
    assert [encoder, bank] == [read_config(limited / name) for name in sorted(BATCHERS)]
