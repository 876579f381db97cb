"""What is read of masks.jsonl, whoever wrote it, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from masklet.cli import main
from masklet.export import FORMATS, ExportError, export
from tests.exports.conftest import SIZE, disc, line

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # in pycocotools, with numpy 2

ONE = {1: disc(20, 20, 9)}


def images(path) -> list[str]:
    return [entry["file_name"] for entry in COCO(str(path)).imgs.values()]


def test_the_file_itself_may_be_named(results, tmp_path):
    assert export(results / "masks.jsonl", "coco", tmp_path / "out.json").frames == 4


def test_lines_of_older_results_have_default_names(written, tmp_path):
    old = [{key: line(index, ONE)[key] for key in ("frame", "objects")} for index in (0, 7)]
    export(written(old), "coco", tmp_path / "out.json")
    assert images(tmp_path / "out.json") == ["00000.jpg", "00007.jpg"]


def test_older_results_get_the_names_of_the_folder_that_was_tracked(written, tmp_path):
    pytest.importorskip("masklet.sources.opening")
    (tmp_path / "frames").mkdir()
    for name in ("b2.png", "b10.png"):
        Image.fromarray(np.zeros((*SIZE, 3), dtype=np.uint8)).save(tmp_path / "frames" / name)
    old = [{key: line(index, ONE)[key] for key in ("frame", "objects")} for index in (0, 1)]
    export(written(old), "coco", tmp_path / "out.json", video=tmp_path / "frames")
    assert images(tmp_path / "out.json") == ["b2.png", "b10.png"]


def test_skipped_frames_are_left_out_and_counted(written, tmp_path):
    folder = written([line(0, ONE), {"frame": 1, "name": "00001", "skipped": "damaged"}, line(2, ONE)])
    done = export(folder, "davis", tmp_path / "out")
    assert done.frames == 2
    assert done.notes == ("1 frames that were skipped when they were tracked are left out.",)
    assert [path.name for path in sorted((tmp_path / "out" / "Annotations" / "cups").iterdir())] == ["00000.png", "00002.png"]


def test_a_last_line_that_is_not_whole_is_left_out_and_told(written, tmp_path):
    done = export(written([line(0, ONE), json.dumps(line(1, ONE))[:-30]]), "coco", tmp_path / "out.json")
    assert (done.frames, len(done.notes)) == (1, 1)
    assert "the last line is not whole" in done.notes[0]


def test_a_last_line_without_its_end_that_is_whole_counts(written, tmp_path):
    done = export(written([line(0, ONE), json.dumps(line(1, ONE))]), "coco", tmp_path / "out.json")
    assert (done.frames, done.notes) == (2, ())


def test_of_two_lines_about_a_frame_the_later_counts_and_the_order_is_that_of_frames(written, tmp_path):
    """As after a correction, and for videos that were tracked backwards."""
    folder = written([line(2, ONE), line(1, ONE), line(2, {1: disc(30, 40, 5)}), line(0, ONE)])
    assert export(folder, "coco", tmp_path / "out.json").frames == 3
    coco = COCO(str(tmp_path / "out.json"))
    assert list(coco.imgs) == [1, 2, 3]
    (annotation,) = coco.imgToAnns[3]
    np.testing.assert_array_equal(coco.annToMask(annotation), disc(30, 40, 5))


def test_a_film_in_place_of_its_results_is_no_text(tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"\x00\x00\x00 ftypisom" + bytes(range(255, 0, -1)))
    with pytest.raises(ExportError) as raised:
        export(tmp_path / "clip.mp4", "coco", tmp_path / "out.json")
    advice = "Give the folder that masklet track wrote, or its masks.jsonl; the video goes with --video."
    assert str(raised.value) == f"line 1 of {tmp_path / 'clip.mp4'} is no text. {advice}"


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([line(0, ONE), '{"frame": 1\n', line(2, ONE)], "line 2 of .* is none of masklet track"),
        ([{"frame": "1", "objects": []}], "line 1 of .* is none of masklet track"),
        ([{"frame": 0, "objects": [{"mask": {}}]}], "line 1 of .* is none of masklet track"),
        ([{"frame": 0, "objects": []}], "says how large the frames are"),
        ([], "holds no frame"),
        ([{"frame": 0, "skipped": "damaged"}], "holds no frame"),
        ([line(0, ONE) | {"size": [10, 10]}], r"a mask in line 1 .*\(frame 0\) cannot be read: .*frame's size \[10, 10\]"),
        (
            [line(0, {}) | {"objects": [{"object": 1, "mask": {"size": list(SIZE), "counts": "zz"}, "score": 1}]}],
            r"a mask in line 1 .*\(frame 0\) cannot be read: the counts",
        ),
    ],
)
def test_what_cannot_be_read_is_said_with_its_line_and_leaves_nothing(written, tmp_path, lines, says):
    folder = written(lines)
    with pytest.raises(ExportError, match=says):
        export(folder, "coco", tmp_path / "out.json")
    assert [path.name for path in tmp_path.iterdir()] == ["cups"]


def test_objects_can_be_chosen_and_unknown_ones_are_refused_with_those_there_are(results, tmp_path):
    assert export(results, "coco", tmp_path / "out.json", objects=[300]).objects == 1
    assert {entry["track_id"] for entry in COCO(str(tmp_path / "out.json")).anns.values()} == {300}
    for said in ({"objects": [1, 4]}, {"names": {4: "cup"}}):
        with pytest.raises(ExportError, match=r"the results have no object 4\. Objects: 1, 2, 300\."):
            export(results, "coco", tmp_path / "other.json", **said)


@pytest.mark.parametrize("format", [name for name in FORMATS if name != "webm"])
def test_what_is_there_is_never_replaced(results, tmp_path, format):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("old")
    with pytest.raises(ExportError, match="exists already"):
        export(results, format, tmp_path / "out")
    (tmp_path / "empty").mkdir()
    if FORMATS[format].folder:
        export(results, format, tmp_path / "empty")
        assert any((tmp_path / "empty").iterdir())
    assert (tmp_path / "out" / "precious").read_text() == "old"


def test_results_that_are_not_there_and_formats_that_there_are_not(tmp_path):
    with pytest.raises(ExportError, match=r"there are no results: .*absent is no file\. Give the folder that masklet track wrote"):
        export(tmp_path / "absent", "coco", tmp_path / "out")
    with pytest.raises(ExportError, match=r"there is no format 'voc'\. Formats: coco, ytvis"):
        export(tmp_path, "voc", tmp_path / "out")


def test_the_command_exports_and_tells(results, tmp_path, capsys):
    words = ["export", str(results), "--format", "davis", "--out", str(tmp_path / "out")]
    assert main([*words, "--name", "1=a cup", "--object", "1", "--object", "2"]) == 0
    said = capsys.readouterr()
    assert said.out == f"4 frames, 2 objects: {tmp_path}/out\n"
    assert said.err.startswith("note: objects overlap in 4 frames")
    assert main(words) == 1
    assert "exists already" in capsys.readouterr().err


def test_wrong_usage_ends_with_2(tmp_path):
    for words in (["--format", "voc"], ["--format", "coco", "--name", "cup"], ["--format", "coco", "--fps", "0"]):
        with pytest.raises(SystemExit) as left:
            main(["export", str(tmp_path), "--out", "x", *words])
        assert left.value.code == 2


def test_what_lies_beside_the_export_stays(results, tmp_path):
    (tmp_path / "made.part").mkdir()
    (tmp_path / "made.part" / "mine").write_text("mine")
    export(results, "davis", tmp_path / "made")
    assert (tmp_path / "made.part" / "mine").read_text() == "mine"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["cups", "made", "made.part"]


def test_the_empty_folder_that_somebody_is_in_can_be_filled(results, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    export(results, "yolo", ".")
    assert sorted(file.name for file in Path.cwd().iterdir()) == ["data.yaml", "labels"]
