"""Both wheels, built, looked into, and installed into an environment that has nothing but what they declare."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from masklet_build import nano
from masklet_build.repository.assemble import assemble

ROOT = Path(__file__).resolve().parents[2]
PROJECTS = {"masklet": "client", "masklet_build": "build"}
LEFT_BEHIND = ("__pycache__", "*.egg-info")


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what wheels are made from, with compiled files as a used clone has them. Building leaves files beside the sources."""
    folder = tmp_path_factory.mktemp("sources")
    for name in (*PROJECTS.values(), "model_repository"):
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns(*LEFT_BEHIND))
    for place in ("client/src/masklet", "build/src/masklet_build", "model_repository/memory_bank/1"):
        (folder / place / "__pycache__").mkdir()
        (folder / place / "__pycache__" / "used.cpython-311.pyc").touch()
    return folder


@pytest.fixture(scope="module")
def wheels(sources: Path) -> dict[str, Path]:
    command = [sys.executable, "-m", "pip", "--isolated", "wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(sources), *(str(sources / folder) for folder in PROJECTS.values())], check=True)
    return {package: next(sources.glob(f"{package}-*.whl")) for package in PROJECTS}


@pytest.fixture(scope="module")
def installed(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """bin/ of a new environment. What the wheels require is linked into it from this one, so that pip finds it there, and finds nothing else."""
    folder = tmp_path_factory.mktemp("clean") / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    here, there = Path(sysconfig.get_path("purelib")), folder / Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
    for name in closure([*required(wheels["masklet"]), *required(wheels["masklet_build"])]):
        for top in {Path(file).parts[0] for file in metadata.files(name) or []} - {"..", "__pycache__"}:
            if not (there / top).is_symlink():
                (there / top).symlink_to(here / top)
    pip = [sys.executable, "-m", "pip", "--isolated", "--python", str(folder / "bin" / "python"), "install", "--quiet", "--no-index"]
    subprocess.run([*pip, *map(str, wheels.values())], check=True)
    return folder / "bin"


def required(wheel: Path) -> list[str]:
    """Requirements of a wheel other than masklet itself."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        lines = archive.read(name).decode().splitlines()
    wanted = [line.removeprefix("Requires-Dist: ") for line in lines if line.startswith("Requires-Dist: ")]
    return [line for line in wanted if "extra ==" not in line and Requirement(line).name != "masklet"]


def closure(requirements: list[str]) -> set[str]:
    """Names of the distributions that these requirements bring."""
    found: set[str] = set()
    waiting = [Requirement(line) for line in requirements]
    seen: set[str] = set()
    while waiting:
        wanted = waiting.pop()
        if str(wanted) not in seen:
            seen.add(str(wanted))
            found.add(wanted.name)
            further = [Requirement(line) for line in metadata.requires(wanted.name) or []]
            extras = {"", *wanted.extras}
            waiting += [one for one in further if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in extras)]
    return found


def run(program: Path, *arguments: str, folder: Path) -> str:
    """What it prints, away from the repository."""
    done = subprocess.run([program, *arguments], cwd=folder, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def files(folder: Path) -> dict[str, Path]:
    """Every file by its path in the folder, behind links too."""
    found = {}
    for path in sorted(folder.iterdir()):
        inside = files(path) if path.is_dir() else {"": path}
        found |= {f"{path.name}/{name}".rstrip("/"): file for name, file in inside.items()}
    return found


@pytest.mark.parametrize("package", PROJECTS)
def test_a_wheel_has_every_file_of_its_package_and_nothing_else(package: str, wheels: dict[str, Path], sources: Path) -> None:
    held = {name for name in zipfile.ZipFile(wheels[package]).namelist() if ".dist-info/" not in name}
    there = set(files(sources / PROJECTS[package] / "src"))
    documents = {name for name in there if name.startswith("masklet_build/model_repository/") and name.endswith(".md")}
    assert held == {name for name in there - documents if "__pycache__" not in name and ".egg-info/" not in name}


def test_the_wheels_have_what_is_no_module(wheels: dict[str, Path]) -> None:
    """Named here, since a file that is missing in the sources too would not be missed above."""
    client, build = (set(zipfile.ZipFile(wheel).namelist()) for wheel in wheels.values())
    assert "masklet/py.typed" in client
    models = ("preprocess", "memory_bank", "postprocess")
    engines = ("image_encoder", "mask_prompt", "memory_attention", "mask_decoder", "memory_encoder")
    assert {f"masklet_build/model_repository/{model}/config.pbtxt" for model in (*models, *engines, "tracker")} <= build
    assert {f"masklet_build/model_repository/{model}/1/model.py" for model in models} <= build
    assert {Path(name).suffix for name in build if "/nano/" in name} >= {".onnx", ".safetensors", ".json"}


def test_installed_from_wheels_both_commands_run(installed: Path, tmp_path: Path) -> None:
    where = run(installed / "python", "-c", "import masklet, masklet_build; print(masklet.__file__, masklet_build.__file__)", folder=tmp_path)
    assert where.count(str(installed.parent)) == 2
    assert "track" in run(installed / "masklet", "--help", folder=tmp_path)
    assert "assemble" in run(installed / "masklet-build", "--help", folder=tmp_path)


def test_installed_from_a_wheel_it_assembles_the_same_repository(installed: Path, tmp_path: Path) -> None:
    """In the sources the model repository is a link to a folder outside the package."""
    run(installed / "masklet-build", "assemble", "nano", "--out", "repository", folder=tmp_path)
    made, wanted = files(tmp_path / "repository"), files(assemble("nano", nano.ENGINES, tmp_path / "wanted"))
    assert {"tracker/config.pbtxt", "memory_bank/1/model.py"} <= set(made)
    assert set(made) == set(wanted)
    assert [name for name in made if made[name].read_bytes() != wanted[name].read_bytes()] == []
