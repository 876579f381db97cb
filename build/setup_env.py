"""Makes the virtual environments .venv/serving and .venv/build from build/locks/. Standard library only.

Run it with the Python that the environments shall use: `python3 build/setup_env.py`. It does nothing where they are up to date. Without arguments
it also puts programs of Debian that tests call into .venv/build.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import debian_programs  # beside this file

ROOT = Path(__file__).resolve().parents[1]
PROJECTS = (ROOT / "client", ROOT / "build")
LOCKS = ROOT / "build" / "locks"
CPU_TORCH = LOCKS / "torch.txt"
CPU_TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
ENVIRONMENTS = {"serving": (LOCKS / "serving.txt",), "build": (CPU_TORCH, LOCKS / "build.txt")}
DISK_MB = {"serving": 1000, "build": 3300}  # installed size and room for pip to unpack
PYTHONS = ((3, 11), (3, 12))  # the locked packages have wheels for these

sys.path.insert(0, str(ROOT / "build" / "src" / "masklet_build" / "serve"))


class SetupError(Exception):
    """Something is missing. The text says what to install or do."""


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("environments", nargs="*", metavar="serving|build", help="which to make (default: both, and Debian's programs)")
    chosen = parser.parse_args().environments
    names = chosen or list(ENVIRONMENTS)
    if set(names) - set(ENVIRONMENTS):
        parser.error(f"unknown environment in {names}; there are {', '.join(ENVIRONMENTS)}")
    try:
        check_machine(names)
        for name in names:
            set_up(name)
        if not chosen:
            debian_programs.provide(ROOT / ".venv" / "build")
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    return 0


def check_machine(names: list[str]) -> None:
    """Raises SetupError if this machine or its Python cannot hold the environments."""
    if sys.version_info[:2] not in PYTHONS:
        raise SetupError(
            f"{sys.executable} is Python {sys.version_info[0]}.{sys.version_info[1]}, and masklet's environments need 3.11 or 3.12. "
            "Install one (Debian 12 and Ubuntu 24.04: python3, Fedora: python3.12, anywhere: pyenv install 3.12), "
            "then: make PYTHON=python3.12 setup"
        )
    if importlib.util.find_spec("ensurepip") is None:
        raise SetupError(f"this Python has no ensurepip. Debian, Ubuntu: sudo apt-get install python3.{sys.version_info[1]}-venv")
    import machine  # a file of masklet_build.serve that needs the standard library only

    problem = machine.machine_problem()
    if problem:
        raise SetupError(problem)
    facts = machine.python_facts()
    if "serving" in names and machine.shared_libpython(facts) is None:
        raise SetupError(machine.libpython_advice(facts))


def set_up(name: str) -> None:
    """Makes or updates one environment."""
    folder = ROOT / ".venv" / name
    locks = ENVIRONMENTS[name]
    stamp = folder / "masklet-setup.json"
    # Editable installs and the scripts in bin/ hold absolute paths, hence ROOT: a repository that was moved is set up anew.
    packages = _digest(*locks, sys.version, str(ROOT))
    projects = _digest(*(project / "pyproject.toml" for project in PROJECTS))
    done = json.loads(stamp.read_text()) if stamp.exists() else {}
    if done == {"packages": packages, "projects": projects}:
        print(f"environment {name}: up to date")
        return
    began = time.monotonic()
    stamp.unlink(missing_ok=True)  # stays away if anything below fails
    if done.get("packages") != packages:
        _make_environment(name, folder, locks)
    print(f"environment {name}: installing masklet and masklet-build from this repository", flush=True)
    editable = [word for project in PROJECTS for word in ("--editable", str(project))]
    _pip(folder, "--no-build-isolation", *editable)
    stamp.write_text(json.dumps({"packages": packages, "projects": projects}))
    print(f"environment {name}: ready in {folder} ({time.monotonic() - began:.0f} s)", flush=True)


def _digest(*parts: Path | str) -> str:
    return hashlib.sha256(b"\0".join(part.read_bytes() if isinstance(part, Path) else part.encode() for part in parts)).hexdigest()


def _make_environment(name: str, folder: Path, locks: tuple[Path, ...]) -> None:
    folder.parent.mkdir(exist_ok=True)
    free = shutil.disk_usage(folder.parent).free // 10**6
    if free < DISK_MB[name]:
        raise SetupError(f"environment {name} needs {DISK_MB[name]} MB and {folder.parent} has {free} MB free. Make room or move the repository.")
    packages = sum(line[:1].isalnum() for lock in locks for line in lock.read_text().splitlines())
    print(f"environment {name}: installing {packages} packages, the first time takes some minutes", flush=True)
    _run([sys.executable, "-m", "venv", "--clear", str(folder)], f"cannot make the virtual environment {folder}")
    for lock in locks:
        _install(folder, lock)


def _install(folder: Path, lock: Path) -> None:
    """Installs what is locked: wheels with these hashes only. Where no index of pip's configuration has torch for CPUs, pytorch.org's is asked."""
    arguments = ("--only-binary=:all:", "--require-hashes", "--requirement", str(lock))
    try:
        _pip(folder, *arguments)
    except SetupError as error:
        if lock != CPU_TORCH or "No matching distribution" not in str(error):
            raise
        _pip(folder, "--extra-index-url", CPU_TORCH_INDEX, *arguments)


def _pip(folder: Path, *arguments: str) -> None:
    command = [
        str(folder / "bin" / "python"),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-input",
        "--no-deps",
        *arguments,
    ]
    _run(command, f"pip could not install {' '.join(arguments)}", "Check the network and `pip config list`, then run the command again.")


def _run(command: list[str], failure: str, advice: str = "") -> None:
    environment = {
        name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PIP_TARGET", "PIP_USER")
    }
    done = subprocess.run(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        tail = "\n".join(done.stdout.strip().splitlines()[-8:])
        raise SetupError(f"{failure}. {advice}\n{tail}")


if __name__ == "__main__":
    sys.exit(main())
