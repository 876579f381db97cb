"""NVIDIA's real Python bindings of several versions of TensorRT, where there is no TensorRT.

The wheel of the bindings is on PyPI; what it links to is not. Over libraries that stand in for that (stubs.py) it can be imported, and has
every class, name and signature of its version; only nothing can be made with it. The wheel is NVIDIA's own and proprietary: it is fetched into
pytest's cache when the tests run, never kept in the repository.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.plans.stubs import compile_driver, compile_tensorrt

# The oldest and the newest 10 that are supported, the first 11, and the newest when this was written.
VERSIONS = ("10.13.3.9", "10.16.1.11", "11.0.0.114", "11.4.0.106")
PACKAGE = "tensorrt-cu13-bindings"

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [ROOT / "client" / "src", ROOT / "build" / "src"]
# What the package `tensorrt` does for those who have all of it.
_TENSORRT = "from tensorrt_bindings import *\nfrom tensorrt_bindings import __version__\n"
_TYPES = "from tensorrt_bindings.tensorrt import *\n__version__: str\n"


@dataclass(frozen=True)
class Bindings:
    """One version. packages: folder with tensorrt and tensorrt_bindings; libraries: what they link to; types: generated from them, for mypy."""

    version: str
    packages: Path
    libraries: Path
    types: Path

    @property
    def environment(self) -> dict[str, str]:
        """Of a process that imports masklet_build and this TensorRT."""
        paths = [*SOURCES, self.packages, ROOT]
        return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "LD_LIBRARY_PATH": str(self.libraries)}


def bindings(version: str, cache: Path) -> Bindings:
    """Fetches, unpacks and describes one version below `cache`, once. Skips the test without a network or a C compiler."""
    folder = cache / f"{PACKAGE}-{version}-cp{sys.version_info[0]}{sys.version_info[1]}"
    made = Bindings(version, folder / "packages", folder / "libraries", folder / "types")
    if not (folder / "complete").exists():
        for part in (made.packages, made.libraries, made.types):
            part.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(_download(version, folder)) as wheel:
            wheel.extractall(made.packages)
        (made.packages / "tensorrt").mkdir(exist_ok=True)
        (made.packages / "tensorrt" / "__init__.py").write_text(_TENSORRT)
        compile_tensorrt(made.libraries, version.split(".")[0])
        _describe(made)
        (folder / "complete").touch()
    compile_driver(made.libraries)
    return made


def _download(version: str, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--dest", str(folder), f"{PACKAGE}=={version}"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        assert "(from versions: none)" in done.stderr, done.stderr  # else the index has the package, and the pinned version is wrong
        pytest.skip(f"no network to fetch {PACKAGE}=={version} with pip: no package index that has it can be reached")
    return next(folder.glob("*.whl"))


def _describe(made: Bindings) -> None:
    """Types for mypy: pybind11-stubgen's, mended where they are no Python (an argument called `in`, a default before an argument without)."""
    subprocess.run(
        [sys.executable, "-m", "pybind11_stubgen", "tensorrt_bindings.tensorrt", "-o", str(made.types)],
        env=made.environment,
        check=True,
        capture_output=True,
    )
    path = made.types / "tensorrt_bindings" / "tensorrt.pyi"
    text = re.sub(r"(\bdef .*?[(,] ?)in: ", r"\1in_: ", path.read_text())
    # IHostMemory is a buffer, which pybind11 does not tell.
    text = text.replace("class IHostMemory:\n", "class IHostMemory:\n    def __buffer__(self, flags: int, /) -> memoryview: ...\n")
    lines = text.splitlines()
    while (wrong := _syntax_error(lines)) is not None:
        mended = re.sub(r"def (\w+)\(.*\) ->", r"def \1(*args: typing.Any, **kwargs: typing.Any) ->", lines[wrong])
        assert mended != lines[wrong], lines[wrong]
        lines[wrong] = mended
    path.write_text("\n".join(lines) + "\n")
    (path.parent / "__init__.pyi").touch()
    (made.types / "tensorrt").mkdir(exist_ok=True)
    (made.types / "tensorrt" / "__init__.pyi").write_text(_TYPES)


def _syntax_error(lines: list[str]) -> int | None:
    try:
        ast.parse("\n".join(lines))
    except SyntaxError as error:
        return (error.lineno or 1) - 1
    return None
