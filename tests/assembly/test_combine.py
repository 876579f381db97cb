"""Repositories of several variants in one: names, wires, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from masklet import families
from masklet_build.cli import main
from masklet_build.common import OutputExists
from masklet_build.repository.assemble import AssembleError, assemble
from masklet_build.repository.combine import combine
from masklet_build.repository.configs import read_config
from tests.assembly.standins import engines_of
from tests.contract.config_rules import breaches

NAMES = ("nano", "sam2.1_t")


@pytest.fixture
def repositories(tmp_path: Path) -> list[Path]:
    made = []
    for name in NAMES:
        engines = engines_of(families.variant(name), tmp_path / f"engines {name}")
        made.append(assemble(name, engines, tmp_path / f"repository {name}", target="separate"))
    return made


def test_every_variant_has_models_of_its_own(repositories, tmp_path):
    assert combine(repositories, tmp_path / "both") == ["tracker_nano", "tracker_sam2.1_t"]
    expected = {f"{folder.name}_{name}" for folder in repositories[0].iterdir() for name in NAMES}
    assert {path.parent.name for path in (tmp_path / "both").glob("*/config.pbtxt")} == expected


@pytest.mark.parametrize("name", NAMES)
def test_each_part_keeps_the_rules_of_a_repository_of_its_own(repositories, tmp_path, name):
    combine(repositories, tmp_path / "both")
    configs = {}
    for folder in (tmp_path / "both").glob(f"*_{name}"):
        config = read_config(folder)
        assert config.name == folder.name
        configs[folder.name.removesuffix(f"_{name}")] = config
    for step in configs["tracker"].ensemble_scheduling.step:
        assert (tmp_path / "both" / step.model_name).is_dir()
        step.model_name = step.model_name.removesuffix(f"_{name}")
    assert configs["memory_bank"].parameters["suffix"].string_value == f"_{name}"
    assert breaches(configs, families.variant(name), assembled=True) == []


def test_engines_and_modules_come_along(repositories, tmp_path):
    combine(repositories, tmp_path / "both")
    for name, repository in zip(NAMES, repositories, strict=True):
        for file in repository.rglob("*"):
            model, *rest = file.relative_to(repository).parts
            if file.is_file() and rest != ["config.pbtxt"]:
                assert (tmp_path / "both" / f"{model}_{name}" / Path(*rest)).read_bytes() == file.read_bytes()


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda made, folder: made[:1], "at least two"),
        (lambda made, folder: [made[0], made[0]], "nano is there twice"),
        (lambda made, folder: [made[0], folder / "nowhere"], "no repository of one variant"),
    ],
    ids=["one", "twice", "none"],
)
def test_what_cannot_be_combined_is_refused_and_leaves_nothing(repositories, tmp_path, make, match):
    with pytest.raises(AssembleError, match=match):
        combine(make(repositories, tmp_path), tmp_path / "both")
    assert not (tmp_path / "both").exists()


def test_what_was_combined_is_replaced_by_force_and_is_not_combined_again(repositories, tmp_path):
    both = tmp_path / "both"
    combine(repositories, both)
    with pytest.raises(OutputExists, match="--force"):
        combine(repositories, both)
    combine(repositories, both, force=True)
    with pytest.raises(AssembleError, match="no repository of one variant"):
        combine([both, repositories[0]], tmp_path / "more")


def test_the_command_names_the_trackers(repositories, tmp_path, capsys):
    assert main(["combine", *map(str, repositories), "--out", str(tmp_path / "both")]) == 0
    assert "with tracker_nano, tracker_sam2.1_t. Next: masklet-build serve" in capsys.readouterr().out
    assert main(["combine", *map(str, repositories), "--out", str(tmp_path / "both")]) == 1
    assert "--force" in capsys.readouterr().err
