"""A frame reaches the model with exactly the pixels that the official loader makes."""

from __future__ import annotations

import io
import zlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageFile

from masklet.errors import BadFrame, FrameTooLarge
from masklet.sources.images import read_image
from masklet_preprocess import frames
from tests.preprocess import files
from tests.preprocess.files import file_bytes

SIDE = 64


def official(data: bytes) -> np.ndarray:
    """EfficientTAM utils/misc.py:93-94, in our words: open, RGB, resize with Pillow's own default filter."""
    return np.array(Image.open(io.BytesIO(data)).convert("RGB").resize((SIDE, SIDE)))


def raw(frame, limits):
    """Pixels [H, W, 3] as they come in."""
    return frames.from_raw(frame.reshape(-1), np.array(frame.shape[:2], np.int32), limits)


@pytest.mark.parametrize("size", [(240, 320), (64, 64), (31, 57), (1, 1), (399, 7)], ids=str)
def test_a_raw_frame_is_resized_as_pillow_does(limits, picture, size):
    frame = picture(*size)
    expected = np.array(Image.fromarray(frame).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(frames.to_model(raw(frame, limits), SIDE), expected)


def _rotated(image: Image.Image) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn by 90 degrees to display
    return file_bytes(image, "JPEG", exif=exif)


ENCODED = {
    "jpeg": lambda image: file_bytes(image, "JPEG", quality=90),
    "progressive jpeg": lambda image: file_bytes(image, "JPEG", progressive=True),
    "rgb jpeg": lambda image: file_bytes(image, "JPEG", keep_rgb=True),
    "rgb jpeg that says jfif, hence ycc": lambda image: files.with_segments(file_bytes(image, "JPEG", keep_rgb=True), files.JFIF),
    "jpeg with restarts": lambda image: file_bytes(image, "JPEG", restart_marker_blocks=1),
    "cmyk jpeg": lambda image: file_bytes(image.convert("CMYK"), "JPEG"),
    "ycck jpeg": lambda image: file_bytes(image.convert("CMYK"), "JPEG").replace(b"Adobe\0\x64" + bytes(5), b"Adobe\0\x64" + bytes(4) + b"\2"),
    "grey jpeg": lambda image: file_bytes(image.convert("L"), "JPEG"),
    "exif-rotated jpeg": _rotated,
    "png": lambda image: file_bytes(image, "PNG"),
    "palette png": lambda image: file_bytes(image.quantize(16), "PNG"),
    "transparent palette png": lambda image: file_bytes(image.quantize(16), "PNG", transparency=3),
    "rgba png": lambda image: file_bytes(Image.merge("RGBA", (*image.split(), image.getchannel(0))), "PNG"),
    "1-bit png": lambda image: file_bytes(image.convert("1"), "PNG"),
    "grey and alpha png": lambda image: file_bytes(image.convert("LA"), "PNG"),
    "16-bit colour png": lambda image: files.png(files.deep(image), 2),
    "interlaced png": lambda image: files.interlaced_png(np.asarray(image)),
    "animated png": lambda image: file_bytes(image, "PNG", save_all=True, append_images=[image.transpose(0)]),
    "animated png with a still": lambda image: file_bytes(image, "PNG", save_all=True, append_images=[image.transpose(0)] * 2, default_image=True),
    "photo of two pictures (mpo)": lambda image: file_bytes(image, "MPO", save_all=True, append_images=[image.transpose(0)]),
    "jpeg with metadata": lambda image: file_bytes(image, "JPEG", comment=b"\xff\xda" * 3000, icc_profile=bytes(100_000), dpi=(300, 300)),
    "webp": lambda image: file_bytes(image, "WEBP"),
    "lossless webp": lambda image: file_bytes(image, "WEBP", lossless=True),
    "transparent webp": lambda image: file_bytes(Image.merge("RGBA", (*image.split(), image.getchannel(0))), "WEBP"),
    "webp with metadata": lambda image: file_bytes(image, "WEBP", exif=b"Exif\0\0" + bytes(999), icc_profile=bytes(999), xmp=b"x" * 999),
    "animated webp": lambda image: file_bytes(image, "WEBP", save_all=True, append_images=[image.transpose(0)]),
}


@pytest.mark.parametrize("kind", ENCODED)
def test_an_encoded_frame_has_the_pixels_of_the_official_loader(limits, picture, kind):
    data = ENCODED[kind](Image.fromarray(picture(200, 300)))
    image = frames.from_encoded(data, replace(limits, max_encoded_bytes=1 << 20))
    assert (image.height, image.width) == (200, 300)
    np.testing.assert_array_equal(frames.to_model(image, SIDE), official(data))


DEEP_GREY = {"16-bit grey png": lambda image: file_bytes(Image.fromarray(files.deep(image.convert("L"))), "PNG")}


@pytest.mark.parametrize("kind", [kind for kind in ENCODED | DEEP_GREY if kind != "exif-rotated jpeg"])
def test_the_command_line_shows_the_pixels_that_the_server_sees(limits, picture, tmp_path, kind):
    data = (ENCODED | DEEP_GREY)[kind](Image.fromarray(picture(20, 30)))
    (tmp_path / "frame").write_bytes(data)
    np.testing.assert_array_equal(
        frames.to_model(raw(read_image(tmp_path / "frame"), limits), SIDE), frames.to_model(frames.from_encoded(data, limits), SIDE)
    )


def test_the_command_line_follows_exif_and_the_server_does_not(limits, picture, tmp_path):
    data = _rotated(Image.fromarray(picture(20, 30)))
    (tmp_path / "frame").write_bytes(data)
    stored = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    np.testing.assert_array_equal(read_image(tmp_path / "frame"), np.rot90(stored, -1))  # orientation 6: a quarter clockwise
    np.testing.assert_array_equal(frames.to_model(frames.from_encoded(data, limits), SIDE), frames.to_model(Image.fromarray(stored), SIDE))


@pytest.mark.parametrize("low", [0, 255], ids=["low bits 0", "low bits 1"])
def test_of_16_bit_grey_the_upper_eight_bits_count_as_of_16_bit_colour(limits, low):
    grey = np.arange(256, dtype=np.uint16).reshape(16, 16)
    deep = grey * 256 + low
    expected = np.repeat(grey.astype(np.uint8)[:, :, None], 3, axis=2)
    for data in (file_bytes(Image.fromarray(deep), "PNG"), files.png(np.repeat(deep[:, :, None], 3, axis=2), 2)):
        np.testing.assert_array_equal(frames.to_model(frames.from_encoded(data, limits), 16), expected)


@pytest.mark.parametrize(
    ("nbytes", "size"),
    [(0, (0, 0)), (0, (0, 10)), (0, (0, 2**31 - 1)), (100, (10, 10)), (400, (10, 10)), (300, (-10, -10)), (300, (10, 11)), (3, (-1, -1))],
    ids=str,
)
def test_bytes_that_are_not_the_pixels_of_the_size_are_refused(limits, nbytes, size):
    with pytest.raises(BadFrame, match=f"FRAME has {nbytes} bytes, and FRAME_SIZE says {size[0]} x {size[1]}"):
        frames.from_raw(np.zeros(nbytes, np.uint8), np.array(size, np.int32), limits)


def test_pixels_without_a_size_are_refused(limits):
    with pytest.raises(BadFrame, match="FRAME came without FRAME_SIZE"):
        frames.from_raw(np.zeros(300, np.uint8), None, limits)


@pytest.mark.parametrize("shape", [(401, 10, 3), (10, 401, 3), (317, 316, 3)], ids=str)
def test_a_frame_over_the_limits_is_refused_by_its_size(limits, shape):
    with pytest.raises(FrameTooLarge, match=f"{shape[1]} x {shape[0]}"):
        raw(np.zeros(shape, np.uint8), limits)


def test_frames_at_the_limits_pass(limits):
    raw(np.zeros((400, 250, 3), np.uint8), limits)  # 400 a side, 100000 pixels


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
