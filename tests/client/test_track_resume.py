"""`masklet track --resume`: what was cut short goes on, and comes out as if it had not been."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from masklet import Tracker
from masklet.cli.resume import Snapshots
from masklet.sources import Source, open_source
from masklet.testing import Broken, MockTransport
from tests.client.track_runs import folder_of, frames_sent, lines, picture, prompts_sent, track, written
from tests.fakes.toy_tracker import ToyTracker

COUNT = 12
PROMPTS = ("--point", "10,20", "--point", "2@3:5,6", "--box", "1@9:1,2,30,40")
Reached = Callable[..., MockTransport]


@pytest.fixture(autouse=True)
def a_snapshot_before_every_frame(monkeypatch):
    monkeypatch.setattr("masklet.cli.resume.EVERY_S", 0.0)
    monkeypatch.setattr("masklet.cli.resume._SHARE", 0)


@pytest.fixture
def reach(monkeypatch) -> Reached:
    """A toy tracker, whose stream breaks at the frame of an index."""

    def made(breaks_at: int | None = None) -> MockTransport:
        toy = ToyTracker()

        def handler(request):
            broken = "FRAME" in request.tensors and request.parameters.get("frame_index") == breaks_at
            return Broken("UNAVAILABLE Socket closed") if broken and breaks_at is not None else toy(request)

        transport = MockTransport(handler)
        monkeypatch.setattr("masklet.cli.track.Tracker", functools.partial(Tracker, transport=transport))
        return transport

    return made


@pytest.fixture
def frames(tmp_path) -> Path:
    folder = folder_of(tmp_path / "frames", [f"{index:05}.png" for index in range(COUNT)])
    (folder / "00004.png").write_bytes(b"damaged")
    return folder


@pytest.fixture
def whole(frames, reach, tmp_path):
    """What an uninterrupted run writes."""
    reach()
    assert track(frames, tmp_path / "whole", *PROMPTS) == 0
    return written(tmp_path / "whole")


@pytest.fixture
def cut(frames, reach, tmp_path) -> Path:
    """The folder of a run whose server was lost at frame 7."""
    reach(breaks_at=7)
    assert track(frames, tmp_path / "cut", *PROMPTS) == 1
    return tmp_path / "cut"


def kept(out: Path) -> tuple[dict, bytes]:
    head, _, state = (out / "resume.state").read_bytes().partition(b"\n")
    return json.loads(head), state


def test_a_lost_video_keeps_what_it_has_and_says_how_to_go_on(frames, reach, tmp_path, capsys):
    reach(breaks_at=7)
    assert track(frames, tmp_path / "cut", *PROMPTS) == 1
    error = capsys.readouterr().err
    assert f"what was written to {tmp_path / 'cut'} is kept. The same command with --resume goes on." in error
    assert 3 <= len([line for line in lines(tmp_path / "cut") if "objects" in line]) <= 6


def test_a_resumed_run_writes_the_same_as_one_that_was_not_cut_short(frames, cut, whole, reach):
    (head, state) = kept(cut)
    assert state, "there is a snapshot"
    assert 0 <= head["frame"] < 7
    server = reach()
    assert track(frames, cut, *PROMPTS, "--resume") == 0
    assert written(cut) == whole
    assert "STATE" in server.requests[0].tensors
    sent = [request.parameters["frame_index"] for request in frames_sent(server)]
    assert sent == [index for index in range(COUNT) if index > head["frame"] and index != 4], "nothing that counts is computed again"
    assert set(prompts_sent(server)) == {index for index in (0, 3, 9) if index > head["frame"]}, "nor prompted again"


def test_what_lies_behind_the_snapshot_is_cut_off(frames, cut, whole, reach):
    """A line that was half written, masks without a line, a snapshot that was half written."""
    with (cut / "masks.jsonl").open("a") as file:
        file.write('{"frame": 7, "name": "00007.png", "obj')
    (cut / "masks" / "00007.png").write_bytes(b"half a p")
    (cut / "resume.state.part").write_bytes(b'{"version": 1, "fra')
    (cut / "overlay.mp4").write_bytes(b"without an end")
    reach()
    assert track(frames, cut, *PROMPTS, "--resume") == 0
    assert written(cut) == whole


def test_without_a_snapshot_a_run_begins_again_and_says_so(frames, whole, reach, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("masklet.cli.resume.EVERY_S", 1000.0)
    reach(breaks_at=7)
    assert track(frames, tmp_path / "cut", *PROMPTS) == 1
    assert kept(tmp_path / "cut") == ({**kept(tmp_path / "cut")[0], "frame": -1, "length": 0}, b"")
    reach()
    assert track(frames, tmp_path / "cut", *PROMPTS, "--resume") == 0
    assert "beginning again with the first frame" in capsys.readouterr().err
    assert written(tmp_path / "cut") == whole


def test_a_run_can_be_cut_short_more_than_once(frames, cut, whole, reach):
    reach(breaks_at=10)
    assert track(frames, cut, *PROMPTS, "--resume") == 1
    assert kept(cut)[0]["frame"] >= 5
    reach(breaks_at=11)
    assert track(frames, cut, *PROMPTS, "--resume") == 1
    reach()
    assert track(frames, cut, *PROMPTS, "--resume") == 0
    assert written(cut) == whole


def test_resume_begins_a_run_in_an_empty_folder_and_leaves_a_finished_one(frames, whole, reach, tmp_path, capsys):
    reach()
    assert track(frames, tmp_path / "out", *PROMPTS, "--resume") == 0
    assert written(tmp_path / "out") == whole
    server = reach()
    capsys.readouterr()
    assert track(frames, tmp_path / "out", *PROMPTS, "--resume") == 0
    assert f"is finished, with {len(list(frames.iterdir()))} frames" in capsys.readouterr().out
    assert server.requests == []


def test_without_resume_the_folder_is_left_alone_and_the_way_is_named(frames, cut, reach, capsys):
    before = {file: file.read_bytes() for file in cut.rglob("*") if file.is_file()}
    reach()
    assert track(frames, cut, *PROMPTS) == 1
    assert "is not empty. Add --resume to go on there" in capsys.readouterr().err
    assert {file: file.read_bytes() for file in cut.rglob("*") if file.is_file()} == before


def test_prompts_may_be_added_on_frames_that_are_not_done(frames, cut, reach):
    server = reach()
    assert track(frames, cut, *PROMPTS, "--point", "3@10:1,1", "--resume") == 0
    assert [item["object"] for item in prompts_sent(server)[10]] == [3]
    assert [said["object"] for said in lines(cut)[-1]["objects"]] == [1, 2, 3]


def other_picture(frames: Path) -> None:
    Image.fromarray(picture(1, (50, 64))).save(frames / "00001.png")


def other_name(frames: Path) -> None:
    (frames / "00001.png").rename(frames / "00001b.png")


@pytest.mark.parametrize(
    ("words", "spoil", "says"),
    [
        pytest.param(["--point", "10,20"], None, "the prompts up to frame 5 are not those", id="a_prompt_less"),
        pytest.param([*PROMPTS, "--point", "3@2:1,1"], None, "the prompts up to frame 5 are not those", id="a_prompt_more"),
        pytest.param(["--point", "11,20", *PROMPTS[2:]], None, "the prompts up to frame 5 are not those", id="another_prompt"),
        pytest.param([*PROMPTS, "--max-side", "32"], None, "were made with --max-side not given", id="other_settings"),
        pytest.param([*PROMPTS, "--overlap", "exclusive"], None, "were made with --overlap allowed", id="other_overlap"),
        pytest.param(PROMPTS, lambda frames, out: other_picture(frames), "this is not the video", id="another_size"),
        pytest.param(PROMPTS, lambda frames, out: other_name(frames), "this is not the video", id="another_name"),
        pytest.param(PROMPTS, lambda frames, out: (out / "masks.jsonl").write_text("{}\n"), "is shorter than it was", id="lines_lost"),
        pytest.param(PROMPTS, lambda frames, out: (out / "resume.state").write_bytes(b"{}\n"), "resume.state is damaged", id="damaged"),
        pytest.param(
            PROMPTS, lambda frames, out: (out / "resume.state").write_bytes(b'{"version": 9}\n'), "another version", id="of_another_version"
        ),
    ],
)
def test_what_does_not_fit_is_refused(words, spoil, says, frames, cut, reach, capsys):
    if spoil:
        spoil(frames, cut)
    server = reach()
    capsys.readouterr()
    assert track(frames, cut, *words, "--resume") == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert says in error
    assert server.requests == []


def test_a_folder_of_something_else_is_not_resumed(frames, reach, tmp_path, capsys):
    reach()
    (tmp_path / "frames" / "x").touch()
    assert track(frames, tmp_path / "frames", *PROMPTS, "--resume") == 1
    assert "no results of masklet track" in capsys.readouterr().err


def test_a_camera_is_not_resumed_and_keeps_no_snapshot(frames, reach, tmp_path, capsys, monkeypatch):
    def live(*words, **options):
        source = open_source(*words, **options)
        return Source("camera", iter(source), fps=25, count=None, live=True)

    monkeypatch.setattr("masklet.cli.track.open_source", live)
    server = reach()
    assert track(frames, tmp_path / "new", *PROMPTS, "--resume") == 1
    assert "cannot be resumed" in capsys.readouterr().err
    assert track(frames, tmp_path / "out", *PROMPTS) == 0
    assert all("FRAME" in request.tensors or request.end for request in server.requests), "no snapshot was asked for"
    server = reach(breaks_at=7)
    capsys.readouterr()
    assert track(frames, tmp_path / "cut", *PROMPTS) == 1
    assert "--resume" not in capsys.readouterr().err
    assert not (tmp_path / "cut" / "resume.state").exists()


def test_a_run_that_ends_before_its_first_frame_is_written_is_not_finished(frames, reach, whole, tmp_path, monkeypatch):
    reach()
    with monkeypatch.context() as broken:
        broken.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        assert track(frames, tmp_path / "out", *PROMPTS, "--resume") == 1
    assert track(frames, tmp_path / "out", *PROMPTS, "--resume") == 0
    assert written(tmp_path / "out") == whole


def test_snapshots_take_a_20th_of_the_time_at_most(monkeypatch):
    monkeypatch.undo()
    now = [100.0]
    monkeypatch.setattr("masklet.cli.resume.time.monotonic", lambda: now[0])
    snapshots = Snapshots()

    def next_due(takes_s):
        while not snapshots.due:
            now[0] += 1
        snapshots.take(lambda: now.__setitem__(0, now[0] + takes_s) or b"state")
        begun = now[0]
        while not snapshots.due:
            now[0] += 1
        return now[0] - begun

    assert next_due(0.1) == 10
    assert next_due(3) == 60
