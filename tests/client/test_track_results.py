"""What `masklet track` writes: names, times, sizes, ids, frames that could not be read."""

from __future__ import annotations

import functools
import json
import re
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from tqdm import tqdm

from masklet import Tracker, rle
from masklet.cli.track import _BAR
from masklet.cli.writers import numbers
from masklet.testing import MockTransport, answer
from tests.client.track_runs import SIZE, folder_of, lines, picture, track
from tests.fakes.toy_tracker import toy_mask


def pngs(out: Path) -> list[str]:
    return sorted(file.name for file in (out / "masks").iterdir())


def test_lines_and_pngs_have_the_names_of_the_frames_of_a_folder(server, tmp_path):
    frames = folder_of(tmp_path / "frames", ["dog_2.png", "dog_10.jpg", "dog.30.jpeg"])
    assert track(frames, tmp_path / "out", "--point", "1,2") == 0
    assert [(line["frame"], line["name"], line["size"]) for line in lines(tmp_path / "out")] == [
        (0, "dog.30.jpeg", [48, 64]),
        (1, "dog_2.png", [48, 64]),
        (2, "dog_10.jpg", [48, 64]),
    ]
    assert pngs(tmp_path / "out") == ["dog.30.png", "dog_10.png", "dog_2.png"]


def test_frames_of_one_name_do_not_share_a_png(server, tmp_path):
    frames = folder_of(tmp_path / "frames", ["a.jpg", "a.png", "b.jpg"])
    assert track(frames, tmp_path / "out", "--point", "1,2") == 0
    assert pngs(tmp_path / "out") == ["a.png", "a.png.png", "b.png"]


@pytest.fixture
def uneven(tmp_path: Path) -> tuple[Path, list[float]]:
    """A film of a variable rate with a gap."""
    times, file = [0.0, 0.04, 0.1, 0.12, 1.5, 1.54], tmp_path / "uneven.mp4"
    with av.open(str(file), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for index, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(picture(index), format="rgb24")
            frame.pts, frame.time_base = round(1000 * time), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file, times


def test_times_are_those_of_the_film(uneven, server, tmp_path):
    file, times = uneven
    assert track(file, tmp_path / "out", "--point", "1,2") == 0
    np.testing.assert_allclose([line["time"] for line in lines(tmp_path / "out")], times, atol=1e-3)
    assert pngs(tmp_path / "out") == [f"{index:05}.png" for index in range(6)]
    with av.open(str(tmp_path / "out" / "overlay.mp4")) as film:
        np.testing.assert_allclose([frame.time for frame in film.decode(video=0)], times, atol=1e-3)


def test_fps_makes_times_even(uneven, server, tmp_path):
    assert track(uneven[0], tmp_path / "out", "--point", "1,2", "--fps", "10") == 0
    assert [line["time"] for line in lines(tmp_path / "out")] == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    with av.open(str(tmp_path / "out" / "overlay.mp4")) as film:
        np.testing.assert_allclose([frame.time for frame in film.decode(video=0)], np.arange(6) / 10, atol=1e-6)


def test_a_size_that_changes_goes_on(server, tmp_path):
    frames = folder_of(tmp_path / "frames", ["0.png", "1.png"])
    for index in (2, 3):
        Image.fromarray(picture(index, (96, 128))).save(frames / f"{index}.png")
    assert track(frames, tmp_path / "out", "--point", "1,2") == 0
    assert [line["objects"][0]["mask"]["size"] for line in lines(tmp_path / "out")] == [[48, 64]] * 2 + [[96, 128]] * 2
    assert [np.asarray(Image.open(tmp_path / "out" / "masks" / f"{index:05}.png")).shape for index in range(4)] == [(48, 64)] * 2 + [(96, 128)] * 2
    with av.open(str(tmp_path / "out" / "overlay.mp4")) as film:
        assert [(frame.height, frame.width) for frame in film.decode(video=0)] == [SIZE] * 4


def test_a_damaged_frame_is_skipped_and_told_and_keeps_its_index(server, tmp_path, capsys):
    frames = folder_of(tmp_path / "frames", [f"{index:02}.jpg" for index in range(6)])
    for damaged in ("03.jpg", "05.jpg"):
        (frames / damaged).write_bytes((frames / damaged).read_bytes()[:300])
    assert track(frames, tmp_path / "out", "--point", "1,2") == 0
    said = capsys.readouterr()
    assert "frame 3 (03.jpg) is skipped" in said.err
    assert "4 frames (2 skipped)" in said.out
    found = lines(tmp_path / "out")
    assert [line["frame"] for line in found] == list(range(6))
    assert [line["name"] for line in found if "skipped" in line] == ["03.jpg", "05.jpg"]
    assert all("objects" not in line and line["skipped"] for line in found if line["frame"] in (3, 5))
    assert pngs(tmp_path / "out") == ["00000.png", "00001.png", "00002.png", "00004.png"]


def test_ids_above_255_get_free_numbers_in_pngs_and_it_is_said_which(server, tmp_path, capsys):
    frames = folder_of(tmp_path / "frames", ["0.png", "1.png"])
    words = ["--point", "300:1,2", "--point", "1:1,2", "--point", "70000@1:1,2", "--point", "255:1,2"]
    assert track(frames, tmp_path / "out", *words) == 0
    assert json.loads((tmp_path / "out" / "objects.json").read_text()) == {"2": 300, "3": 70000}
    assert "object 300 is 2, object 70000 is 3" in capsys.readouterr().out
    assert [said["object"] for said in lines(tmp_path / "out")[1]["objects"]] == [300, 1, 255, 70000]
    expected = np.zeros(SIZE, np.uint8)
    for number, object_id in ((2, 300), (1, 1), (255, 255), (3, 70000)):  # the last covers the others
        expected[toy_mask(SIZE, 1, object_id)] = number
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out" / "masks" / "00001.png")), expected)


def test_ids_up_to_255_are_their_own_numbers(server, tmp_path):
    frames = folder_of(tmp_path / "frames", ["0.png"])
    assert track(frames, tmp_path / "out", "--point", "255:1,2", "--point", "7:1,2") == 0
    assert not (tmp_path / "out" / "objects.json").exists()
    assert set(np.unique(np.asarray(Image.open(tmp_path / "out" / "masks" / "00000.png")))) == {0, 7, 255}


def test_an_object_without_a_pixel_where_it_is_prompted_is_told_once_with_what_is_lost(tmp_path, capsys, monkeypatch, recwarn):
    def handler(request):
        size = tuple(request.tensors["FRAME_SIZE"][0].tolist()) if "FRAME" in request.tensors else SIZE
        return answer(request, {4: np.zeros(size, np.bool_)}, request.parameters.get("frame_index", 0))

    monkeypatch.setattr("masklet.cli.track.Tracker", functools.partial(Tracker, transport=MockTransport(handler)))
    frames = folder_of(tmp_path / "frames", ["0.png", "1.png"])
    assert track(frames, tmp_path / "out", "--point", "4:1,2", "--max-side", 32) == 0
    said = capsys.readouterr().err
    assert said.count("object 4 has no pixel on frame 0, where it was prompted") == 1
    assert "a cell of the model (here about 8 x 6 pixels, width x height)" in said, "of the video, not of what was sent"
    assert [str(warned.message) for warned in recwarn if "no pixel" in str(warned.message)] == []
    assert rle.decode(lines(tmp_path / "out")[0]["objects"][0]["mask"]).sum() == 0


def test_progress_has_frames_per_second_and_the_time_that_is_left(server, tmp_path, capsys):
    frames = folder_of(tmp_path / "frames", [f"{index}.png" for index in range(8)])
    assert track(frames, tmp_path / "out", "--point", "1,2") == 0
    assert re.search(r"8/8 \[\d\d:\d\d<\d\d:\d\d, +[\d.]+ frames/s\]", capsys.readouterr().err)


def test_progress_of_a_slow_model_is_in_frames_per_second_too():
    assert "0.25 frames/s" in tqdm.format_meter(n=5, total=50, elapsed=20, unit=" frames", bar_format=_BAR)
    assert "<03:00" in tqdm.format_meter(n=5, total=50, elapsed=20, unit=" frames", bar_format=_BAR)


def test_a_number_of_pngs_belongs_to_one_object_also_after_more_are_added():
    assert numbers([1, 300], {}) == {1: 1, 300: 2}
    assert numbers([1, 300], {300: 1}) == {300: 1, 1: 2}, "300 was alone when it got its number"
