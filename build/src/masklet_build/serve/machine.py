"""What the machine and its Python must offer to run Triton from the PyPI wheel.

Standard library only: set-up runs this before anything is installed.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import platform
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

GLIBC_NEEDED = (2, 35)  # platform tag of the nvidia-pytriton wheel: manylinux_2_35_x86_64


def python_facts() -> dict[str, str | None]:
    """What a server needs to know of the running interpreter. Run this file with another interpreter to get its facts, as JSON."""
    pytriton = importlib.util.find_spec("pytriton")  # located, never imported: only the binaries of its wheel are used
    try:
        numpy = importlib.metadata.version("numpy")
    except importlib.metadata.PackageNotFoundError:
        numpy = None
    return {
        "executable": sys.executable,
        "version": f"{sys.version_info[0]}.{sys.version_info[1]}",
        "base_prefix": sys.base_prefix,
        "libdir": sysconfig.get_config_var("LIBDIR"),
        "multiarch": sysconfig.get_config_var("MULTIARCH"),
        "pytriton": pytriton.submodule_search_locations[0] if pytriton and pytriton.submodule_search_locations else None,
        "numpy": numpy,
    }


def machine_problem() -> str | None:
    """Why Triton's wheel cannot run on this machine, with the next step; None where it can."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return (
            f"Triton's wheel runs on Linux x86-64 only, and this is {platform.system()} {platform.machine()}. "
            "Run the server on such a machine or in the container of docker/; the client (package masklet) runs anywhere."
        )
    name, version = platform.libc_ver()
    if name != "glibc" or tuple(int(part) for part in version.split(".")[:2]) < GLIBC_NEEDED:
        return (
            f"Triton's wheel needs glibc {GLIBC_NEEDED[0]}.{GLIBC_NEEDED[1]} or newer, and this machine has {name or 'another C library'} {version}. "
            "Use Ubuntu 22.04, Debian 12, Fedora 36 or newer, or the container of docker/."
        )
    return None


def shared_libpython(facts: Mapping[str, str | None]) -> Path | None:
    """The shared library of an interpreter, which Triton's python stub links to; None where that Python has none.

    facts: `python_facts` of the interpreter. Another Python's library of the same version is no substitute: its compiled-in modules differ.
    """
    base, multiarch = Path(facts["base_prefix"] or "/"), facts["multiarch"] or ""
    folders = [Path(facts["libdir"] or base / "lib"), base / "lib", base / "lib64", base / "lib" / multiarch]
    candidates = [folder / f"libpython{facts['version']}.so.1.0" for folder in folders]
    return next((path for path in candidates if path.exists()), None)


def libpython_advice(facts: Mapping[str, str | None]) -> str:
    """What to install where `shared_libpython` finds nothing."""
    version, base = facts["version"], facts["base_prefix"]
    what = f"Triton's python stub needs libpython{version}.so.1.0 of the Python in {base}, which is not there. "
    if base != "/usr":
        return what + (
            "That Python was built without --enable-shared. Use the python3 of your distribution, or rebuild it "
            f"(pyenv: PYTHON_CONFIGURE_OPTS=--enable-shared pyenv install {version})."
        )
    family = _os_family()
    if "fedora" in family or "rhel" in family:
        return what + "Install it: sudo dnf install python3-libs"
    return what + f"Install it: sudo apt-get install libpython{version}"


def _os_family() -> str:
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return ""
    return f"{release.get('ID', '')} {release.get('ID_LIKE', '')}"


if __name__ == "__main__":
    print(json.dumps(python_facts()))
