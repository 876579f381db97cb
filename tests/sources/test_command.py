"""`masklet track` on what cannot be read, and the example of the documents."""

from __future__ import annotations

import functools
import json
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from masklet import Tracker
from masklet.cli import main
from masklet.sources import newest
from masklet.testing import MockTransport, Request, answer
from masklet.wire import Options
from tests.fakes.toy_tracker import ToyTracker
from tests.sources.drawn import H, W, damage, film, picture

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


class Jumping:
    """A camera, and a server that answers frame 0 when frame 4 is there, and each later one before the next is."""

    def __init__(self) -> None:
        self.answered = threading.Semaphore(0)
        self.filmed = threading.Event()
        self.server = MockTransport(self._answer)

    def __iter__(self):
        for number in range(7):
            if number in (1, 5, 6):  # one that was taken has its answer before
                assert self.answered.acquire(timeout=60)
            yield picture(number)
            if number == 4:
                self.filmed.set()

    def _answer(self, request: Request):
        if "FRAME" not in request.tensors:
            return answer(request, {})
        index = Options.parse(request.parameters).frame_index or 0
        self.answered.release()
        if index == 0:
            assert self.filmed.wait(60)
        return answer(request, {1: np.ones((H, W), bool)}, index)


@pytest.mark.parametrize(("words", "label"), [([], None), (["--max-age-s", "1e-9"], "stale"), (["--deadline-s", "1e-9"], "stale")])
def test_a_camera_is_followed_and_what_became_of_its_frames_is_told(tmp_path, monkeypatch, capsys, words, label):
    camera = Jumping()
    monkeypatch.setattr("masklet.cli.track.Tracker", functools.partial(Tracker, transport=camera.server))
    monkeypatch.setattr("masklet.cli.track.open_source", lambda *_, **__: newest(camera))
    out = tmp_path / "out"
    assert main(["track", "0", "--url", "test:1", "--point", "1,1", "--out", str(out), *words]) == 0
    lines = [json.loads(line) for line in (out / "masks.jsonl").read_text().splitlines()]
    assert [(one["frame"], one["jumped_over"]) for one in lines] == [(0, 0), (4, 3), (5, 0), (6, 0)]
    assert [one["label"] for one in lines] == ([label] * 4 if label else ["live", "skipped", "live", "live"])
    assert all(one["age"] > 0 for one in lines)
    assert sorted(file.name for file in (out / "masks").iterdir()) == ["00000.png", "00004.png", "00005.png", "00006.png"]
    told = capsys.readouterr().out
    assert "3 frames of the source jumped over" in told
    assert ("4 results stale" in told) == bool(label)
    ages = sorted(one["age"] for one in lines)
    assert f"{np.median(ages):.3f} s (median)" in told
    assert f"{ages[-1]:.3f} s (longest)" in told
