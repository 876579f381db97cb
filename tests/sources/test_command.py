"""`masklet track` on what cannot be read, and the example of the documents."""

from __future__ import annotations

import functools
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from masklet import Tracker
from masklet.cli import main
from masklet.testing import MockTransport
from tests.fakes.toy_tracker import ToyTracker
from tests.sources.drawn import damage, film, picture

INPUTS = Path(__file__).parents[2] / "client" / "inputs.md"


@pytest.fixture(autouse=True)
def server(monkeypatch):
    monkeypatch.setattr("masklet.cli.track.Tracker", functools.partial(Tracker, transport=MockTransport(ToyTracker())))


def track(video, out) -> int:
    return main(["track", str(video), "--url", "test:1", "--point", "1,1", "--out", str(out)])


def test_a_film_without_a_frame_is_exit_code_1(tmp_path, capsys):
    damage(film(tmp_path / "clip.mp4", [picture(index) for index in range(3)]), 0, 1, 2)
    assert track(tmp_path / "clip.mp4", tmp_path / "out") == 1
    assert "no frame of it could be read" in capsys.readouterr().err.splitlines()[-1]


def test_a_damaged_frame_is_named_and_the_rest_is_tracked(tmp_path, capsys, caplog):
    (tmp_path / "frames").mkdir()
    clip = film(tmp_path / "clip.mp4", [picture(index) for index in range(8)], "mpeg4")
    (lost,) = damage(clip, 3)
    assert track(clip, tmp_path / "out") == 0
    assert len((tmp_path / "out" / "masks.jsonl").read_text().splitlines()) >= 7
    assert json.loads((tmp_path / "out" / "masks.jsonl").read_text().splitlines()[0])["frame"] == 0
    assert f"frame {lost}" in caplog.text + capsys.readouterr().err


def test_the_example_of_the_documents_runs(tmp_path, monkeypatch):
    film(tmp_path / "clip.mp4", [picture(index) for index in range(3)])
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"^```python\n(.*?)^```$", INPUTS.read_text(), re.MULTILINE | re.DOTALL)
    seen: dict = {}
    exec(compile(code, str(INPUTS), "exec"), seen)
    assert seen["frame"].index == 2


def test_importing_it_needs_numpy_only():
    code = "import sys; sys.modules.update(dict.fromkeys(('av', 'PIL', 'tqdm', 'tritonclient', 'grpc'))); import masklet.sources"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("module", "package", "name"), [("av", "av", "clip.mp4"), ("PIL.Image", "Pillow", "frames")])
def test_a_missing_package_is_named(tmp_path, monkeypatch, module, package, name):
    from masklet.sources import SourceError, open_source

    film(tmp_path / "clip.mp4", [picture(0)])
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "0.png").touch()
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SourceError, match=rf"needs {package}, .*pip install 'masklet\[video\]'"):
        open_source(tmp_path / name)
