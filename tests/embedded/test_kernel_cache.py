"""Kernels that TensorRT for RTX compiled, from one start to the next: whose they are, where they are, and what becomes of damaged ones."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("tensorrt_rtx_bindings")

from masklet.families import NANO
from masklet_build.embedded import kernel_cache
from masklet_build.models.samples import Sizes, sample_inputs
from tests.embedded.rtx import ENGINES, engine, kept
from tests.fakes.rtx_world import HEADER, World


def test_kernels_are_kept_beside_the_repository_and_not_compiled_again(world: World, repository: Path) -> None:
    for name in ENGINES:
        engine(repository, name)
    names = {f"memory_bank-{name}" for name in set(ENGINES) - {"image_encoder"}} | {"image_encoder-engine"}
    assert kept(repository) == {f"{name}-Stub_GPU-8.9.kernels": ["general"] for name in names}
    assert len(world.compiled) == len(ENGINES)
    assert repository.with_name("repo.kernels").stat().st_mode & 0o777 == 0o700
    for name in ENGINES:
        engine(repository, name)
    assert len(world.compiled) == len(ENGINES)


def test_a_repository_that_is_reached_by_a_link_has_one_place_for_kernels(world: World, repository: Path, tmp_path: Path) -> None:
    """The server sees its repository by a link in a folder that it removes in the end."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "repository").symlink_to(repository)
    engine(tmp_path / "run" / "repository", "mask_prompt")
    assert list((tmp_path / "run").iterdir()) == [tmp_path / "run" / "repository"]
    assert len(kept(repository)) == 1


def test_kernels_for_sizes_that_came_later_are_kept_once_they_had_time(world: World, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    run = engine(repository, "mask_prompt")
    from masklet_build.embedded import rtx_runner

    monkeypatch.setattr(rtx_runner, "time", SimpleNamespace(monotonic=lambda: now[0]))
    one, two = (sample_inputs("mask_prompt", NANO, Sizes(B=count), seed=0) for count in (1, 2))
    for seconds, inputs, count in [(0, one, 1), (1, one, 1), (31, two, 1), (40, one, 1), (60, one, 1), (61, one, 3), (100, one, 3)]:
        now[0] = 1000.0 + seconds
        run(inputs)
        (kernels,) = kept(repository).values()
        assert len(kernels) == count, seconds


@pytest.mark.parametrize("change", ["engine", "version", "driver", "cut", "changed", "text", "not ours"])
def test_kernels_of_something_else_and_damaged_ones_are_compiled_again_and_replaced(
    world: World, repository: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    engine(repository, "mask_prompt")
    (file,) = repository.with_name("repo.kernels").iterdir()
    good = file.read_bytes()
    plan = repository / "memory_bank/1/engines/mask_prompt.plan"
    if change == "engine":
        plan.write_bytes(b"x" * HEADER + b"mask_prompt")
    elif change == "version":
        newer = json.loads((plan.parent / "plans.json").read_text())
        newer["machine"]["version"] = "1.8.0.1"
        (plan.parent / "plans.json").write_text(json.dumps(newer))
        monkeypatch.setattr("masklet_build.embedded.rtx_machine.version", lambda package: "1.8.0.1")
    elif change == "driver":
        monkeypatch.setenv("STUB_DRIVER", "13050")
    elif change == "not ours":
        world.takes_kernels = False
    else:
        file.write_bytes({"cut": good[:-3], "changed": good.replace(b"general", b"genera1"), "text": b"nothing\nof ours"}[change])
    engine(repository, "mask_prompt")
    assert world.compiled == ["mask_prompt general"] * 2
    (again,) = repository.with_name("repo.kernels").iterdir()
    assert kept(repository) == {again.name: ["general"]}
    if change in ("engine", "version", "driver"):
        assert again.read_bytes() != good
    elif change != "not ours":
        assert again.read_bytes() == good


def test_where_nothing_can_be_written_it_is_said_once_and_engines_run(world: World, stages: Any, utils: ModuleType, repository: Path) -> None:
    folder = repository.with_name("repo.kernels")
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    folder.write_text("in the way: root may write into read-only folders")
    kernel_cache._unwritable.clear()
    utils.Logger.lines.clear()
    for name in ENGINES:
        assert engine(repository, name)(sample_inputs(name, NANO, Sizes(), seed=0))
    warnings = [line for level, line in utils.Logger.lines if level == "WARNING" and "kernels cannot be kept" in line]
    (warning,) = warnings
    assert "every start of the server compiles them again" in warning


@pytest.mark.parametrize("whose", ["another user's", "everybody's"])
def test_kernels_that_others_may_have_put_there_are_not_run(
    world: World, repository: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, whose: str
) -> None:
    """Beside a repository in /tmp anybody can make the folder first."""
    engine(repository, "mask_prompt")
    folder = repository.with_name("repo.kernels")
    (file,) = folder.iterdir()
    good = file.read_bytes()
    if whose == "everybody's":
        folder.chmod(0o777)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)
    kernel_cache._unwritable.clear()
    engine(repository, "mask_prompt")
    assert world.compiled == ["mask_prompt general"] * 2
    assert [path.read_bytes() for path in folder.iterdir()] == [good]
    assert sum("is another user's, or others may write to it: remove it, or chmod 700" in record.message for record in caplog.records) == 2


def test_a_file_that_others_read_is_never_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = kernel_cache.KernelCache(tmp_path / "repo.kernels" / "a.kernels", {"engine": "1"})
    cache.write(b"old")
    whole = cache.file.read_bytes()

    def full(path: Path, data: bytes) -> int:
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(Path, "write_bytes", full)
        cache.write(b"new")
    assert cache.file.read_bytes() == whole
    assert list(cache.file.parent.iterdir()) == [cache.file], "what was begun is removed"
    cache.write(b"new")
    assert kernel_cache.KernelCache(cache.file, {"engine": "1"}).read() == b"new"
