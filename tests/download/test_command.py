"""The commands `masklet-build download` and `variants`."""

from __future__ import annotations

import json

import pytest

from masklet.families import VARIANTS
from masklet_build.checkpoints.official_files import OFFICIAL_FILES
from masklet_build.cli import main

NAME, FILE = "efficienttam_ti_512", "efficienttam_ti_512x512.pt"


@pytest.fixture
def download(server, known, monkeypatch, tmp_path):
    monkeypatch.setitem(OFFICIAL_FILES, FILE, known)
    monkeypatch.chdir(tmp_path)
    return lambda *words: main(["download", NAME, "--mirror", server.url.removesuffix("/file.pt"), *words])


@pytest.mark.parametrize(("words", "path"), [([], FILE), (["--out", "some"], f"some/{FILE}"), (["--out", "some/other.pt"], "some/other.pt")])
def test_the_file_lands_where_it_was_asked_for_and_the_next_command_is_named(download, server, capsys, tmp_path, words, path):
    assert download(*words) == 0
    assert (tmp_path / path).read_bytes() == server.content
    assert [path for path, _ in server.asked] == [f"/{FILE}"]
    assert f"masklet-build export {NAME} --checkpoint {path}" in capsys.readouterr().out


def test_a_file_that_is_there_is_checked_and_not_fetched_again(download, server):
    assert (download(), download()) == (0, 0)
    assert len(server.asked) == 1


def test_another_file_of_that_name_is_left_alone(download, capsys, tmp_path):
    (tmp_path / FILE).write_bytes(b"mine")
    assert download() == 1
    assert "is not the official file" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_a_failure_is_one_line_and_exit_code_1(download, server, capsys):
    server.statuses = [404]
    assert download() == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("masklet-build download: http://127.0.0.1")


@pytest.mark.parametrize(("words", "reason"), [(["nano"], "is in the package"), ([NAME, "--mirror", "ftp://host"], "begins with https://")])
def test_wrong_arguments_are_refused_with_a_reason(capsys, words, reason):
    with pytest.raises(SystemExit) as caught:
        main(["download", *words])
    assert caught.value.code == 2
    assert reason in capsys.readouterr().err


def test_the_listing_for_programs_has_every_variant_with_its_sizes(capsys):
    assert main(["variants", "--json"]) == 0
    listed = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert list(listed) == list(VARIANTS)
    for name, variant in VARIANTS.items():
        assert listed[name]["bytes_per_object"] == variant.object_bytes()
        assert listed[name]["bytes_per_object"] + listed[name]["bytes_per_prompted_frame"] == variant.object_bytes(conditioning=2)
        assert listed[name]["checkpoint"]["file"] == variant.checkpoint
        assert bool(listed[name]["checkpoint"]["sha256"]) == variant.official


def test_the_listing_for_people_names_every_variant_licence_and_source(capsys):
    assert main(["variants"]) == 0
    text = capsys.readouterr().out
    for variant in VARIANTS.values():
        assert f"\n{variant.name} " in text
        assert variant.checkpoint in text
        assert variant.family.licence in text
        assert variant.family.weights in text
