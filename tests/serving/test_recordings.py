"""Recordings of a whole server of nano, sent again: equal where nothing changed, and what changed is named."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from masklet import AsyncTracker, BadFrame, Tracker, Video
from masklet.cli import main
from masklet.families import NANO
from masklet.recording import folders, read
from masklet.recording.replay import Comparison, replay
from masklet.sources import newest
from masklet.transport.grpc_transport import GrpcTransport
from masklet_build import nano
from masklet_build.cli import main as masklet_build
from masklet_build.repository.assemble import assemble
from masklet_build.serve import Server
from tests.serving.clips import clip, encoded

pytestmark = pytest.mark.server

COUNT = 14
PIXELS = list(clip(COUNT, 144, 256, seed=5))
FILES = [encoded(frame, "JPEG") for frame in PIXELS]
BROKEN_AT = 3  # the first frame on which a bank can read two memories in the wrong order


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return assemble(NANO.name, nano.ENGINES, tmp_path_factory.mktemp("nano") / "repository")


@contextmanager
def running(repository: Path, python: Path) -> Iterator[Server]:
    with Server(repository, python=python, grpc_port=0, http_port=0, metrics_port=0, exit_timeout_s=1) as server:
        yield server


@pytest.fixture(scope="module")
def server(repository: Path, serving_python: Path) -> Iterator[Server]:
    with running(repository, serving_python) as server:
        yield server


def begin(video: Video) -> None:
    video.prompt(1, points=[(60, 60)])
    video.prompt(2, box=(150, 40, 220, 110))


@pytest.fixture(scope="module")
def recording(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video in which everything happens: pixels and files, prompts in the middle, a refusal, a removal, a gap, a snapshot, a refinement."""
    folder = tmp_path_factory.mktemp("recording")
    with Tracker(server.grpc_url, record=folder) as tracker, tracker.open() as video:
        begin(video)
        for index, frame in enumerate(FILES[:6]):
            video.track(frame, logits=index == 2, snapshot=index == 3)
        with pytest.raises(BadFrame):
            video.track(b"\xff\xd8\xff\xd9")
        video.prompt(1, points=[(70, 66)], labels=[0], append=True)
        video.track(FILES[5], refine=True)
        video.prompt(3, points=[(100, 110)])
        video.track(PIXELS[6])
        video.remove(2)
        for index in range(7, 11):
            video.track(PIXELS[index], frame_index=index + 2, masks="none" if index == 8 else None, overlap="exclusive")
    return folder


def sent_again(recording: Path, server: Server) -> Comparison:
    return replay(read(recording), GrpcTransport(server.grpc_url))


def test_on_the_same_server_everything_is_the_same_to_the_last_bit(recording: Path, server: Server) -> None:
    compared = sent_again(recording, server)
    assert str(compared) == f"{compared.answers} answers, {compared.masks} masks: all equal"
    assert compared.numbers == 0
    assert compared.answers == len(read(recording).exchanges)
    assert compared.masks == 6 * 2 + 2 + 3 + 3 * 2


def test_the_command_says_so_and_its_page_and_json_are_whole(recording: Path, server: Server, tmp_path: Path, capsys) -> None:
    words = ["replay", str(recording), "--url", server.grpc_url, "--html", str(tmp_path / "page.html"), "--json", str(tmp_path / "all.json")]
    assert main(words) == 0
    assert "all equal" in capsys.readouterr().out
    assert json.loads((tmp_path / "all.json").read_text())[0]["differences"] == []
    assert "all equal" in (tmp_path / "page.html").read_text()


def test_another_precision_is_found_and_said(recording: Path, serving_python: Path, tmp_path: Path, capsys) -> None:
    other = assemble(NANO.name, nano.ENGINES, tmp_path / "bf16", precision="bf16")
    with running(other, serving_python) as server:
        page = tmp_path / "page.html"
        assert main(["replay", str(recording), "--url", server.grpc_url, "--html", str(page)]) == 1
    told = capsys.readouterr()
    assert "was recorded with another server: precision was fp32, is bf16" in told.err
    assert re.search(r"masks equal, lowest IoU \S+, \d+ differences\. The first: frame \d+, object \d: the mask has IoU 0\.9", told.out)
    assert page.read_text().count("<img src='data:image/jpeg;base64,") >= 3


def test_a_flipped_temporal_index_is_found_at_the_first_frame_that_shows_it(
    recording: Path, repository: Path, serving_python: Path, tmp_path: Path
) -> None:
    broken = shutil.copytree(repository, tmp_path / "broken", symlinks=False)
    policy = broken / "memory_bank/1/masklet_bank/policies/official.py"
    before = policy.read_text()
    after = before.replace("(earlier, rank - 1)", "(earlier, last_row - rank)")
    assert after != before
    policy.unlink()
    policy.write_text(after)
    with running(broken, serving_python) as server:
        compared = sent_again(recording, server)
    first = compared.differences[0]
    assert first.frame_index is not None
    assert 1 <= first.frame_index <= BROKEN_AT, first.text
    assert compared.equal < compared.masks


def test_asyncio_pipelined_and_at_its_own_times(server: Server, tmp_path: Path) -> None:
    async def play() -> None:
        async with AsyncTracker(server.grpc_url, record=tmp_path) as tracker, tracker.open() as video:
            begin(video)
            assert [one.frame_index async for one in video.track_many(FILES)] == list(range(COUNT))

    asyncio.run(play())
    for paced in (False, True):
        compared = replay(read(tmp_path), GrpcTransport(server.grpc_url), at_recorded_times=paced)
        assert (compared.differences, compared.masks) == ([], 2 * COUNT)


def test_a_resilient_video_has_a_recording_of_each_server(repository: Path, server: Server, serving_python: Path, tmp_path: Path) -> None:
    with running(repository, serving_python) as doomed:
        tracker = Tracker([doomed.grpc_url, server.grpc_url], record=tmp_path)
        with tracker, tracker.open(resilient=True) as video:
            begin(video)
            for index, frame in enumerate(FILES):
                if index == 9:
                    doomed.stop(graceful=False)
                assert video.track(frame).frame_index == index
    one, other = map(read, folders(tmp_path))
    assert [one.identity["url"], other.identity["url"]] == [doomed.grpc_url, server.grpc_url]
    assert one.broken
    assert "STATE" in other.exchanges[0].request.tensors
    for recording in (one, other):
        compared = replay(recording, GrpcTransport(server.grpc_url))
        assert compared.differences == []
        assert compared.masks > 0


def test_a_camera_that_was_followed_is_replayed_with_its_gaps(server: Server, tmp_path: Path) -> None:
    with Tracker(server.grpc_url, record=tmp_path) as tracker, newest(iter(PIXELS)) as source, tracker.open() as video:
        begin(video)
        indices = [one.frame_index for one in video.follow(source)]
    recording = read(tmp_path)
    assert [one.answer.frame_index for one in recording.exchanges if one.answer and one.answer.frame_index >= 0][: len(indices)] == indices
    assert sent_again(tmp_path, server).differences == []


def test_a_recording_is_scored_as_a_clip(recording: Path, server: Server, tmp_path: Path) -> None:
    words = ["evaluate", "nano", "--url", server.grpc_url, "--recordings", str(recording), "--prompt", "mask", "--out", str(tmp_path)]
    assert masklet_build([*words]) == 0
    made = json.loads((tmp_path / "quality.json").read_text())
    assert "1 recording, 10 frames: what is called true is what was answered" in made["dataset"]
    (tracked,) = [row["JF"] for row in made["rows"] if row["method"] == "tracked"]
    assert 0.5 < tracked <= 1, "objects prompted by the recorded masks are tracked about as they were"


def test_what_no_server_takes_is_an_error_and_not_a_difference(recording: Path, capsys) -> None:
    assert main(["replay", str(recording), "--url", "127.0.0.1:1", "--timeout-s", "2"]) == 1
    assert "127.0.0.1:1" in capsys.readouterr().err


def test_a_recording_without_an_answer_is_no_success(recording: Path, server: Server, tmp_path: Path, capsys) -> None:
    (tmp_path / "session.jsonl").write_bytes((recording / "session.jsonl").read_bytes().split(b"\n")[0] + b"\n")
    assert main(["replay", str(tmp_path), "--url", server.grpc_url, "--header", "x-key=1"]) == 1
    told = capsys.readouterr()
    assert "no answer to compare" in told.out
    assert "holds no answer to compare: 0 requests" in told.err
