"""What the commands say of themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tomllib

from masklet import cli as client
from masklet import families
from masklet_build import cli
from masklet_build.repository.assemble import RUNTIMES, TARGETS

ROOT = Path(__file__).resolve().parents[2]


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as left:
        cli.main(arguments)
    assert left.value.code == 0
    return capsys.readouterr().out


def test_the_help_lists_every_command_once_under_its_group(capsys: pytest.CaptureFixture[str]) -> None:
    head = said(capsys, "--help").partition("options:")[0]
    for group, commands in cli.GROUPS.items():
        assert f"\n{group}:\n" in head
        for name, command in commands.items():
            assert head.count(f"\n  {name} ") == 1
            assert command.text in head


@pytest.mark.parametrize("name", [name for group in cli.GROUPS.values() for name in group])
def test_the_help_of_a_command_does_not_list_all_variants(capsys: pytest.CaptureFixture[str], name: str) -> None:
    text = said(capsys, name, "--help")
    assert text.startswith(f"usage: masklet-build {name} ")
    assert sum(variant in text.split() for variant in families.VARIANTS) < len(families.VARIANTS) / 2


@pytest.mark.parametrize("name", [name for group in cli.GROUPS.values() for name in group])
def test_the_help_of_a_command_has_an_example_of_it(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert f"\n  masklet-build {name}" in said(capsys, name, "--help").partition("\nexample")[2]


def test_the_help_of_assemble_says_what_goes_together(capsys: pytest.CaptureFixture[str]) -> None:
    table = said(capsys, "assemble", "--help").partition("what goes together:")[2].partition("examples:")[0]
    rows = [line.split() for line in table.strip().splitlines()[1:]]
    assert {row[0] for row in rows} == set(TARGETS)
    assert {row[1] for row in rows} >= set(RUNTIMES)


def test_an_unknown_variant_is_answered_with_those_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(["export", "nanoo", "--out", "engines"])
    assert left.value.code == 2
    assert "unknown variant 'nanoo'. Known: efficienttam_ti_512" in capsys.readouterr().err


@pytest.mark.parametrize(("main", "name", "folder"), [(cli.main, "masklet-build", "build"), (client.main, "masklet", "client")])
def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str], main: Any, name: str, folder: str) -> None:
    settings = tomllib.loads((ROOT / folder / "pyproject.toml").read_text())
    with pytest.raises(SystemExit) as left:
        main(["--version"])
    assert left.value.code == 0
    assert capsys.readouterr().out == f"{name} {settings['project']['version']}\n"
