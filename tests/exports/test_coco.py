"""COCO and YouTube-VIS: read by pycocotools, masks byte for byte those of the results."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from masklet.export import ExportError, export
from tests.exports.conftest import SIZE, disc, line

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # in pycocotools, with numpy 2


@pytest.fixture
def coco(results, tmp_path):
    done = export(results, "coco", tmp_path / "out.json", names={1: "cup", 300: "cup"})
    assert (done.frames, done.objects, done.notes) == (4, 3, ())
    return COCO(str(tmp_path / "out.json"))


def test_pycocotools_reads_every_mask_with_its_area_and_box(coco, masks):
    found = 0
    for index, objects in masks.items():
        (image,) = [image for image in coco.imgs.values() if image["frame_index"] == index]
        assert (image["file_name"], image["height"], image["width"]) == (f"img_{index}.png", *SIZE)
        annotations = {entry["track_id"]: entry for entry in coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))}
        assert set(annotations) == {object_id for object_id, mask in objects.items() if mask.any()}
        for object_id, entry in annotations.items():
            found += 1
            np.testing.assert_array_equal(coco.annToMask(entry), objects[object_id])
            encoded = coco_mask.encode(np.asfortranarray(objects[object_id], dtype=np.uint8))
            assert entry["segmentation"]["counts"].encode() == encoded["counts"]  # bit for bit
            assert entry["area"] == coco_mask.area(encoded)
            assert entry["bbox"] == coco_mask.toBbox(encoded).tolist()
    assert found == len(coco.anns) == 4 + 4 + 2
    assert sorted(coco.anns) == list(range(1, 11))


def test_objects_of_one_name_are_of_one_category(coco):
    assert [entry["name"] for entry in coco.cats.values()] == ["cup", "object"]
    assert {entry["track_id"]: coco.cats[entry["category_id"]]["name"] for entry in coco.anns.values()} == {1: "cup", 2: "object", 300: "cup"}


def test_coco_takes_frames_of_several_sizes_and_ytvis_names_them(written, tmp_path):
    small = (24, 32)
    folder = written([line(0, {1: disc(9, 9, 4)}), line(1, {1: disc(9, 9, 4, small)}, size=small)])
    export(folder, "coco", tmp_path / "out.json")
    coco = COCO(str(tmp_path / "out.json"))
    assert [coco.annToMask(entry).shape for entry in coco.anns.values()] == [SIZE, small]
    with pytest.raises(ExportError, match=r"several sizes, 24 x 32, 48 x 64 \(height x width\), and a video of ytvis has one\. coco takes them"):
        export(folder, "ytvis", tmp_path / "vis.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cups", "out.json"]


def test_ytvis_has_an_annotation_per_object_and_null_where_it_is_not(results, masks, tmp_path):
    """Read by the rule of YouTube-VIS: lists as long as the video."""
    export(results, "ytvis", tmp_path / "out.json")
    content = json.loads((tmp_path / "out.json").read_text())
    (video,) = content["videos"]
    assert video["file_names"] == [f"cups/img_{index}.png" for index in range(4)]
    assert (video["length"], video["height"], video["width"]) == (4, *SIZE)
    assert [entry["track_id"] for entry in content["annotations"]] == [1, 2, 300]
    assert len({entry["id"] for entry in content["annotations"]}) == 3
    for entry in content["annotations"]:
        assert entry["video_id"] == video["id"]
        for index, (segmentation, box, area) in enumerate(zip(entry["segmentations"], entry["bboxes"], entry["areas"], strict=True)):
            mask = masks[index][entry["track_id"]]
            if not mask.any():
                assert (segmentation, box, area) == (None, None, None)
                continue
            np.testing.assert_array_equal(coco_mask.decode(segmentation), mask)
            assert box == coco_mask.toBbox(segmentation).tolist()
            assert area == mask.sum()
        assert len(entry["segmentations"]) == 4


def test_ytvis_keeps_no_masks_in_memory(written, tmp_path):
    """A mask more costs what its place does, not what it holds."""
    import tracemalloc

    rough = np.random.default_rng(0).random((256, 256)) > 0.5  # 40 kB of run lengths

    def peak(frames: int) -> int:
        folder = written([line(index, {1: rough}, size=rough.shape) for index in range(frames)])
        tracemalloc.start()
        export(folder, "ytvis", tmp_path / f"{frames}.json")
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert (peak(60) - peak(20)) / 40 < 5_000
