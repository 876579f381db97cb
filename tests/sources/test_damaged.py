"""Damaged films: what can be decoded comes under its own index, what cannot is told."""

from __future__ import annotations

import logging

import pytest

from masklet.sources import SourceError, open_source
from tests.sources.drawn import damage, film, number, picture

N = 24


def read(file):
    """Index, picture and time of each frame, and what was skipped."""
    skipped = []
    with open_source(file, skipped=skipped.append) as source:
        frames = [(frame.index, number(frame), round(frame.time_s * 25)) for frame in source]
    return frames, skipped


@pytest.fixture(params=["libx264", "mpeg4"])
def clip(request, tmp_path):
    """A film whose first codec stores frames in another order than they are shown."""
    return film(tmp_path / "clip.mp4", [picture(index) for index in range(N)], request.param)


@pytest.mark.parametrize("packet", [1, 5, 9, 13, N - 3, N - 2, N - 1])
def test_a_damaged_packet_costs_its_frame_and_no_index(clip, packet):
    (lost,) = damage(clip, packet)
    frames, skipped = read(clip)
    indices = [index for index, _, _ in frames]
    told = [one.index for one in skipped]
    assert sorted(indices + told) == list(range(N))
    assert lost in told
    assert len(told) == 1 or lost % 6 == 0, "behind a lost key frame a decoder may need the next one"
    assert [time for _, _, time in frames] == indices
    # Up to five frames before and behind lean on the lost one; the others are whole.
    assert [(index, seen) for index, seen, _ in frames if abs(index - lost) > 5] == [(index, index) for index in indices if abs(index - lost) > 5]
    assert all(one.name == f"{one.index:05}" and "Invalid data" in one.why for one in skipped)


def test_a_film_that_begins_damaged_keeps_its_index(clip):
    damage(clip, 0)
    frames, skipped = read(clip)
    assert [one.index for one in skipped] + [index for index, _, _ in frames] == list(range(N))
    assert skipped[0].index == 0
    assert [time for _, _, time in frames] == [index for index, _, _ in frames]


def test_several_damaged_packets(clip):
    lost = damage(clip, 2, 9, 10, 16, N - 1)
    frames, skipped = read(clip)
    assert {*lost} <= {one.index for one in skipped}
    assert sorted([index for index, _, _ in frames] + [one.index for one in skipped]) == list(range(N))
    assert [time for _, _, time in frames] == [index for index, _, _ in frames]


def test_decoders_that_wait_for_a_key_frame_lose_no_index(tmp_path):
    """HEVC: nothing comes out, and no error, until the next key frame."""
    file = film(tmp_path / "clip.mp4", [picture(index) for index in range(N)], "libx265")
    damage(file, 7)
    frames, skipped = read(file)
    assert sorted([index for index, _, _ in frames] + [one.index for one in skipped]) == list(range(N))
    assert [time for _, _, time in frames] == [index for index, _, _ in frames]


def test_packets_without_times_count_one_by_one(tmp_path):
    file = film(tmp_path / "clip.avi", [picture(index) for index in range(N)], "mpeg4")
    damage(file, 7)
    frames, skipped = read(file)
    assert [one.index for one in skipped] == [7]
    assert [index for index, _, _ in frames] == [index for index in range(N) if index != 7]


def test_a_film_with_nothing_whole_is_an_error(clip):
    damage(clip, *range(N))
    with pytest.raises(SourceError, match="no frame of it could be read"):
        read(clip)


def test_skipped_frames_are_logged_where_nobody_asked(clip, caplog):
    (lost,) = damage(clip, 9)
    with open_source(clip) as source:
        list(source)
    assert f"frame {lost} ({lost:05}) is skipped: it cannot be decoded: Invalid data" in caplog.text


def test_a_film_that_is_cut_off_gives_what_it_has_and_is_told(tmp_path, caplog):
    file = film(tmp_path / "clip.mp4", [picture(index % 30) for index in range(100)])
    data = file.read_bytes()
    at = data.index(b"mdat") + 4
    moov = data.index(b"moov") - 4
    file.write_bytes(data[: at + (moov - at) // 3] + bytes(moov - at - (moov - at) // 3) + data[moov:])
    with caplog.at_level(logging.WARNING), open_source(file) as source:
        frames = list(source)
    assert 10 <= len(frames) < 60
    assert "it is cut off or damaged" in caplog.text or "is skipped" in caplog.text


def test_a_matroska_file_that_is_cut_off_is_told_too(tmp_path, caplog):
    file = film(tmp_path / "clip.mkv", [picture(index % 30) for index in range(100)])
    with caplog.at_level(logging.WARNING), open_source(file) as source:
        assert len(list(source)) == 100
    assert caplog.text == ""
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 3])
    with caplog.at_level(logging.WARNING), open_source(file) as source:
        assert len(list(source)) < 60
    assert "says that it has 4.0 s: it is cut off or damaged" in caplog.text
