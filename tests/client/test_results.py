"""Output tensors become a TrackedFrame, or a ServerFault that names the mismatch."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from masklet import BadParameter, ServerFault, UnknownObject, results, rle
from masklet.contract import TIMING_FIELDS
from masklet.mask_bytes import joined, separated
from masklet.wire import Options

SIZE = (11, 13)  # 143 pixels: the last byte of a bitmap is not full
MASKS = np.random.default_rng(3).random((2, *SIZE)) < 0.5


def tensors(masks: list[bytes], **changed: np.ndarray) -> dict[str, np.ndarray]:
    count = len(masks)
    return {
        "FRAME_INDEX": np.array([4]),
        "OBJECT_IDS": np.array([7, 3][:count]),
        **joined(masks),
        "BOXES": np.arange(4 * count, dtype=np.float32).reshape(count, 4),
        "SCORES": np.arange(count, dtype=np.float32),
        "IOUS": np.ones(count, dtype=np.float32),
        "LOGITS": np.zeros((count, 4, 4), dtype=np.float32),
        "SNAPSHOT": np.array([1, 2, 255], dtype=np.uint8),
        "TIMING": np.arange(7, dtype=np.float32),
        "DRAINING": np.array([1], np.uint8),
        **changed,
    }


RLE = [json.dumps(rle.encode(mask)).encode() for mask in MASKS]
BITMAP = [np.packbits(mask).tobytes() for mask in MASKS]


@pytest.mark.parametrize(
    ("form", "masks", "size"),
    [
        pytest.param("rle", RLE, None, id="rle"),
        pytest.param("rle", RLE, SIZE, id="rle_of_known_size"),
        pytest.param("bitmap", BITMAP, SIZE, id="bitmap"),
    ],
)
def test_masks_come_back_pixel_by_pixel(form, masks, size):
    result = results.read(tensors(masks), Options(masks=form), size)
    assert result.masks.dtype == np.bool_
    np.testing.assert_array_equal(result.masks, MASKS)
    np.testing.assert_array_equal(result.mask(3), MASKS[1])


def test_the_other_fields_are_the_tensors():
    result = results.read(tensors(RLE), Options(logits=True, snapshot=True), SIZE)
    assert (result.frame_index, result.object_ids, result.snapshot) == (4, (7, 3), b"\x01\x02\xff")
    assert result.draining is True
    assert result.logits.shape == (2, 4, 4)
    assert result.timing == dict(zip(TIMING_FIELDS, range(7), strict=True))
    np.testing.assert_array_equal(result.boxes, [[0, 1, 2, 3], [4, 5, 6, 7]])
    np.testing.assert_array_equal(result.scores, [0, 1])


def test_a_printed_result_holds_no_file_and_no_snapshot():
    result = results.read(tensors(RLE, SNAPSHOT=np.zeros(100_000, np.uint8)), Options(snapshot=True), SIZE)
    shown = repr(replace(result, frame=b"\xff" * 100_000, tag="door"))
    assert len(shown) < 1000
    assert "object_ids=(7, 3)" in shown
    assert "tag='door'" in shown


def test_what_was_not_asked_for_is_none():
    result = results.read(tensors(RLE), Options(), SIZE)
    assert result.logits is None
    assert result.snapshot is None


@pytest.mark.parametrize(("form", "size", "shape"), [("bitmap", SIZE, (0, *SIZE)), ("rle", None, (0, 0, 0))], ids=["known_size", "unknown_size"])
def test_no_objects_make_an_empty_stack(form, size, shape):
    assert results.read(tensors([]), Options(masks=form), size).masks.shape == shape


def test_an_absent_object_has_no_mask():
    with pytest.raises(UnknownObject, match=r"object 9 is not in frame 4, which has the objects \[7, 3\]"):
        results.read(tensors(RLE), Options(), SIZE).mask(9)


@pytest.mark.parametrize(
    ("form", "broken"),
    [
        pytest.param("rle", joined([b"{", b"{"]), id="no_json"),
        pytest.param("rle", joined([json.dumps(rle.encode(MASKS[0].T)).encode()] * 2), id="rle_of_another_size"),
        pytest.param("rle", joined(RLE[:1]), id="a_mask_missing"),
        pytest.param("none", joined([b""]), id="a_mask_missing_where_none_were_asked_for"),
        pytest.param("bitmap", {"MASKS": joined(BITMAP)["MASKS"][:-1]}, id="masks_cut_off"),
        pytest.param("bitmap", {"MASK_BYTES": np.array([54, -18])}, id="a_negative_size"),
        pytest.param("bitmap", {"MASK_BYTES": np.array([18, 17])}, id="sizes_of_too_few_bytes"),
        pytest.param("bitmap", {"MASK_BYTES": np.array([2**62] * 4 + [36])}, id="sizes_whose_sum_wraps_around"),
        pytest.param("bitmap", {"MASK_BYTES": np.array([[18, 18]])}, id="sizes_of_another_rank"),
        pytest.param("bitmap", {"MASK_BYTES": np.array([17, 19])}, id="a_border_in_the_wrong_place"),
        pytest.param("rle", {"MASKS": np.array(RLE, np.object_)}, id="masks_of_an_older_server"),
        pytest.param("rle", {"SCORES": np.zeros(3, np.float32)}, id="a_score_too_many"),
        pytest.param("bitmap", joined([bits[:-1] for bits in BITMAP]), id="short_bitmap"),
        pytest.param("rle", {"TIMING": np.zeros(6, np.float32)}, id="timing_of_another_version"),
        pytest.param("rle", {"FRAME_INDEX": np.zeros(0, np.int64)}, id="no_index"),
        pytest.param("rle", {"DRAINING": np.zeros(0, np.uint8)}, id="no_word_of_draining"),
    ],
)
def test_an_answer_of_another_version_is_a_server_fault(form, broken):
    with pytest.raises(ServerFault, match="same version"):
        results.read(tensors(BITMAP if form == "bitmap" else RLE, **broken), Options(masks=form), SIZE)


@pytest.mark.parametrize("text", [np.array([b"abc"], np.object_), np.zeros(3, np.float32), np.frombuffer(b"\xff", np.uint8)], ids=str)
def test_a_token_that_is_no_text_is_a_server_fault(text):
    with pytest.raises(ServerFault, match="different versions"):
        results.token({"TOKEN": text})


@pytest.mark.parametrize("masks", [[], [b""], [b"", b"ab", b"", b"c"], RLE])
def test_masks_are_separated_as_they_were_joined(masks):
    both = joined(masks)
    assert (both["MASKS"].dtype, both["MASK_BYTES"].dtype) == (np.uint8, np.int64)
    assert [part.tobytes() for part in separated(both)] == masks


def test_a_missing_tensor_is_named():
    with pytest.raises(ServerFault, match="IOUS"):
        results.read({name: array for name, array in tensors(RLE).items() if name != "IOUS"}, Options(), SIZE)


def test_masks_are_decoded_when_they_are_looked_at_and_once(monkeypatch):
    decoded = []
    monkeypatch.setattr("masklet.masks.rle.decode", lambda made, decode=rle.decode: decoded.append(1) or decode(made))
    result = results.read(tensors(RLE), Options(), SIZE)
    assert (result.rles, result.areas.tolist(), result.present.tolist()) == (
        [rle.encode(mask) for mask in MASKS],
        MASKS.sum((1, 2)).tolist(),
        [False, True],
    )
    assert decoded == []
    result.mask(3)
    assert len(decoded) == 1
    assert result.masks is result.masks
    assert len(decoded) == 3


def test_bitmaps_have_areas_and_run_lengths():
    result = results.read(tensors(BITMAP), Options(masks="bitmap"), SIZE)
    assert result.areas.tolist() == MASKS.sum((1, 2)).tolist()
    assert result.rles == [rle.encode(mask) for mask in MASKS]


def test_without_masks_there_are_boxes_and_scores_alone():
    result = results.read(tensors([b"", b""]), Options(masks="none"), SIZE)
    assert result.boxes.shape == (2, 4)
    for look in ("masks", "rles", "areas"):
        with pytest.raises(BadParameter, match='masks="none"'):
            getattr(result, look)


def test_runs_that_make_no_mask_show_when_they_are_looked_at():
    damaged = [json.dumps({"size": list(SIZE), "counts": "0"}).encode()] * 2
    with pytest.raises(ServerFault, match="same version"):
        results.read(tensors(damaged), Options(), SIZE).masks  # noqa: B018


def boxed(masks: np.ndarray) -> np.ndarray:
    """Box of each mask, the long way."""
    boxes = []
    for mask in masks:
        y, x = np.nonzero(mask)
        boxes.append([x.min(), y.min(), x.max() + 1, y.max() + 1] if len(x) else [0, 0, 0, 0])
    return np.array(boxes, np.float32)


@pytest.mark.parametrize("form", ["rle", "bitmap"])
@pytest.mark.parametrize("size", [(33, 26), (22, 40), (5, 6), SIZE, (1, 1)], ids=str)
def test_a_result_at_another_size_has_the_mask_at_the_centre_of_each_pixel(size, form):
    masks = np.zeros((3, *SIZE), bool)
    masks[0, 2:7, 3:9], masks[1, 10, 12] = True, True
    data = [json.dumps(rle.encode(mask)).encode() if form == "rle" else np.packbits(mask).tobytes() for mask in masks]
    full = tensors(data, OBJECT_IDS=np.array([7, 3, 1]), BOXES=boxed(masks), LOGITS=np.zeros((0, 4, 4), np.float32))
    result = results.read(full, Options(masks=form), SIZE).at_size(size)
    expected = [
        [[mask[int((row + 0.5) * SIZE[0] / size[0]), int((column + 0.5) * SIZE[1] / size[1])] for column in range(size[1])] for row in range(size[0])]
        for mask in masks
    ]
    np.testing.assert_array_equal(result.masks, expected)
    np.testing.assert_array_equal(result.boxes, boxed(np.array(expected)))
    assert (result.object_ids, result.cell) == ((7, 3, 1), (size[0] / 4, size[1] / 4))


def seen(form: str) -> results.TrackedFrame:
    """Three objects; the second has no pixel."""
    masks = np.array([MASKS[0], np.zeros(SIZE, bool), MASKS[1]])
    data = [json.dumps(rle.encode(mask)).encode() if form == "rle" else np.packbits(mask).tobytes() for mask in masks]
    ious = np.array([0.5, 0.25, 0.75], np.float32)
    return results.read(tensors(data, OBJECT_IDS=np.array([7, 3, 1]), BOXES=boxed(masks), IOUS=ious), Options(masks=form), SIZE)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' own
@pytest.mark.parametrize("form", ["rle", "bitmap"])
def test_pycocotools_reads_what_goes_to_coco(form):
    coco = pytest.importorskip("pycocotools.coco").COCO()
    coco.dataset = {"images": [{"id": 4, "height": SIZE[0], "width": SIZE[1]}], "categories": [{"id": 2}], "annotations": []}
    coco.createIndex()
    read = coco.loadRes(json.loads(json.dumps(seen(form).to_coco(category_id=2))))
    found = read.loadAnns(read.getAnnIds(imgIds=[4]))
    assert [(one["track_id"], one["score"], one["category_id"]) for one in found] == [(7, 0.5, 2), (1, 0.75, 2)]
    np.testing.assert_array_equal([read.annToMask(one) for one in found], MASKS)
    assert [one["area"] for one in found] == MASKS.sum((1, 2)).tolist()
    assert [one["image_id"] for one in seen(form).to_coco(image_id=9)] == [9, 9]


def test_supervision_gets_the_objects_that_have_pixels(monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", SimpleNamespace(Detections=SimpleNamespace))
    made = seen("rle").to_supervision()
    np.testing.assert_array_equal(made.mask, MASKS)
    np.testing.assert_array_equal(made.xyxy, boxed(MASKS))
    assert (made.tracker_id.tolist(), made.confidence.tolist()) == ([7, 1], [0.5, 0.75])


def test_without_supervision_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(ImportError, match="pip install supervision"):
        seen("rle").to_supervision()


@pytest.mark.parametrize("size", [(0, 5), (5, -1)])
def test_a_size_without_pixels_is_refused(size):
    with pytest.raises(BadParameter, match="each at least 1"):
        seen("rle").at_size(size)
