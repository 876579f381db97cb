"""Documents keep what they promise: links lead somewhere, commands parse, Python runs, and the first page stays one page."""

from __future__ import annotations

import functools
import io
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import masklet
from masklet import recording, sources
from masklet.cli.arguments import parse
from masklet.testing import MockTransport
from tests.fakes.recalling import Recalling
from tests.fakes.toy_tracker import ToyTracker

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(path for path in ROOT.rglob("*.md") if not {".venv", "dist", ".git", "results"} & set(path.relative_to(ROOT).parts))

MADE = {"load.md", "quality.md", "fuzz.md", "gpu.md", "RELEASE_SAM3p1.md"}  # written by commands, or of others


def ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(path: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def blocks(path: Path, language: str = "") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL)


def test_the_first_page_is_one_page():
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 120
    assert [line for line in lines if len(line) > 100] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=ids)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = path.parent / name if name else path
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


@pytest.mark.parametrize("path", DOCUMENTS, ids=ids)
def test_documents_that_are_named_exist(path):
    """`docker/README.md` from the root, `gateways/README.md` from the document's folder."""
    for name in re.findall(r"`([\w./-]+\.md)`", path.read_text()):
        found = [ROOT / name, path.parent / name, ROOT / "benchmarks" / "results" / name, ROOT / "benchmarks" / "quality" / name]
        assert any(file.exists() for file in found) or Path(name).name in MADE, name


def commands(path: Path, program: str) -> list[list[str]]:
    """The arguments of each command of `program` in a document's blocks, without comments; lines that go on are joined."""
    lines = "\n".join(blocks(path)).replace("\\\n", " ").splitlines()
    parts = [part.strip() for line in lines for part in re.sub(r"\s#.*", "", line).split("&&")]
    return [shlex.split(part)[1:] for part in parts if part.startswith(program + " ") and "..." not in part]


@pytest.mark.parametrize("path", DOCUMENTS, ids=ids)
def test_commands_of_the_client_parse(path):
    for command in commands(path, "masklet"):
        if "--help" not in command:
            parse(command)


@pytest.mark.torch
@pytest.mark.parametrize("path", DOCUMENTS, ids=ids)
def test_commands_of_the_builder_parse(path):
    from masklet_build.cli import _parser

    for command in commands(path, "masklet-build"):
        _parser().parse_args(command)


def test_the_first_page_has_commands_to_ones_own_video():
    assert [command[0] for command in commands(ROOT / "README.md", "masklet-build")] == ["download", "export", "assemble", "serve"]
    assert [command[0] for command in commands(ROOT / "README.md", "masklet")] == ["track"]


def runs_live(code: str, path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over a server whose memories are numbers, with a click on the first frame; the camera ends."""
    monkeypatch.setattr(
        sources, "open_source", lambda address: sources.newest([np.full((360, 640, 3), 40 * number, np.uint8) for number in range(6)], name=address)
    )
    monkeypatch.setattr(masklet, "Tracker", functools.partial(masklet.tracker.Tracker, transport=Recalling()))
    seen = {"masklet": masklet}
    assert "\nclicks = []" in code
    exec(compile(code.replace("clicks = []", "clicks = [(0, (9, 6))]"), str(path), "exec"), seen)
    assert (seen["result"].label, seen["result"].object_ids) == ("replayed", (1, 2))
    assert recording.read(folder / "rec").exchanges


@pytest.mark.parametrize("path", [ROOT / "README.md", ROOT / "client" / "README.md"], ids=ids)
def test_the_python_of_a_document_runs(path, tmp_path, monkeypatch):
    """Over a transport that answers as a server does, with JPEG files where it looks for them."""
    (tmp_path / "clip").mkdir()
    picture = io.BytesIO()
    Image.new("RGB", (640, 360)).save(picture, "JPEG")
    for number in range(60):
        (tmp_path / "clip" / f"{number:05}.jpg").write_bytes(picture.getvalue())
    monkeypatch.chdir(tmp_path)
    transport = MockTransport(ToyTracker())
    monkeypatch.setattr(masklet, "Tracker", functools.partial(masklet.Tracker, transport=transport))
    seen = {"frames": [picture.getvalue()] * 60}
    first, *others = blocks(path, "python")
    exec(compile(first, str(path), "exec"), seen)
    assert len([request for request in transport.requests if "FRAME_ENCODED" in request.tensors]) == 60
    assert seen["result"].frame_index == 59
    if path == ROOT / "README.md":
        runs_live(others.pop(), path, tmp_path, monkeypatch)
    for code in others:
        exec(compile(code, str(path), "exec"), seen | {"frame": np.zeros((360, 640, 3), np.uint8)})
