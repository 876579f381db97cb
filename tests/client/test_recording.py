"""Recordings: what a video asked and got comes back as it was, whatever it sent."""

from __future__ import annotations

import asyncio
from pathlib import Path

import av
import numpy as np
import pytest

from masklet import AsyncTracker, BadFrame, Tracker
from masklet.recording import folders, read
from masklet.testing import MockTransport, Request
from tests.client.recorded import MIXED, check, pixels, play, sent
from tests.fakes.toy_tracker import ToyTracker


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
