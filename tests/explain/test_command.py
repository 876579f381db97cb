"""`masklet-build explain` on what was recorded of a real server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")

from masklet import Tracker
from masklet_build import cli, nano
from masklet_build.checkpoints.random_weights import random_parameters, save_official
from masklet_build.clips import inner_point, make_clip
from masklet_build.models.variants import variant
from masklet_build.repository.assemble import assemble
from masklet_build.serve import Server

pytestmark = [pytest.mark.torch, pytest.mark.server]

CLIP = make_clip("test", 3, frames=6, story="roam", objects=2)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory, serving_python: Path) -> Path:
    """Two objects on a server with nano, the second one not before frame 2."""
    folder = tmp_path_factory.mktemp("recording")
    repository = assemble("nano", nano.ENGINES, tmp_path_factory.mktemp("nano") / "repository")
    with (
        Server(repository, python=serving_python, grpc_port=0, http_port=0, metrics_port=0, exit_timeout_s=1) as server,
        Tracker(server.grpc_url, record=folder) as tracker,
        tracker.open() as video,
    ):
        for number, frame in enumerate(CLIP.frames):
            if number in (0, 2):
                video.prompt(number // 2 + 1, points=[inner_point(CLIP.masks[number, number // 2])])
            video.track(frame)
    return folder


def test_a_recording_of_a_real_server_is_explained(recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["explain", str(recording), "--object", "2", "--frame", "5", "--out", str(tmp_path)]) == 0
    told = capsys.readouterr()
    assert told.out == f"written: {tmp_path / 'explain.html'}\n"
    assert "replayed 6 of 6 requests\n" in told.err
    made = json.loads((tmp_path / "explain.json").read_text())
    assert (made["variant"], made["warnings"], made["weights"]["sha256"]) == ("nano", [], made["recorded"]["checkpoint_sha256"])
    assert [(one["frame"], one["prompted"]) for one in made["moments"]] == [(2, True), (3, False), (4, False), (5, False)]
    assert min(one["agreement"] for one in made["moments"]) > 0.99
    attention = made["answers"][0]["attention"]
    assert [(one["frame"], one["slot"]) for one in attention["memories"]] == [(2, 6), (3, 1), (4, 0)]
    assert "Object 2 on frame 5" in (tmp_path / "explain.html").read_text()


def test_what_is_wrong_is_the_last_line(recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def failed(*arguments: str) -> str:
        assert cli.main(["explain", *arguments, "--out", str(tmp_path / "out")]) == 1
        assert not (tmp_path / "out").exists()
        return capsys.readouterr().err.splitlines()[-1]

    asked = ("--object", "2", "--frame", "5")
    assert failed(str(recording), "--object", "2", "--frame", "1").endswith("object 2 has no answer on frame 1. It has them on frames 2 to 5.")
    assert failed(str(recording), "--object", "3", "--frame", "5").endswith("Its objects: 1, 2.")
    assert f"{tmp_path} is no recording" in failed(str(tmp_path), *asked)
    other = variant("efficienttam_ti_512@64")
    save_official(random_parameters(other, seed=1), tmp_path / "other.pt")
    assert "other.pt does not fit nano" in failed(str(recording), *asked, "--checkpoint", str(tmp_path / "other.pt"))


def test_without_torch_it_says_what_to_install(recording: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("masklet_build.common.find_spec", lambda name: None)
    assert cli.main(["explain", str(recording), "--object", "1", "--frame", "0"]) == 1
    assert "torch not installed here. Use the build environment, or: pip install 'masklet-build[export]'." in capsys.readouterr().err


def test_a_point_that_is_none_is_a_wrong_argument(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(["explain", "recording", "--object", "1", "--frame", "0", "--point", "210"])
    assert left.value.code == 2
    assert "'210': write X,Y, as 210,350." in capsys.readouterr().err
