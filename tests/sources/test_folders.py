"""Folders of images: which files are frames, upright, past damage, and in 8 bits."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from masklet.sources import SourceError, open_source
from tests.sources.drawn import H, W, picture

RAMP = np.linspace(0, 1, H * W).reshape(H, W)


def save(file, pixels, **options):
    Image.fromarray(pixels).save(file, **options)
    return file


def read(folder, **options):
    with open_source(folder, **options) as source:
        return list(source)


def test_hidden_and_resource_files_are_no_frames(tmp_path):
    for index in (1, 2, 10):
        save(tmp_path / f"{index}.PNG", picture(index))
    for name in ("._1.png", ".hidden.jpg", "Thumbs.db", ".DS_Store", "desktop.ini", "notes.txt"):
        (tmp_path / name).write_bytes(b"\x00\x05\x16\x07 no image")
    (tmp_path / "masks.png").mkdir()
    skipped = []
    frames = read(tmp_path, skipped=skipped.append)
    assert skipped == []
    assert [(frame.index, frame.name) for frame in frames] == [(0, "1.PNG"), (1, "2.PNG"), (2, "10.PNG")]
    for frame, index in zip(frames, (1, 2, 10), strict=True):
        np.testing.assert_array_equal(frame.image, picture(index))
        assert frame.size == (H, W)
    assert [frame.time_s for frame in frames] == [0, 0.04, 0.08]


def test_a_damaged_image_is_skipped_by_name_and_keeps_its_index(tmp_path):
    for index in range(6):
        save(tmp_path / f"{index:02}.jpg", picture(index), quality=95)
    whole = (tmp_path / "03.jpg").read_bytes()
    (tmp_path / "03.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "04.jpg").write_bytes(b"")
    skipped = []
    frames = read(tmp_path, skipped=skipped.append)
    assert [(frame.index, frame.name) for frame in frames] == [(0, "00.jpg"), (1, "01.jpg"), (2, "02.jpg"), (5, "05.jpg")]
    assert [(one.index, one.name) for one in skipped] == [(3, "03.jpg"), (4, "04.jpg")]
    assert "truncated" in skipped[0].why
    assert skipped[1].why == "it cannot be read: it is no image that Pillow knows"
    assert frames[-1].time_s == pytest.approx(0.2), "time goes on as well"


def test_a_folder_of_damaged_images_is_an_error(tmp_path):
    (tmp_path / "0.jpg").write_bytes(b"\xff\xd8 nothing")
    with pytest.raises(SourceError, match="no frame of it could be read"):
        read(tmp_path)


def test_a_folder_without_images_is_an_error(tmp_path):
    (tmp_path / "._1.png").touch()
    with pytest.raises(SourceError, match=r"holds no images \(\.bmp, \.jpeg, .*Name the folder"):
        open_source(tmp_path)


def test_sizes_may_differ(tmp_path):
    save(tmp_path / "0.png", picture(0))
    save(tmp_path / "1.png", picture(1, 2 * H, 2 * W))
    frames = read(tmp_path, max_side=W)
    assert [(frame.size, frame.image.shape[:2]) for frame in frames] == [((H, W), (H, W)), ((2 * H, 2 * W), (H, W))]


TURNS = {
    1: lambda image: image,
    2: np.fliplr,
    3: lambda image: np.rot90(image, 2),
    4: np.flipud,
    5: lambda image: np.swapaxes(image, 0, 1),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: np.swapaxes(np.rot90(image, 2), 0, 1),
    8: lambda image: np.rot90(image, 1),
}


@pytest.mark.parametrize("orientation", TURNS)
def test_photos_are_turned_as_their_exif_says(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    save(tmp_path / "0.png", picture(3), exif=exif)
    (frame,) = read(tmp_path)
    np.testing.assert_array_equal(frame.image, TURNS[orientation](picture(3)))
    assert frame.size == frame.image.shape[:2]


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiff_in_grey_is_turned_as_it_says(tmp_path, orientation, dtype):
    grey = (np.arange(H * W).reshape(H, W) % 251).astype(dtype)
    Image.fromarray(grey).save(tmp_path / "0.tif", tiffinfo={0x0112: orientation})
    (frame,) = read(tmp_path)
    np.testing.assert_array_equal(frame.image[..., 0], TURNS[orientation](grey))


@pytest.mark.parametrize("side", [0, -5])
def test_a_side_without_pixels_is_refused(tmp_path, side):
    save(tmp_path / "0.png", picture(3))
    with pytest.raises(SourceError, match=f"max_side is {side}"):
        open_source(tmp_path, max_side=side)


def test_damaged_exif_costs_no_photo(tmp_path):
    save(tmp_path / "0.png", picture(3), exif=b"Exif\0\0MM\0*no such thing")
    (frame,) = read(tmp_path)
    np.testing.assert_array_equal(frame.image, picture(3))


def deep(bits):
    return (RAMP * (2**bits - 1)).astype(np.uint16)


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_deep_grey_becomes_its_upper_eight_bits(tmp_path, bits, suffix):
    """Of the bits that the folder uses: cameras store 10, 12 or 14 bits in 16."""
    save(tmp_path / f"0{suffix}", deep(bits))
    (frame,) = read(tmp_path)
    expected = (deep(bits) >> (bits - 8)).astype(np.uint8)
    np.testing.assert_array_equal(frame.image, np.repeat(expected[:, :, None], 3, axis=2))


def test_all_images_of_a_folder_are_scaled_alike(tmp_path):
    """A scene that darkens must look darker, and one that does not must not flicker."""
    for index, factor in enumerate((0.05, 1.0, 0.5)):
        save(tmp_path / f"{index}.png", (RAMP * factor * 4095).astype(np.uint16))
    for frame, factor in zip(read(tmp_path), (0.05, 1.0, 0.5), strict=True):
        np.testing.assert_array_equal(frame.image[..., 0], (RAMP * factor * 4095).astype(np.uint16) >> 4)


def test_dark_integers_are_not_brightened(tmp_path):
    save(tmp_path / "0.png", (RAMP * 100).astype(np.uint16))
    (frame,) = read(tmp_path)
    np.testing.assert_array_equal(frame.image[..., 1], (RAMP * 100).astype(np.uint8))


@pytest.mark.parametrize(("largest", "white"), [(1.0, 1.0), (0.4, 1.0), (255.0, 256.0), (8.5, 16.0)])
def test_floats_are_scaled_by_the_power_of_two_above_them(tmp_path, largest, white):
    values = (RAMP * largest).astype(np.float32)
    values[0, 0] = np.nan
    values[1, 1] = -5
    save(tmp_path / "0.tif", values)
    (frame,) = read(tmp_path)
    expected = np.clip(np.nan_to_num(values.astype(np.float64)) * 256 / white, 0, 255).astype(np.uint8)
    np.testing.assert_array_equal(frame.image[..., 2], expected)
    assert frame.image[0, 0, 0] == frame.image[1, 1, 0] == 0


def test_what_is_brighter_than_the_samples_is_white(tmp_path):
    """33 images: each second one is looked at before."""
    for index in range(33):
        save(tmp_path / f"{index}.png", np.full((4, 4), 60000 if index == 1 else 1000, np.uint16))
    frames = read(tmp_path)
    assert frames[0].image[0, 0, 0] == 1000 >> 2
    assert frames[1].image[0, 0, 0] == 255


def test_a_tiff_of_colour(tmp_path):
    save(tmp_path / "0.tif", picture(4))
    (frame,) = read(tmp_path)
    np.testing.assert_array_equal(frame.image, picture(4))


def test_an_image_alone_is_a_source_of_one_frame(tmp_path):
    out = io.BytesIO()
    Image.fromarray(picture(2)).save(out, "PNG")
    (tmp_path / "photo.png").write_bytes(out.getvalue())
    with open_source(tmp_path / "photo.png") as source:
        assert source.count == 1
        (frame,) = source
    np.testing.assert_array_equal(frame.image, picture(2))
    with pytest.raises(SourceError, match=r"missing\.png cannot be opened"):
        open_source(tmp_path / "missing.png")
