"""A serving environment that has torch: the one of the tests, and links to the torch that the tests themselves run with."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement


def environment_with_torch(serving_python: Path, folder: Path) -> Path:
    """Makes a virtual environment in `folder` as `pip install torch` would leave the serving one; returns its interpreter.

    Nothing is installed: 0.8 GB are linked. numpy stays that of the serving environment.
    """
    subprocess.run([serving_python, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    mine, theirs = _packages(python), _packages(serving_python)
    (mine / "serving.pth").write_text(f"{theirs}\n")
    for made in _needed("torch", without={"numpy"}):
        for name in {file.parts[0] for file in made.files or () if file.parts[0] not in ("..", "__pycache__")}:
            if not (mine / name).exists():
                (mine / name).symlink_to(made.locate_file(name))
    return python


def _packages(python: Path) -> Path:
    command = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    return Path(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())


def _needed(name: str, without: set[str]) -> Iterator[Distribution]:
    """A distribution and those that it needs, each once."""
    seen, waiting = set(without), [name]
    while waiting:
        current = waiting.pop()
        if current in seen:
            continue
        seen.add(current)
        made = distribution(current)
        yield made
        needs = map(Requirement, made.requires or ())
        waiting += [need.name.lower() for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
