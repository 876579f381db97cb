"""`masklet track` cut short on a real server, and resumed: what comes out is, to the last bit, what an uninterrupted run writes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from masklet.cli import main
from masklet_build import nano
from masklet_build.repository.assemble import assemble
from masklet_build.serve import Server
from tests.client.track_runs import lines, written
from tests.serving.clips import clip

pytestmark = pytest.mark.server

FRAMES = 120
DEADLINE_S = 120.0
# Snapshots every tenth of a second, so that a short film has some.
CODE = "import sys; from masklet.cli import main, resume; resume.EVERY_S = 0.1; sys.exit(main())"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return assemble("nano", nano.ENGINES, tmp_path_factory.mktemp("nano") / "repository")


@pytest.fixture(scope="module")
def serve(repository: Path, serving_python: Path) -> Callable[[], Server]:
    return lambda: Server(repository, python=serving_python, grpc_port=0, http_port=0, metrics_port=0, exit_timeout_s=1)


@pytest.fixture(scope="module")
def url(serve: Callable[[], Server]) -> Iterator[str]:
    with serve() as server:
        yield server.grpc_url


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A film of an uneven rate with prompts all along, as words of the command."""
    folder = tmp_path_factory.mktemp("film")
    with av.open(str(folder / "film.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width, stream.pix_fmt = 96, 128, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for index, picture in enumerate(clip(FRAMES, 96, 128, seed=4)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = 40 * index + index % 3, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    labels = np.zeros((96, 128), np.uint8)
    labels[20:60, 30:70], labels[70:90, 90:120] = 1, 2
    Image.fromarray(labels).save(folder / "00003.png")
    later = [
        {"frame": 40, "object": 1, "points": [[50, 40]]},
        {"frame": 80, "object": 2, "remove": True},
        {"frame": 100, "object": 300, "box": [5, 5, 60, 60]},
    ]
    (folder / "later.json").write_text(json.dumps(later))
    return [str(folder / "film.mp4"), "--annotation", str(folder / "00003.png"), "--prompts", str(folder / "later.json"), "--max-side", "100"]


@pytest.fixture(scope="module")
def whole(url: str, words: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What an uninterrupted run writes."""
    out = tmp_path_factory.mktemp("whole") / "out"
    assert main(["track", *words, "--url", url, "--out", str(out)]) == 0
    assert [len(line["objects"]) for line in lines(out)] == [0] * 3 + [2] * 77 + [1] * 20 + [2] * 20
    return written(out)


def cut_short(words: list[str], url: str, out: Path, cut: Callable[[subprocess.Popen[str]], object]) -> tuple[int, str]:
    """Begins a run, and cuts it short when it has a snapshot and some frames. Gives its exit code and what it said."""
    arguments = [sys.executable, "-c", CODE, "track", *words, "--url", url, "--out", str(out)]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline and process.poll() is None and not (state_of(out) and (out / "masks" / "00050.png").exists()):
            time.sleep(0.01)
        cut(process)
        said = process.communicate(timeout=DEADLINE_S)[1]
    return process.returncode, said


def state_of(out: Path) -> bytes:
    file = out / "resume.state"
    return file.read_bytes().partition(b"\n")[2] if file.exists() else b""


def check_whole_files(out: Path) -> None:
    """Whatever is there can be read."""
    found = lines(out)
    assert 50 <= len(found) < FRAMES
    for line in found:
        with Image.open(out / "masks" / f"{line['frame']:05}.png") as image:
            image.load()
    with av.open(str(out / "overlay.mp4")) as film:
        assert len(list(film.decode(video=0))) - len(found) in (0, 1)


def test_sigterm_leaves_whole_files_and_resume_goes_on(url: str, words: list[str], whole: dict[str, bytes], tmp_path: Path) -> None:
    code, said = cut_short(words, url, tmp_path / "out", lambda process: process.send_signal(signal.SIGTERM))
    assert code == 143, said
    assert "Traceback" not in said
    assert f"what was written to {tmp_path / 'out'} is kept. The same command with --resume goes on." in said
    check_whole_files(tmp_path / "out")
    assert main(["track", *words, "--url", url, "--out", str(tmp_path / "out"), "--resume"]) == 0
    assert written(tmp_path / "out") == whole


def test_a_run_whose_server_died_goes_on_at_another(
    serve: Callable[[], Server], url: str, words: list[str], whole: dict[str, bytes], tmp_path: Path
) -> None:
    with serve() as server:
        code, said = cut_short(words, server.grpc_url, tmp_path / "out", lambda process: os.kill(server.pid, signal.SIGKILL))
    assert code == 1, said
    assert "Traceback" not in said
    assert "The same command with --resume goes on." in said
    check_whole_files(tmp_path / "out")
    assert main(["track", *words, "--url", url, "--out", str(tmp_path / "out"), "--resume"]) == 0
    assert written(tmp_path / "out") == whole


def test_a_run_that_was_killed_outright_goes_on(url: str, words: list[str], whole: dict[str, bytes], tmp_path: Path) -> None:
    """Its film has no end and its last line may be half written."""
    code, _ = cut_short(words, url, tmp_path / "out", lambda process: process.kill())
    assert code == -signal.SIGKILL
    assert main(["track", *words, "--url", url, "--out", str(tmp_path / "out"), "--resume"]) == 0
    assert written(tmp_path / "out") == whole
