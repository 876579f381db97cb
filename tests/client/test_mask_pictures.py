"""Masks and annotations as picture files: what people paint, cut out and download."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from masklet.cli.failure import Failure
from masklet.cli.pictures import read_annotation, read_mask

H, W = 40, 60
ROWS, COLUMNS = np.mgrid[:H, :W]
SQUARE = (ROWS >= 10) & (ROWS < 30) & (COLUMNS >= 20) & (COLUMNS < 45)
OTHER = (ROWS < 8) & (COLUMNS < 12)
VOID = (ROWS >= 34) & (COLUMNS >= 50)
PHOTO = np.stack([ROWS * 6, COLUMNS * 4, 255 - ROWS * 6], axis=2).astype(np.uint8)
SOFT = np.clip((25.5 + 4 - np.hypot(ROWS - 20, COLUMNS - 30) * 2) / 8, 0, 1)
LABELS = (SQUARE * 1 + OTHER * 2 + VOID * 255).astype(np.uint8)
DAVIS = [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0] + [200, 200, 200] * 252


def palette(indices: np.ndarray, colours: list[int]) -> Image.Image:
    image = Image.fromarray(indices.astype(np.uint8))
    image.putpalette(colours)
    return image


def with_alpha(colours: np.ndarray, alpha: np.ndarray) -> Image.Image:
    return Image.fromarray(np.dstack([colours, alpha.astype(np.uint8)]))


def grey(values: np.ndarray) -> Image.Image:
    return Image.fromarray(values.astype(np.uint8))


def colour(mask: np.ndarray, rgb: tuple[int, int, int]) -> np.ndarray:
    return mask[..., None] * np.array(rgb, np.uint8)


WHITE, BLACK = np.full((H, W, 3), 255, np.uint8), np.zeros((H, W, 3), np.uint8)
MASKS = {
    "white on black": (grey(SQUARE * 255), SQUARE),
    "ones": (grey(SQUARE), SQUARE),
    "one bit": (Image.fromarray(SQUARE), SQUARE),
    "white on black, RGB": (Image.fromarray(colour(SQUARE, (255, 255, 255))), SQUARE),
    "red on black": (Image.fromarray(colour(SQUARE, (200, 10, 10))), SQUARE),
    "dark red on black": (Image.fromarray(colour(SQUARE, (90, 0, 0))), SQUARE),
    "soft red on black": (Image.fromarray((SOFT[..., None] * (255, 0, 0)).round().astype(np.uint8)), SOFT >= 0.5),
    "white, transparent around": (with_alpha(WHITE, SQUARE * 255), SQUARE),
    "cut out of the photo": (with_alpha(PHOTO, SQUARE * 255), SQUARE),
    "black brush on nothing": (with_alpha(BLACK, SQUARE * 255), SQUARE),
    "soft alpha": (with_alpha(BLACK, (SOFT * 255).round()), SOFT >= 0.5),
    "opaque RGBA, white on black": (with_alpha(colour(SQUARE, (255, 255, 255)), np.full((H, W), 255)), SQUARE),
    "grey with alpha": (Image.merge("LA", (grey(SQUARE * 255), grey(SQUARE * 255))), SQUARE),
    "soft brush": (grey((SOFT * 255).round()), SOFT >= 0.5),
    "soft brush, palette of greys": (palette((SOFT * 255).round(), [shade for shade in range(256) for _ in range(3)]), SOFT >= 0.5),
    "soft brush, 16 bits": (Image.fromarray((SOFT * 65535).round().astype(np.uint16)), SOFT >= 0.5),
    "16-bit ids": (Image.fromarray((SQUARE * 300).astype(np.uint16)), SQUARE),
    "palette whose background is white": (palette(SQUARE, [255, 255, 255, 0, 0, 0]), SQUARE),
    "palette in black and white of 255": (palette(SQUARE * 255, DAVIS), SQUARE),
    "label 1 of an annotation": (palette(LABELS, DAVIS), SQUARE),
    "label 1 of a grey annotation": (grey(LABELS), SQUARE),
    "label 1 of a 16-bit annotation": (Image.fromarray(LABELS.astype(np.uint16)), SQUARE),
    "one label and void": (palette(np.where(OTHER, 0, LABELS), DAVIS), SQUARE),
}


@pytest.mark.parametrize("what", MASKS)
def test_a_mask_is_what_was_painted(what: str, tmp_path: Path) -> None:
    image, expected = MASKS[what]
    image.save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png", 1), expected)


def test_jpeg_makes_no_second_object(tmp_path: Path) -> None:
    grey(SQUARE * 255).save(tmp_path / "grey.jpg", quality=60)
    Image.fromarray(colour(SQUARE, (255, 255, 255))).save(tmp_path / "rgb.jpg", quality=60)
    for name in ("grey.jpg", "rgb.jpg"):
        np.testing.assert_array_equal(read_mask(tmp_path / name, 1), SQUARE)


def test_a_tiff_of_floats_has_its_middle_too(tmp_path: Path) -> None:
    Image.fromarray(SOFT.astype(np.float32)).save(tmp_path / "soft.tiff")
    np.testing.assert_array_equal(read_mask(tmp_path / "soft.tiff", 1), SOFT >= 0.5)


def test_transparency_of_a_palette_counts_where_it_is_not_the_background(tmp_path: Path) -> None:
    palette(SQUARE, [255, 255, 255, 0, 0, 0]).save(tmp_path / "background.png", transparency=0)
    palette(np.where(SQUARE, 3, 5), DAVIS).save(tmp_path / "other.png", transparency=5)
    for name in ("background.png", "other.png"):
        np.testing.assert_array_equal(read_mask(tmp_path / name, 1), SQUARE)


def test_the_object_names_its_label(tmp_path: Path) -> None:
    palette(LABELS, DAVIS).save(tmp_path / "labels.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "labels.png", 2), OTHER)
    with pytest.raises(Failure, match=r"holds the labels 1, 2, and none is object 3\. .*--annotation"):
        read_mask(tmp_path / "labels.png", 3)


@pytest.mark.parametrize(
    ("image", "says"),
    [
        pytest.param(grey(np.zeros((H, W))), "is empty as a mask", id="black"),
        pytest.param(with_alpha(WHITE, np.zeros((H, W))), "is empty as a mask", id="transparent"),
        pytest.param(with_alpha(WHITE, SQUARE * 100), "is empty as a mask", id="hardly_opaque"),
        pytest.param(palette(np.zeros((H, W)), [255] * 6), "is empty as a mask", id="only_a_white_background"),
        pytest.param(Image.fromarray(PHOTO), "several colours", id="photo"),
        pytest.param(Image.fromarray(colour(SQUARE, (128, 0, 0)) + colour(OTHER, (0, 128, 0))), "several colours", id="annotation_without_palette"),
    ],
)
def test_what_is_no_mask_is_refused(image: Image.Image, says: str, tmp_path: Path) -> None:
    image.save(tmp_path / "mask.png")
    with pytest.raises(Failure, match=says):
        read_mask(tmp_path / "mask.png", 1)


@pytest.mark.parametrize(
    "image", [palette(LABELS, DAVIS), grey(LABELS), Image.fromarray(LABELS.astype(np.uint16))], ids=["palette", "grey", "16_bits"]
)
def test_every_label_of_an_annotation_is_an_object_and_255_is_void(image: Image.Image, tmp_path: Path) -> None:
    image.save(tmp_path / "labels.png")
    masks = read_annotation(tmp_path / "labels.png")
    assert list(masks) == [1, 2]
    np.testing.assert_array_equal(masks[1], SQUARE)
    np.testing.assert_array_equal(masks[2], OTHER)


@pytest.mark.parametrize(
    ("image", "name", "says"),
    [
        pytest.param(grey(VOID * 255), "a.png", "holds no object, only background", id="only_void"),
        pytest.param(grey(LABELS), "a.jpg", "is no annotation", id="jpeg"),
        pytest.param(Image.fromarray(PHOTO), "a.png", "is no annotation", id="photo"),
        pytest.param(grey((SOFT * 255).round()), "a.png", "is no annotation", id="soft_mask"),
    ],
)
def test_what_is_no_annotation_is_refused(image: Image.Image, name: str, says: str, tmp_path: Path) -> None:
    image.save(tmp_path / name)
    with pytest.raises(Failure, match=says):
        read_annotation(tmp_path / name)


def test_a_file_that_is_no_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    for file in (tmp_path / "text.png", tmp_path / "missing.png"):
        with pytest.raises(Failure, match=f"{file.name} cannot be read as a picture"):
            read_mask(file, 1)
