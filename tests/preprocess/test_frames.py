"""A frame reaches the model with exactly the pixels that the official loader makes."""

from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile

from masklet.errors import BadFrame, FrameTooLarge
from masklet_preprocess import frames

SIDE = 64


def file_bytes(image: Image.Image, form: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def official(data: bytes) -> np.ndarray:
    """EfficientTAM utils/misc.py:93-94, in our words: open, RGB, resize with Pillow's own default filter."""
    return np.array(Image.open(io.BytesIO(data)).convert("RGB").resize((SIDE, SIDE)))


@pytest.mark.parametrize("size", [(240, 320), (64, 64), (31, 57), (1, 1), (399, 7)], ids=str)
def test_a_raw_frame_is_resized_as_pillow_does(limits, picture, size):
    frame = picture(*size)
    expected = np.array(Image.fromarray(frame).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(frames.to_model(frames.from_raw(frame, limits), SIDE), expected)


def _rotated(image: Image.Image) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn by 90 degrees to display
    return file_bytes(image, "JPEG", exif=exif)


ENCODED = {
    "jpeg": lambda image: file_bytes(image, "JPEG", quality=90),
    "progressive jpeg": lambda image: file_bytes(image, "JPEG", progressive=True),
    "cmyk jpeg": lambda image: file_bytes(image.convert("CMYK"), "JPEG"),
    "grey jpeg": lambda image: file_bytes(image.convert("L"), "JPEG"),
    "exif-rotated jpeg": _rotated,
    "png": lambda image: file_bytes(image, "PNG"),
    "palette png": lambda image: file_bytes(image.quantize(16), "PNG"),
    "transparent palette png": lambda image: file_bytes(image.quantize(16), "PNG", transparency=3),
    "rgba png": lambda image: file_bytes(Image.merge("RGBA", (*image.split(), image.getchannel(0))), "PNG"),
    "16-bit png": lambda image: file_bytes(Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257), "PNG"),
    "webp": lambda image: file_bytes(image, "WEBP"),
    "animated webp": lambda image: file_bytes(image, "WEBP", save_all=True, append_images=[image.transpose(0)]),
}


@pytest.mark.parametrize("kind", ENCODED)
def test_an_encoded_frame_has_the_pixels_of_the_official_loader(limits, picture, kind):
    data = ENCODED[kind](Image.fromarray(picture(200, 300)))
    image = frames.from_encoded(data, limits)
    assert (image.height, image.width) == (200, 300)
    np.testing.assert_array_equal(frames.to_model(image, SIDE), official(data))


@pytest.mark.parametrize("shape", [(0, 0, 3), (0, 10, 3), (10, 10), (10, 10, 4), (10, 10, 1)], ids=str)
def test_a_frame_of_another_shape_is_refused_by_its_shape(limits, shape):
    with pytest.raises(BadFrame, match="shape " + " x ".join(map(str, shape))):
        frames.from_raw(np.zeros(shape, np.uint8), limits)


@pytest.mark.parametrize("shape", [(401, 10, 3), (10, 401, 3), (317, 316, 3)], ids=str)
def test_a_frame_over_the_limits_is_refused_by_its_size(limits, shape):
    with pytest.raises(FrameTooLarge, match=f"{shape[1]} x {shape[0]}"):
        frames.from_raw(np.zeros(shape, np.uint8), limits)


def test_frames_at_the_limits_pass(limits):
    frames.from_raw(np.zeros((400, 250, 3), np.uint8), limits)  # 400 a side, 100000 pixels


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_an_encoded_frame_over_the_limits_is_refused_before_its_pixels_are_decoded(limits, monkeypatch, form):
    data = file_bytes(Image.new("RGB", (350, 350)), form)
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("decoded"))
    with pytest.raises(FrameTooLarge, match="350 x 350, 122500 pixels; the server takes 100000"):
        frames.from_encoded(data, limits)


@pytest.mark.parametrize("side", [10_000, 60_000])  # Pillow warns of the first and refuses the second
def test_a_decompression_bomb_is_refused_by_its_header(limits, side):
    data = bytearray(file_bytes(Image.new("L", (8, 8)), "PNG"))
    data[16:24] = side.to_bytes(4, "big") * 2  # width and height in IHDR; the checksum after it is checked too
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    with pytest.raises(FrameTooLarge):
        frames.from_encoded(bytes(data), limits)


def test_a_file_with_too_many_bytes_is_refused_unopened(limits):
    with pytest.raises(FrameTooLarge, match="300001 bytes; the server takes 300000"):
        frames.from_encoded(bytes(300_001), limits)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_a_truncated_file_is_refused(limits, picture, form):
    data = file_bytes(Image.fromarray(picture(100, 100)), form)
    with pytest.raises(BadFrame):
        frames.to_model(frames.from_encoded(data[: len(data) // 2], limits), SIDE)


@pytest.mark.parametrize("form", ["GIF", "BMP", "TIFF", "PPM"])
def test_other_formats_are_refused(limits, form):
    data = file_bytes(Image.new("RGB", (10, 10)), form)
    with pytest.raises(BadFrame, match="no JPEG, PNG or WebP"):
        frames.from_encoded(data, limits)


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\x00\x00\x00\x00WEBPVP8 "], ids=repr)
def test_a_file_that_only_begins_like_an_image_is_refused(limits, data):
    with pytest.raises(BadFrame):
        frames.to_model(frames.from_encoded(data, limits), SIDE)


def test_a_jpeg_that_repeats_its_scans_is_refused(limits, picture):
    data = file_bytes(Image.fromarray(picture(50, 50)), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    bomb = data[:last] + data[last:-2] * 150 + data[-2:]
    with pytest.raises(BadFrame, match="more than 100 scans"):
        frames.from_encoded(bomb, limits)
