"""Recordings: what a video asked and got comes back as it was, whatever it sent and wherever the recording ends."""

from __future__ import annotations

import asyncio
import io
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

import av
import numpy as np
import pytest
from PIL import Image

from masklet import AsyncTracker, BadFrame, SourceError, Tracker
from masklet.recording import Recording, folders, read, recorder
from masklet.recording.matroska import pictures
from masklet.testing import MockTransport, Request
from tests.fakes.toy_tracker import ToyTracker

SHAPE = (24, 32)


def pixels(seed: int, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


def file(seed: int, form: str, shape: tuple[int, int] = SHAPE) -> bytes:
    into = io.BytesIO()
    Image.fromarray(pixels(seed, shape)).save(into, form)
    return into.getvalue()


MIXED = [
    *(pixels(seed) for seed in range(3)),
    *(file(seed, "JPEG") for seed in range(3)),
    file(3, "PNG"),
    file(4, "WEBP"),
    file(5, "JPEG", (30, 40)),
    *(pixels(seed, (17, 23)) for seed in range(6, 8)),
    file(8, "JPEG"),
]


def sent(transport: MockTransport) -> list[Request]:
    """What was asked for videos, without the question what the server is."""
    return [request for request in transport.requests if not request.parameters.get("info")]


def same(recorded: Request, request: Request) -> bool:
    parameters = {name: value for name, value in request.parameters.items() if name != "owner"}
    facts = [
        (one.video_id, one.start, one.end, one.parameters)
        for one in (recorded, Request(request.video_id, request.start, request.end, {}, parameters))
    ]
    tensors = recorded.tensors.keys() == request.tensors.keys() and all(
        recorded.tensors[name].dtype == array.dtype and np.array_equal(recorded.tensors[name], array) for name, array in request.tensors.items()
    )
    return facts[0] == facts[1] and tensors


def play(folder: Path, frames: list, **opened: object) -> tuple[MockTransport, list]:
    transport = MockTransport(ToyTracker())
    with Tracker("test:1", transport=transport, record=folder) as tracker, tracker.open(**opened) as video:
        video.prompt(1, points=[(3, 4)])
        got = [video.track(frame) for frame in frames]
        video.prompt(2, mask=np.eye(*np.shape(frames[0])[:2], dtype=bool)) if isinstance(frames[0], np.ndarray) else None
        video.remove(1)
        video.snapshot()
    return transport, got


def check(recording: Recording, transport: MockTransport) -> None:
    asked = sent(transport)
    assert len(recording.exchanges) == len(asked)
    assert all(same(one.request, request) for one, request in zip(recording.exchanges, asked, strict=True))


@pytest.mark.parametrize("frames", [MIXED, MIXED[:3], MIXED[3:6]], ids=["mixed", "pixels", "JPEG files"])
def test_what_was_sent_and_answered_comes_back_as_it_was(tmp_path: Path, frames: list) -> None:
    transport, got = play(tmp_path, frames)
    recording = read(tmp_path)
    check(recording, transport)
    for one, result in zip(recording.exchanges, got, strict=False):
        answer = one.answer
        assert answer is not None
        assert (answer.frame_index, answer.object_ids, answer.rles) == (result.frame_index, result.object_ids, result.rles)
        for name in ("boxes", "scores", "ious"):
            kept, given = getattr(answer, name), getattr(result, name)
            assert kept.dtype == given.dtype == np.float32
            assert np.array_equal(kept, given)
        assert 0 <= one.sent_s <= one.answered_s


def test_asyncio_records_the_same(tmp_path: Path) -> None:
    transport = MockTransport(ToyTracker())

    async def run() -> None:
        async with AsyncTracker("test:1", transport=transport, record=tmp_path) as tracker, tracker.open() as video:
            video.prompt(1, points=[(3, 4)])
            assert [result.frame_index async for result in video.track_many(MIXED)] == list(range(len(MIXED)))

    asyncio.run(run())
    check(read(tmp_path), transport)


def test_several_videos_and_runs_have_recordings_of_their_own(tmp_path: Path) -> None:
    for _ in range(2):
        with Tracker("test:1", transport=MockTransport(ToyTracker()), record=tmp_path) as tracker:
            with tracker.open("one") as one, tracker.open("two") as two:
                for video in (one, two):
                    video.track(pixels(0))
            state = bytes([7, 1])
            tracker.open("three", state=state).close()
    found = folders(tmp_path)
    assert [one.relative_to(tmp_path).as_posix() for one in found] == [".", "2", "3", "4", "5", "6"]
    assert [{one.request.video_id for one in read(folder).exchanges} for folder in found] == 2 * [{"one"}, {"two"}, {"three"}]
    assert read(found[2]).exchanges[0].request.tensors["STATE"].tobytes() == state


def test_players_see_the_films(tmp_path: Path) -> None:
    play(tmp_path, MIXED)
    films = sorted(tmp_path.glob("*.mkv"), key=lambda path: path.stat().st_mtime_ns)
    assert [path.name for path in films] == ["frames.mkv", *(f"frames-{number}.mkv" for number in range(2, 6))]
    with av.open(str(films[0])) as film:
        assert [
            np.array_equal(picture.to_ndarray(format="rgb24"), frame) for picture, frame in zip(film.decode(video=0), MIXED, strict=False)
        ] == 3 * [True]
    with av.open(str(films[1])) as film:
        assert [bytes(packet) for packet in film.demux(video=0) if packet.size] == MIXED[3:6]


def test_refusals_breaks_and_no_secrets_are_written_down(tmp_path: Path) -> None:
    toy = ToyTracker()

    def handler(request: Request):
        return BadFrame("it cannot be decoded. Send another.") if "FRAME_ENCODED" in request.tensors else toy(request)

    headers = {"authorization": "Bearer very-secret"}
    transport = MockTransport(handler)
    with Tracker("test:1", transport=transport, record=tmp_path, headers=headers) as tracker, tracker.open() as video:
        video.track(pixels(0))
        with pytest.raises(BadFrame):
            video.track(b"no picture")
        video.track(pixels(1))
    exchanges = read(tmp_path).exchanges
    assert ["cannot be decoded" in one.refusal for one in exchanges] == [False, True, False, False]
    assert [one.answer is None for one in exchanges] == [False, True, False, False]
    owner = str(sent(transport)[0].parameters["owner"])
    everything = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"very-secret" not in everything
    assert owner.encode() not in everything


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
