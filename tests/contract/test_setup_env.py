"""build/setup_env.py with locks, package indexes and a project of the test: what it installs, what it refuses, and what it does after a failure."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SETUP = """
import pathlib, sys, setup_env
setup_env.ROOT = root = pathlib.Path({root!r})
setup_env.CPU_TORCH, setup_env.CPU_TORCH_INDEX = root / "torch.txt", (root / "cpu").as_uri()
setup_env.ENVIRONMENTS = {{"build": (root / "torch.txt", root / "build.txt")}}
setup_env.DISK_MB, setup_env.PROJECTS = {{"build": 1}}, (root / "project",)
sys.argv = ["setup_env.py", "build"]
sys.exit(setup_env.main())
"""
PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "project"
version = "1"
"""
BACKEND = """
import pathlib, shutil
def build_editable(folder, settings=None, metadata=None):
    assert not pathlib.Path("broken").exists()
    return pathlib.Path(shutil.copy("project-1-py3-none-any.whl", folder)).name
"""


def write_wheel(folder: Path, name: str) -> Path:
    """A package of one empty module."""
    path = folder / f"{name}-1-py3-none-any.whl"
    info = f"{name}-1.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}.py", "")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository: the default index has `other`, that of pytorch.org `torch`; both are locked."""
    for lock, index, name in (("torch", "cpu", "torch"), ("build", "default", "other")):
        (tmp_path / index / name).mkdir(parents=True)
        wheel = write_wheel(tmp_path / index / name, name)
        (tmp_path / index / name / "index.html").write_text(f'<a href="{wheel.name}">{wheel.name}</a>')
        (tmp_path / f"{lock}.txt").write_text(f"{name}==1 \\\n    --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n")
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "pyproject.toml").write_text(PROJECT)
    (tmp_path / "project" / "backend.py").write_text(BACKEND)
    write_wheel(tmp_path / "project", "project")
    return tmp_path


def set_up(root: Path) -> tuple[int, str]:
    """Exit code, and what was said."""
    variables = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(ROOT / "build"),
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_INDEX_URL": (root / "default").as_uri(),
    }
    done = subprocess.run([sys.executable, "-c", SETUP.format(root=str(root))], env=variables, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def installed(root: Path) -> set[str]:
    return {path.stem for path in (root / ".venv" / "build").glob("lib/python3*/site-packages/*.py")} & {"torch", "other", "project"}


def test_what_was_interrupted_is_repaired_by_running_again(root: Path) -> None:
    (root / "project" / "broken").touch()
    code, said = set_up(root)
    assert (code, "pip could not install" in said) == (1, True), said
    next((root / ".venv").rglob("other.py")).unlink()
    (root / "project" / "broken").unlink()
    assert set_up(root)[0] == 0
    assert installed(root) == {"torch", "other", "project"}
    assert set_up(root) == (0, "environment build: up to date\n")


def test_a_package_with_another_hash_is_refused(root: Path) -> None:
    lock = root / "build.txt"
    lock.write_text(lock.read_text().split("sha256:")[0] + f"sha256:{64 * '0'}\n")
    code, said = set_up(root)
    assert (code, "DO NOT MATCH THE HASHES" in said) == (1, True), said
    assert installed(root) == {"torch"}
