"""How `masklet track` ends before its time: signals, a full disk."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import pytest

from masklet import Tracker
from masklet.cli import main
from masklet.cli.stopping import Stopped, Stopping
from masklet.testing import MockTransport
from tests.client.track_runs import folder_of, lines, track, written
from tests.fakes.toy_grpc import serving
from tests.fakes.toy_tracker import ToyTracker


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    """The signals are not ignored, as they are where the tests run in the background, or under nohup."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_the_work_but_nothing_that_must_be_whole(number):
    before, done = signal.getsignal(number), []

    def work(what: str) -> None:
        os.kill(os.getpid(), number)
        done.append(what)

    def whole_work(stopping: Stopping) -> None:
        with stopping.whole():
            work("to its end")

    with Stopping() as stopping:
        with pytest.raises(Stopped):
            whole_work(stopping)
        assert stopping.signal == number
        work("a second signal is ignored")
    with Stopping(), pytest.raises(Stopped):
        work("never")
    with Stopping() as stopping:
        stopping.finish()
        work("the end")
    assert done == ["to its end", "a second signal is ignored", "the end"]
    assert signal.getsignal(number) is before


def test_a_signal_that_was_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
    try:
        with Stopping() as stopping:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stopping.signal is None
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_the_exit_code_says_which_signal_came(number, code, tmp_path, capsys, monkeypatch):
    toy = ToyTracker()

    def handler(request):
        if request.parameters.get("frame_index") == 5:
            os.kill(os.getpid(), number)
        return toy(request)

    monkeypatch.setattr("masklet.cli.track.Tracker", functools.partial(Tracker, transport=MockTransport(handler)))
    frames = folder_of(tmp_path / "frames", [f"{index}.png" for index in range(30)])
    assert track(frames, tmp_path / "out", "--point", "1,2") == code
    assert "stopped after" in capsys.readouterr().err
    assert toy.videos == {}, "the video was ended"
    with av.open(str(tmp_path / "out" / "overlay.mp4")) as film:
        assert 1 <= len(list(film.decode(video=0))) == len(lines(tmp_path / "out")) < 30


# As a disk that is full: no file grows beyond 8 kB. Snapshots before every frame.
CODE = """
import resource, sys
from masklet.cli import main, resume
resume.EVERY_S = resume._SHARE = 0
resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
sys.exit(main())
"""


def test_a_full_disk_keeps_what_fits_and_resume_goes_on(tmp_path: Path) -> None:
    frames = folder_of(tmp_path / "frames", [f"{index:05}.png" for index in range(80)])
    toy = ToyTracker()
    with serving(toy) as (url, _, _):
        words = ["track", str(frames), "--url", url, "--point", "1,2", "--point", "2@30:1,1", "--out"]
        done = subprocess.run([sys.executable, "-c", CODE, *words, str(tmp_path / "cut")], capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 1, done.stderr
        assert "Traceback" not in done.stderr
        assert "File too large" in done.stderr
        assert "The same command with --resume goes on." in done.stderr
        assert (tmp_path / "cut" / "masks.jsonl").stat().st_size == 8192, "the last line is cut off"
        assert main([*words, str(tmp_path / "cut"), "--resume"]) == 0
        assert main([*words, str(tmp_path / "whole")]) == 0
    assert written(tmp_path / "cut") == written(tmp_path / "whole")
