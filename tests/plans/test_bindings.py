"""The builder and the runner agree with every version of TensorRT's Python API that they are for, and mistakes in them would be seen."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.plans.bindings import ROOT, SOURCES, VERSIONS, Bindings, bindings
from tests.plans.planted import PACKAGE, PLANTED, Planted

pytestmark = pytest.mark.bindings

_MYPY = """[mypy]
strict = true
python_version = {python}
mypy_path = {path}
explicit_package_bases = true
follow_imports = silent
disallow_any_generics = false
warn_return_any = false
disallow_untyped_calls = false
[mypy-tensorrt_bindings.*]
ignore_errors = true
[mypy-tqdm.*]
ignore_missing_imports = true
disallow_subclassing_any = false
"""


@dataclass(frozen=True)
class Checked:
    """What both checks said of one version: the tests over autospecs, and mypy over the types of the bindings.

    outcomes   planted mistake -> the error that it raised, or nothing
    types      file name -> mypy's errors in it
    """

    version: str
    code: int
    output: str
    outcomes: dict[str, str]
    types: dict[str, list[str]]


# The newest every time; between versions little changes but what is planted.
@pytest.fixture(scope="module", params=[*(pytest.param(version, marks=pytest.mark.slow) for version in VERSIONS[:-1]), VERSIONS[-1]])
def checked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Checked:
    made = bindings(request.param, request.config.cache.mkdir("tensorrt-bindings"))
    scratch = tmp_path_factory.mktemp("checked")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(Path(__file__).with_name("with_bindings.py"))]
    environment = {**made.environment, "MASKLET_OUTCOMES": str(scratch / "outcomes")}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        types = _types(made, scratch)  # meanwhile
        output, _ = process.communicate()
    lines = (scratch / "outcomes").read_text().splitlines() if (scratch / "outcomes").exists() else []
    return Checked(made.version, process.returncode, output, dict(json.loads(line) for line in lines), types)


def _types(made: Bindings, scratch: Path) -> dict[str, list[str]]:
    """mypy's errors in the package, and in copies of its modules that have a planted mistake each."""
    for planted in PLANTED:
        (scratch / f"planted_{planted.name}.py").write_text(planted.source())
    path = ":".join(map(str, [*SOURCES, made.types]))
    (scratch / "mypy.ini").write_text(_MYPY.format(python=f"{sys.version_info[0]}.{sys.version_info[1]}", path=path))
    files = [*sorted(PACKAGE.glob("*.py")), *sorted(scratch.glob("planted_*.py"))]
    options = ["--config-file", str(scratch / "mypy.ini"), "--cache-dir", str(made.types.parent / "mypy"), "--no-error-summary"]
    done = subprocess.run([sys.executable, "-m", "mypy", *options, *map(str, files)], cwd=scratch, capture_output=True, text=True)
    assert not done.stderr, done.stderr
    found: dict[str, list[str]] = {file.stem: [] for file in files}
    for line in done.stdout.splitlines():
        place = re.match(r"(.*)\.py:\d+: (error|note): ", line)
        assert place, line
        if place[2] == "error":
            found[Path(place[1]).name].append(line)
    return found


def test_builder_and_runner_work_over_the_real_classes(checked: Checked) -> None:
    assert checked.code == 0, checked.output
    assert set(checked.outcomes) == {planted.name for planted in PLANTED}


def test_builder_and_runner_agree_with_the_types_of_the_bindings(checked: Checked) -> None:
    wrong = {name: errors for name, errors in checked.types.items() if errors and not name.startswith("planted_")}
    assert not wrong


@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.name)
def test_a_planted_mistake_is_caught_where_it_is_one(checked: Checked, planted: Planted) -> None:
    raised, typed = checked.outcomes[planted.name], checked.types[f"planted_{planted.name}"]
    if planted.wrong_in(checked.version):
        assert raised or typed
    else:
        assert not raised, raised
        assert not typed, typed
