"""masklet's own model as it travels with the package: whole, small, and enough to assemble a repository without torch."""

from __future__ import annotations

import pytest
import tomllib

from masklet import contract
from masklet.families import NANO
from masklet_build import nano
from masklet_build.cli import main
from masklet_build.manifest import Manifest, file_sha256

LARGEST_CHECKPOINT = 12_000_000  # bytes, in every clone


def test_the_engines_are_those_of_the_manifest_and_of_this_contract():
    manifest = Manifest.read(nano.ENGINES)
    assert (manifest.variant, manifest.contract_version) == (NANO.name, contract.CONTRACT_VERSION)
    assert set(manifest.files) == {f"{model.name}.onnx" for model in contract.engines(NANO)}
    assert {name: file_sha256(nano.ENGINES / name) for name in manifest.files} == manifest.files
    assert {path.name for path in nano.ENGINES.iterdir()} == {"manifest.json", *manifest.files}


def test_the_engines_were_exported_from_the_checkpoint_beside_them():
    source = "the file of this package"
    assert Manifest.read(nano.ENGINES).checkpoint == {"name": NANO.checkpoint, "sha256": file_sha256(nano.CHECKPOINT), "source": source}


def test_the_checkpoint_is_small_enough_for_a_repository():
    assert nano.CHECKPOINT.stat().st_size <= LARGEST_CHECKPOINT


def test_a_repository_is_assembled_of_what_travels_with_the_package(tmp_path):
    assert main(["assemble", "nano", "--out", str(tmp_path / "repository")]) == 0
    placed = {file_sha256(file) for file in (tmp_path / "repository").rglob("*.onnx")}
    assert placed == {file_sha256(nano.ENGINES / f"{model.name}.onnx") for model in contract.engines(NANO)}


@pytest.mark.parametrize("command", [["export"], ["assemble"]])
def test_an_official_variant_needs_to_be_given_what_the_package_has_not(command, tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        main([*command, "efficienttam_s", "--out", str(tmp_path / "out")])
    assert caught.value.code == 2
    assert "is required for efficienttam_s" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_package_data_names_every_file_of_the_model():
    """Else an installation that is not editable would lack it."""
    folder = nano.CHECKPOINT.parent
    settings = tomllib.loads((folder.parents[2] / "pyproject.toml").read_text())["tool"]["setuptools"]
    packaged = {path for pattern in settings["package-data"]["masklet_build.nano"] for path in folder.glob(pattern)}
    assert packaged == {path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
