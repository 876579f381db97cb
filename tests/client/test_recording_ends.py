"""Recordings that end: cut off, damaged, killed, on a full disk, beside others."""

from __future__ import annotations

import itertools
import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from masklet import SourceError, Tracker
from masklet.recording import folders, read, recorder
from masklet.recording.matroska import pictures
from masklet.testing import MockTransport
from tests.client.recorded import MIXED, file, pixels, play, same, sent
from tests.fakes.toy_tracker import ToyTracker


def cuts(size: int) -> list[int]:
    chance = random.Random(1)
    return sorted({0, 1, size - 1, *(chance.randrange(size) for _ in range(60))})


@pytest.mark.parametrize("name", ["session.jsonl", "frames.mkv"])
def test_a_recording_that_was_cut_off_anywhere_is_read_up_to_there(tmp_path: Path, name: str) -> None:
    transport, _ = play(tmp_path / "whole", MIXED[3:6])
    asked, whole = sent(transport), (tmp_path / "whole" / name).read_bytes()
    lengths = []
    for cut in cuts(len(whole)):
        copy = shutil.copytree(tmp_path / "whole", tmp_path / "cut", dirs_exist_ok=True)
        (copy / name).write_bytes(whole[:cut])
        exchanges = read(copy).exchanges
        assert all(same(one.request, request) for one, request in zip(exchanges, asked, strict=False))
        lengths.append(len(exchanges))
    assert lengths == sorted(lengths)
    assert lengths[0] == 0
    assert lengths[-1] >= len(asked) - 1 if name == "session.jsonl" else 2


def test_a_line_that_is_damaged_is_said(tmp_path: Path) -> None:
    play(tmp_path, MIXED[3:6])
    session = tmp_path / "session.jsonl"
    session.write_bytes(session.read_bytes().replace(b'"answer":1', b'"answer"}1'))
    with pytest.raises(SourceError, match=r"session\.jsonl is damaged \(JSONDecodeError"):
        read(tmp_path)


def test_what_belongs_to_no_request_changes_none(tmp_path: Path) -> None:
    play(tmp_path, MIXED[3:6])
    session = tmp_path / "session.jsonl"
    before = [one.refusal for one in read(tmp_path).exchanges]
    session.write_bytes(session.read_bytes() + b'{"refusal":"whose?","request":-1,"t":9}\n' + b'{"answer":-1,"t":9}\n')
    assert [one.refusal for one in read(tmp_path).exchanges] == before


def test_what_is_no_recording_and_one_of_another_form_are_said(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"is no recording: it has no session\.jsonl"):
        read(tmp_path)
    (tmp_path / "session.jsonl").write_text(json.dumps({"recording": 7}) + "\n")
    with pytest.raises(SourceError, match="of form 7; this version of masklet reads form 1"):
        read(tmp_path)


_DIES = """
import os, signal, sys, time
import numpy as np
from masklet import Tracker
from masklet.testing import MockTransport
from tests.fakes.toy_tracker import ToyTracker
video = Tracker("test:1", transport=MockTransport(ToyTracker()), record=sys.argv[1]).open()
video.prompt(1, points=[(3, 4)])
for seed in range(5):
    video.track(np.random.default_rng(seed).integers(0, 256, (24, 32, 3), dtype=np.uint8))
until = time.monotonic() + 60
while video._video._connection._stream._writer._waiting and time.monotonic() < until:  # what lies in the process's memory dies with it
    pass
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_recording_of_a_process_that_was_killed_is_whole(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", _DIES, tmp_path], cwd=root, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, check=False)
    assert done.returncode == -signal.SIGKILL
    exchanges = read(tmp_path).exchanges
    assert [one.answer.frame_index for one in exchanges if one.answer] == list(range(5))
    assert np.array_equal(exchanges[4].request.tensors["FRAME"], pixels(4).reshape(1, -1))


def test_a_recording_that_cannot_be_written_ends_and_the_video_goes_on(tmp_path: Path, caplog, monkeypatch) -> None:
    monkeypatch.setattr(recorder.Writer, "_write_request", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with caplog.at_level(logging.WARNING, "masklet"):
        _, got = play(tmp_path, MIXED)
    assert len(got) == len(MIXED)
    assert caplog.text.count("ends here, and the video goes on") == 1
    assert "No space left on device" in caplog.text


def test_a_disk_that_is_slower_than_the_video_ends_the_recording(tmp_path: Path, caplog, monkeypatch) -> None:
    monkeypatch.setattr(recorder, "_MOST_BYTES", 3 * pixels(0).nbytes)
    monkeypatch.setattr(recorder.Recorder, "_identity", lambda *_: __import__("time").sleep(0.3) or {})
    with caplog.at_level(logging.WARNING, "masklet"):
        _, got = play(tmp_path, [pixels(0)] * 9)
    assert len(got) == 9
    assert "the disk is slower than the video" in caplog.text
    assert len(read(tmp_path).exchanges) < 9


def test_an_array_that_is_used_again_is_recorded_as_it_was_sent(tmp_path: Path) -> None:
    frame = pixels(0)
    with Tracker("test:1", transport=MockTransport(ToyTracker()), record=tmp_path) as tracker, tracker.open() as video:
        for number in range(4):
            frame[:] = number
            video.track(frame)
    assert [int(one.request.tensors["FRAME"][0, 0]) for one in read(tmp_path).exchanges[:4]] == list(range(4))


def test_what_is_written_when_a_process_ends_without_closing_is_whole(tmp_path: Path) -> None:
    program = _DIES.split("while video")[0].replace("video = ", "from masklet.recording import recorder; import time\n"
        "recorder.Recorder._identity = lambda *_: time.sleep(0.5) or {}\nvideo = ")  # fmt: skip
    root = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-c", program, tmp_path], cwd=root, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, check=True)
    assert [one.answer.frame_index for one in read(tmp_path).exchanges if one.answer][:5] == list(range(5))


def test_trackers_that_record_into_one_folder_at_once_have_recordings_of_their_own(tmp_path: Path) -> None:
    def run() -> None:
        with Tracker("test:1", transport=MockTransport(ToyTracker()), record=tmp_path) as tracker:
            for _ in range(8):
                with tracker.open() as video:
                    video.track(pixels(0))

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [read(folder) for folder in folders(tmp_path)]
    assert len({one.exchanges[0].request.video_id for one in found}) == len(found) == 48


def test_a_recording_that_cannot_begin_is_said_and_the_video_goes_on(tmp_path: Path, caplog, monkeypatch) -> None:
    folder = tmp_path / "recording"
    with caplog.at_level(logging.WARNING, "masklet"), Tracker("test:1", transport=MockTransport(ToyTracker()), record=folder) as tracker:
        folder.rmdir()
        folder.write_bytes(b"somebody's file")
        with tracker.open() as video:
            assert [video.track(pixels(seed)).frame_index for seed in range(3)] == [0, 1, 2]
    assert caplog.text.count("nothing is recorded of this video, which goes on") == 1
    with pytest.raises(NotADirectoryError, match="this is a file; choose another name"):
        Tracker("test:1", transport=MockTransport(ToyTracker()), record=folder)
    monkeypatch.setattr(recorder.os, "access", lambda *_: False)
    with pytest.raises(PermissionError, match="choose another folder"):
        Tracker("test:1", transport=MockTransport(ToyTracker()), record=tmp_path / "other")


def test_the_times_of_requests_and_of_the_film_are_those_of_sending(tmp_path: Path) -> None:
    with Tracker("test:1", transport=MockTransport(ToyTracker()), record=tmp_path) as tracker, tracker.open() as video:
        for seed in range(4):
            video.track(file(seed, "JPEG"))
            time.sleep(0.02)
    times = [one.sent_s for one in read(tmp_path).exchanges[:4]]
    assert all(later - earlier >= 0.0199 for earlier, later in itertools.pairwise(times))
    assert [one.time_ms for one in pictures(tmp_path / "frames.mkv")] == [pytest.approx(1000 * seconds, abs=1.01) for seconds in times]


def test_the_thread_that_writes_ends_with_its_video(tmp_path: Path) -> None:
    with Tracker("test:1", transport=MockTransport(ToyTracker()), record=tmp_path) as tracker:
        with tracker.open() as video:
            video.track(pixels(0))
        (writer,) = tracker._recorder._open
        writer._thread.join(60)
        assert not writer._thread.is_alive()
