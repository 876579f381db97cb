"""DAVIS and MOTS: pictures with one object a pixel."""

from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from masklet.export import ExportError, export
from tests.exports.conftest import SIZE, disc, line

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # in pycocotools, with numpy 2


def expected(objects, numbers) -> np.ndarray:
    """Later objects cover earlier ones."""
    picture = np.zeros(SIZE, dtype=int)
    for object_id, mask in objects.items():
        picture[mask] = numbers[object_id]
    return picture


def test_davis_pictures_are_indexed_and_named_as_the_frames(results, masks, tmp_path):
    done = export(results, "davis", tmp_path / "davis")
    files = sorted((tmp_path / "davis" / "Annotations" / "cups").iterdir())
    assert [file.name for file in files] == [f"img_{index}.png" for index in range(4)]
    for index, file in enumerate(files):
        with Image.open(file) as picture:
            assert (picture.mode, picture.size) == ("P", SIZE[::-1])
            np.testing.assert_array_equal(np.asarray(picture), expected(masks[index], {1: 1, 2: 2, 300: 3}))
            assert picture.getpalette()[: 3 * 5] == [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0, 0, 0, 128]  # of DAVIS
    lost = sum(int((objects[1] & objects[2]).sum()) for objects in masks.values())
    assert lost > 0
    assert "go from 1 to 254: 300 is 3." in done.notes[0]
    assert f"objects overlap in 4 frames, and the format has one object a pixel: {lost} pixels of masks are lost" in done.notes[1]


def test_nothing_is_told_where_nothing_is_lost(written, tmp_path):
    assert export(written([line(0, {1: disc(9, 9, 4), 2: disc(30, 30, 4)})]), "davis", tmp_path / "davis").notes == ()


def test_davis_has_numbers_for_254_objects(written, tmp_path):
    one = np.zeros(SIZE, dtype=bool)
    many = dict.fromkeys(range(1, 256), one)
    folder = written([line(0, many)])
    with pytest.raises(ExportError, match="255 objects, but the format has numbers for 254"):
        export(folder, "davis", tmp_path / "out")
    export(folder, "davis", tmp_path / "out", objects=range(2, 256))
    assert (tmp_path / "out" / "Annotations" / "cups" / "00000.png").is_file()


def test_a_frame_without_objects_has_an_empty_picture_of_its_size(written, tmp_path):
    """Also in older results, whose lines do not say the size."""
    old = [{"frame": 0, "objects": []}, {key: line(1, {1: disc(9, 9, 4)})[key] for key in ("frame", "objects")}]
    export(written(old), "davis", tmp_path / "out")
    with Image.open(tmp_path / "out" / "Annotations" / "cups" / "00000.png") as picture:
        assert picture.size == SIZE[::-1]
        assert not np.asarray(picture).any()


def test_two_frames_that_would_share_a_file_are_refused(written, tmp_path):
    folder = written([line(0, {}, "a.jpg"), line(1, {}, "a.png")])
    with pytest.raises(ExportError, match=r"the frames a\.jpg and a\.png would share the file a"):
        export(folder, "davis", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_mots_pictures_are_class_times_1000_plus_instance(results, masks, tmp_path):
    done = export(results, "mots", tmp_path / "mots", names={1: "car", 2: "pedestrian", 300: "boat"})
    for index in range(4):
        with Image.open(tmp_path / "mots" / "instances" / "cups" / f"{index:06}.png") as picture:
            assert picture.mode == "I;16"
            np.testing.assert_array_equal(np.asarray(picture), expected(masks[index], {1: 1001, 2: 2002, 300: 3300}))
    assert done.notes[0].startswith("classes: boat is 3. TrackEval scores 1 and 2")


def test_the_text_of_mots_is_read_by_the_rule_of_trackeval(results, masks, tmp_path):
    """Six words a line, RLE of pycocotools, and no two masks of a frame may share a pixel."""
    export(results, "mots", tmp_path / "mots", names={1: "car", 2: "car", 300: "car"})
    by_frame: dict[int, list[tuple[int, dict]]] = {}
    for text in (tmp_path / "mots" / "instances_txt" / "cups.txt").read_text().splitlines():
        frame, number, kind, height, width, counts = text.split(" ")
        assert kind == "1"
        by_frame.setdefault(int(frame), []).append((int(number), {"size": [int(height), int(width)], "counts": counts.encode()}))
    assert sorted(by_frame) == [0, 1, 2, 3]
    for index, regions in by_frame.items():
        picture = expected(masks[index], {1: 1001, 2: 1002, 300: 1300})
        assert sorted(number for number, _ in regions) == sorted(set(np.unique(picture)) - {0})
        for number, region in regions:
            np.testing.assert_array_equal(coco_mask.decode(region), picture == number)
        merged = regions[0][1]
        for _, region in regions[1:]:
            assert coco_mask.area(coco_mask.merge([merged, region], intersect=True)) == 0
            merged = coco_mask.merge([merged, region], intersect=False)


def test_an_instance_over_999_gets_another_number(written, tmp_path):
    done = export(written([line(0, {5000: disc(9, 9, 4), 0: disc(30, 30, 4)})]), "mots", tmp_path / "out", names={0: "car", 5000: "car"})
    assert done.notes == ("objects have other numbers there, for the format's go from 0 to 999: 5000 is 1.",)
    with Image.open(tmp_path / "out" / "instances" / "cups" / "000000.png") as picture:
        assert (np.asarray(picture)[9, 9], np.asarray(picture)[30, 30]) == (1001, 1000)


def test_mots_has_61_classes_of_other_names_besides_the_region_that_is_ignored(written, tmp_path):
    results = written([line(0, {object_id: disc(9, 9, 4) if object_id < 62 else disc(30, 30, 4) for object_id in range(1, 64)})])
    names = {1: "car", 2: "pedestrian", **{object_id: f"thing {object_id}" for object_id in range(3, 64)}}
    with pytest.raises(ExportError, match="62 names besides car and pedestrian; 16 bits hold 61 more classes"):
        export(results, "mots", tmp_path / "mots", names={**names, 2: "thing 2"})
    (note, *_) = export(results, "mots", tmp_path / "mots", names=names).notes
    numbers = [int(number) for number in re.findall(r"thing \d+ is (\d+)", note)]
    assert numbers == [number for number in range(3, 65) if number != 10]
