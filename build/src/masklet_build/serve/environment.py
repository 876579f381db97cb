"""The serving environment: the interpreter whose packages the python models see, and Triton's binaries in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from masklet_build.serve import machine
from masklet_build.serve.errors import ServeError

PYTHON_VARIABLE = "MASKLET_SERVING_PYTHON"
TRITON = "2.51 (24.10)"  # what nvidia-pytriton 0.7.0 holds


@dataclass(frozen=True)
class Environment:
    """Where the parts of a server are.

    python      interpreter of the serving environment
    version     its version, "3.11"
    triton      folder of the wheel with bin/, backends/ and python_backend_stubs/
    libraries   folder of shared libraries that came with the wheel
    libpython   shared library of the interpreter
    """

    python: Path
    version: str
    triton: Path
    libraries: Path
    libpython: Path

    @property
    def stub(self) -> Path:
        """The executable that runs one python model."""
        return self.triton / "python_backend_stubs" / self.version / "triton_python_backend_stub"


def find_environment(python: str | Path | None = None) -> Environment:
    """The serving environment, checked.

    python: its interpreter. Default: $MASKLET_SERVING_PYTHON, else the running interpreter if nvidia-pytriton is installed beside it,
    else the environment `serving` beside the running one (as `make setup` lays them out).
    Raises ServeError that names what is missing and how to get it.
    """
    problem = machine.machine_problem()
    if problem:
        raise ServeError(problem)
    chosen = python or os.environ.get(PYTHON_VARIABLE)
    if chosen:
        return _checked(_inspect(Path(chosen)))
    sibling = Path(sys.prefix).parent / "serving" / "bin" / "python"
    facts = _inspect(Path(sys.executable))
    if facts["pytriton"] is None and sibling.exists():
        facts = _inspect(sibling)
    return _checked(facts)


def _inspect(python: Path) -> dict[str, str | None]:
    try:
        done = subprocess.run([python, "-I", machine.__file__], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        detail = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1]
        raise ServeError(f"the serving interpreter {python} does not run: {detail}. Name another with --python or ${PYTHON_VARIABLE}.") from error
    facts: dict[str, str | None] = json.loads(done.stdout)
    return facts


def _checked(facts: dict[str, str | None]) -> Environment:
    python, version = Path(str(facts["executable"])), str(facts["version"])
    if facts["pytriton"] is None:
        raise ServeError(
            f"nvidia-pytriton, which holds Triton's binaries, is not installed for {python}. Run `make setup` in the repository, or: "
            f"{python} -m pip install --no-deps nvidia-pytriton==0.7.0 ; or name an interpreter that has it with --python or ${PYTHON_VARIABLE}."
        )
    if facts["numpy"] is None or int(facts["numpy"].split(".")[0]) >= 2:
        have = f"numpy {facts['numpy']}" if facts["numpy"] else "no numpy"
        raise ServeError(
            f"{python} has {have}, and Triton's python stub needs numpy < 2 (with numpy 2 every output arrives empty). "
            f"Install it there: {python} -m pip install 'numpy<2'"
        )
    wheel = Path(facts["pytriton"])
    libpython = machine.shared_libpython(facts)
    if libpython is None:
        raise ServeError(machine.libpython_advice(facts))
    found = Environment(python, version, wheel / "tritonserver", wheel.parent / "nvidia_pytriton.libs", libpython)
    if not found.stub.exists():
        stubs = sorted((path.parent.name for path in found.stub.parents[1].glob("*/*stub")), key=lambda name: int(name.split(".")[1]))
        raise ServeError(f"the wheel has no python stub for Python {version}, only for {', '.join(stubs)}. Use Python 3.11 or 3.12.")
    if not (python.parent / "python3").exists():
        raise ServeError(f"there is no python3 beside {python}; the stub finds its environment by that name. Use a virtual environment.")
    return found
