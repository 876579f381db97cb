"""Output tensors become a TrackedFrame, or a ServerFault that names the mismatch."""

from __future__ import annotations

import json

import numpy as np
import pytest

from masklet import ServerFault, UnknownObject, results, rle
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
