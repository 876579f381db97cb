"""Programs of benchmarks start in one way, as modules of the package, and what documents say of them is so."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from benchmarks import RESULTS, ROOT

DOCUMENTS = [path for path in ROOT.rglob("*.md") if not {".venv", "dist", ".git", "results"} & set(path.relative_to(ROOT).parts)]
PACKAGE = ROOT / "benchmarks"
OWN = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()} - {"__init__"}
COMMAND = re.compile(r"python\)? -m ((?:benchmarks|tests)\.[\w.]+)((?: +(?:\\\n +)?[^\s#`]+)*)")


def source(module: str) -> str:
    """What a program is made of; capacity hands options on."""
    file = ROOT / f"{module.replace('.', '/')}.py"
    text = (file if file.exists() else file.with_suffix("") / "__main__.py").read_text()
    return text + ((PACKAGE / "locustfile.py").read_text() if module == "benchmarks.capacity" else "")


def commands(path: Path) -> list[tuple[str, str]]:
    """Module and words of every command in a document."""
    return COMMAND.findall(path.read_text().replace("$(SERVING_PY)", "python").replace("$(LOAD_PY)", "python"))


@pytest.mark.parametrize("path", [*DOCUMENTS, ROOT / "Makefile"], ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_name_programs_that_are_there_and_options_that_they_have(path: Path) -> None:
    for module, words in commands(path):
        text = source(module)
        assert "__main__" in text or module == "benchmarks.fuzz", module
        for option in re.findall(r"(?<!\S)--[\w-]+", words):
            assert f'"{option}"' in text, f"{module} {option}"
    assert re.findall(r"(?:python|PY\)) benchmarks/\w+\.py", path.read_text()) == []


def test_every_program_is_in_the_table_of_programs() -> None:
    programs = {path.stem for path in PACKAGE.glob("*.py") if "argparse.ArgumentParser(" in path.read_text()}
    programs |= {path.parent.name for path in PACKAGE.glob("*/__main__.py")}
    assert set(re.findall(r"^\| `(\w+)` \|", (PACKAGE / "README.md").read_text(), re.MULTILINE)) == programs


def test_every_result_is_told_of() -> None:
    said = "".join(path.read_text() for path in DOCUMENTS)
    assert [path.name for path in RESULTS.glob("*.md") if f"{path.name}`" not in said and f"{path.name})" not in said] == []


def test_nothing_of_the_package_is_imported_by_its_bare_name() -> None:
    found = []
    for path in [*PACKAGE.rglob("*.py"), *(ROOT / "tests").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom | ast.Import):
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
                found += [f"{path}:{node.lineno} {name}" for name in names if name.split(".")[0] in OWN]
    assert found == []
