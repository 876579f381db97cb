"""How many threads engines get: the cores that the process may use, and no more than its CPU quota pays for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from masklet_build.embedded import engine
from masklet_build.embedded.cores import usable_cores
from tests.embedded.tiny_engines import encoder_engine

V1, V2 = "4:cpu,cpuacct:{}\n5:memory:/elsewhere\n", "0::{}\n"


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))


def cores(folder: Path, membership: str, quotas: dict[str, str]) -> int:
    """Of a process whose /proc/self/cgroup says `membership`; quotas: path below /sys/fs/cgroup -> "quota period"."""
    (folder / "cgroup").write_text(membership)
    for path, text in quotas.items():
        group = folder / "fs" / path
        group.mkdir(parents=True, exist_ok=True)
        if "0::" in membership:
            (group / "cpu.max").write_text(f"{text}\n")
        else:
            for name, word in zip(("cpu.cfs_quota_us", "cpu.cfs_period_us"), text.split(), strict=True):
                (group / name).write_text(f"{word}\n")
    return usable_cores(folder / "cgroup", folder / "fs")


@pytest.mark.parametrize(
    ("quota", "expected"), [("max 100000", 8), ("100000 100000", 1), ("250000 100000", 2), ("50000 100000", 1), ("900000 100000", 8)]
)
def test_no_more_than_the_quota_and_at_least_one(tmp_path: Path, quota: str, expected: int) -> None:
    assert cores(tmp_path, V2.format("/"), {"": quota}) == expected


def test_the_least_of_all_groups_above_counts(tmp_path: Path) -> None:
    assert cores(tmp_path, V2.format("/pod/container"), {"pod/container": "max 100000", "pod": "300000 100000"}) == 3


def test_cgroups_of_version_1(tmp_path: Path) -> None:
    assert cores(tmp_path, V1.format("/docker/1f"), {"cpu,cpuacct/docker/1f": "-1 100000", "cpu,cpuacct": "200000 100000"}) == 2


def test_a_container_that_sees_only_its_own_group(tmp_path: Path) -> None:
    """Its path is that of the host, and its group lies at the root."""
    assert cores(tmp_path, V1.format("/docker/1f"), {"cpu,cpuacct": "200000 100000"}) == 2


def test_without_cgroups_all_cores(tmp_path: Path) -> None:
    assert usable_cores(tmp_path / "nothing", tmp_path) == 8


def test_the_real_files_can_be_read() -> None:
    assert 1 <= usable_cores() <= 8


def test_an_engine_for_all_cores_takes_those_that_it_can_keep_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder_engine(tmp_path / "engine")
    monkeypatch.setattr(engine, "usable_cores", lambda: 3)
    parameters = {"runtime": "openvino", "precision": "fp32", "threads": "0"}
    assert engine.Engine(tmp_path / "engine", parameters, ["IMAGE"])._apart.lanes == 3
    assert engine.Engine(tmp_path / "engine", parameters | {"threads": "2"}, ["IMAGE"])._apart.lanes == 2
