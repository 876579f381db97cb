"""A bank that is told to drain by a file: nobody new, and everybody who is there goes on and knows."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from masklet.errors import NotOwner, ServerBusy
from masklet_bank.service import Service
from tests.fakes.bank_driver import VARIANT, Client, RecordingStages, click, service

STRANGER = 65534  # another user


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "draining"


@pytest.fixture
def bank(file: Path) -> Service:
    return service(RecordingStages(), drain_file=file, max_videos=3)


def test_a_draining_bank_refuses_whoever_is_new_and_takes_them_again_later(bank: Service, file: Path) -> None:
    live = Client(bank, 1)
    live.send(click(1, (10, 20)))
    state = live.send(control=True, snapshot=True)["SNAPSHOT"]
    file.touch()
    for newcomer in ({}, {"restore": state, "control": True}):
        with pytest.raises(ServerBusy, match=r"draining: it will stop.*another server"):
            Client(bank, 2).send(**newcomer)
    with pytest.raises(ServerBusy, match="draining"):
        Client(bank, 1).send()  # a new video in the place of one's own is new too
    assert live.send()["FRAME_INDEX"] == 1, "a refused START leaves the video before it alone"
    assert len(bank.videos) == 1
    file.unlink()
    assert Client(bank, 2).send(control=True, restore=state)["DRAINING"] == 0


def test_a_draining_bank_says_whose_an_id_is_before_it_says_that_it_drains(bank: Service, file: Path) -> None:
    """Who hears ServerBusy frees the id with END, which Triton takes from anybody; who hears NotOwner leaves it alone."""
    live = Client(bank, "camera")
    live.send(click(1, (10, 20)), owner="me")
    file.touch()
    with pytest.raises(NotOwner):
        Client(bank, "camera").send(owner="you")
    assert live.send(owner="me")["OBJECT_IDS"].tolist() == [1]


def test_live_videos_of_a_draining_bank_go_on_and_are_told(bank: Service, file: Path) -> None:
    twin, live = Client(service(RecordingStages())), Client(bank)
    for frame in range(6):
        if frame == 3:
            file.touch()
        prompts = [click(1, (10, 20))] if frame == 0 else []
        expected, got = twin.send(*prompts), live.send(*prompts)
        assert got.pop("DRAINING").tolist() == [frame >= 3]
        assert all(np.array_equal(got[name], expected[name]) for name in got if name != "ENVELOPE")
    assert live.send(control=True, end=True)["DRAINING"] == 1
    assert len(bank.videos) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_file_that_a_stranger_made_drains_nobody(bank: Service, file: Path, tmp_path: Path, kind: str) -> None:
    ours = tmp_path / "ours"
    ours.touch()
    file.symlink_to(ours) if kind == "link" else file.touch()
    os.chown(file, STRANGER, STRANGER, follow_symlinks=False)
    assert Client(bank, 1).send()["DRAINING"] == 0
    os.chown(file, os.geteuid(), -1, follow_symlinks=False)
    with pytest.raises(ServerBusy, match="draining"):
        Client(bank, 2).send()


@pytest.mark.skipif(os.geteuid() != 0, reason="root's file, only root can make")
def test_roots_file_drains_the_server_of_an_ordinary_user(bank: Service, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: STRANGER)
    file.touch()
    with pytest.raises(ServerBusy, match="draining"):
        Client(bank, 1).send()


def test_without_a_file_a_bank_never_drains() -> None:
    assert Client(service(RecordingStages(), drain_file="")).send()["DRAINING"] == 0


def test_a_video_of_one_request_is_answered_by_a_draining_and_by_a_full_bank(bank: Service, file: Path) -> None:
    for video in (1, 2, 3):
        Client(bank, video).send()
    file.touch()
    answer = Client(bank, 9).send(click(1, (10, 20)), end=True)
    assert (answer["OBJECT_IDS"].tolist(), answer["DRAINING"].tolist()) == ([1], [1])
    assert len(bank.videos) == 3
    with pytest.raises(ServerBusy, match="draining"):
        Client(bank, 9).send(click(1, (10, 20)))


def test_a_video_of_one_request_finds_no_memory_where_there_is_none() -> None:
    bank = service(RecordingStages(), max_bytes=VARIANT.object_bytes() * 3 // 2)
    Client(bank, 1).send(click(1, (10, 20)))
    assert Client(bank, 2).send(end=True)["OBJECT_IDS"].tolist() == []
    with pytest.raises(ServerBusy, match="objects of this request"):
        Client(bank, 2).send(click(1, (10, 20)), end=True)
