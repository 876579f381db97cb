"""NVIDIA's real Python bindings of TensorRT, where there is no TensorRT.

The wheel of the bindings is on PyPI; what it links to is not. Over libraries that stand in for that (stubs.py) it can be imported, and has
every class, name and signature of its version; only nothing can be made with it. The wheel is NVIDIA's own and proprietary: it is fetched into
pytest's cache when the tests run, never kept in the repository.
"""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.plans.stubs import compile_driver, compile_tensorrt

VERSION = "11.4.0.106"  # a newest one: what TensorRT 11 took away is gone in it
PACKAGE = "tensorrt-cu13-bindings"

ROOT = Path(__file__).resolve().parents[2]
# What the package `tensorrt` does for those who have all of it.
_TENSORRT = "from tensorrt_bindings import *\nfrom tensorrt_bindings import __version__\n"


def environment_of_bindings(cache: Path) -> dict[str, str]:
    """Fetches and unpacks them below `cache`, once; the environment of a process that imports masklet_build and this TensorRT.

    Skips the test without a network or a C compiler.
    """
    folder = cache / f"{PACKAGE}-{VERSION}-cp{sys.version_info[0]}{sys.version_info[1]}"
    packages, libraries = folder / "packages", folder / "libraries"
    if not (folder / "complete").exists():
        libraries.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(_download(folder)) as wheel:
            wheel.extractall(packages)
        (packages / "tensorrt").mkdir(exist_ok=True)
        (packages / "tensorrt" / "__init__.py").write_text(_TENSORRT)
        compile_tensorrt(libraries, VERSION.split(".")[0])
        (folder / "complete").touch()
    compile_driver(libraries)
    paths = [ROOT / "client" / "src", ROOT / "build" / "src", packages, ROOT]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "LD_LIBRARY_PATH": str(libraries)}


def _download(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--dest", str(folder), f"{PACKAGE}=={VERSION}"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        assert "(from versions: none)" in done.stderr, done.stderr  # else the index has the package, and the pinned version is wrong
        pytest.skip(f"no network to fetch {PACKAGE}=={VERSION} with pip: no package index that has it can be reached")
    return next(folder.glob("*.whl"))
