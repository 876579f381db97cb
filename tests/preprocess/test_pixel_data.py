"""What a file may make Pillow do: decode the pixels of its first picture, and no more."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageFile

from masklet.errors import BadFrame
from masklet_preprocess import frames
from masklet_preprocess.pixel_data import pixel_data
from tests.preprocess import files
from tests.preprocess.files import file_bytes

SMALL = Image.new("RGB", (50, 50), (90, 120, 30))
JPEG = file_bytes(SMALL, "JPEG")
PROGRESSIVE = file_bytes(SMALL, "JPEG", progressive=True)
APNG = file_bytes(SMALL, "PNG", save_all=True, append_images=[Image.new("RGB", (50, 50))], icc_profile=bytes(99))
METADATA = {"exif": b"Exif\0\0" + bytes(999), "icc_profile": bytes(999), "xmp": b"x" * 99}

# The fixture allows 24 passes over 100000 pixels: 960 scans of 50 x 50.
SCANS = {
    "progressive": files.repeated_scans(PROGRESSIVE, 960),
    "of two pictures (mpo)": files.as_mpo(files.repeated_scans(PROGRESSIVE, 960)),
    "behind padding": files.repeated_scans(PROGRESSIVE, 960).replace(b"\xff\xda", b"\xff\xff\xff\xda"),
    "without data": PROGRESSIVE[:-2] + b"\xff\xda\0\x08\x01\x01\0\0\x3f\0" * 960 + b"\xff\xd9",
    "baseline, component by component": JPEG[:-2] + JPEG[JPEG.rindex(b"\xff\xda") : -2] * 960 + b"\xff\xd9",
}


@pytest.mark.parametrize("kind", SCANS)
def test_the_passes_over_the_pixels_are_limited_before_any_of_them_is_decoded(limits, monkeypatch, kind):
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("decoded"))
    with pytest.raises(BadFrame, match=r"9[67]\d scans of 50 x 50, 24\d\d\d00 pixels to decode; the server takes 2400000"):
        frames.from_encoded(SCANS[kind], limits)


def test_as_many_passes_as_the_largest_frame_has_are_taken(limits):
    scans = PROGRESSIVE.count(b"\xff\xda")
    data = files.repeated_scans(PROGRESSIVE, 960 - scans)
    np.testing.assert_array_equal(frames.to_model(frames.from_encoded(data, limits), 50), np.asarray(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize("place", ["in metadata", "in a second picture"])
def test_scans_that_are_not_of_the_picture_do_not_count(limits, place):
    scans = b"\xff\xda\0\x08" * 3000
    data = files.with_segments(JPEG, files.segment(0xE1, scans)) if place == "in metadata" else files.as_mpo(JPEG) + JPEG[:-2] + scans + JPEG[-2:]
    np.testing.assert_array_equal(frames.to_model(frames.from_encoded(data, limits), 50), np.asarray(Image.open(io.BytesIO(JPEG))))


FLOODS = {
    "jpeg segments": files.with_segments(JPEG, files.segment(0xE5) * 20_000),
    "jpeg tables": files.with_segments(JPEG, files.segment(0xC4) * 20_000),
    "markers": files.with_segments(JPEG, b"\xff\xd0" * 20_000),
    "png chunks": files.png(np.zeros((9, 9, 3), np.uint16), 2, before=files.chunk(b"teXt") * 20_000),
    "parts of pixels": files.png(np.zeros((9, 9, 3), np.uint16), 2, before=files.chunk(b"IDAT") * 20_000),
    "webp chunks": file_bytes(SMALL, "WEBP") + b"ABCD\0\0\0\0" * 20_000,
}


@pytest.mark.parametrize("kind", FLOODS)
def test_a_flood_of_parts_is_refused_before_pillow_sees_it(limits, monkeypatch, kind):
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("opened"))
    with pytest.raises(BadFrame, match="more than 20000 segments or chunks"):
        frames.from_encoded(FLOODS[kind], limits)


def test_an_ordinary_number_of_parts_is_taken(limits):
    image = frames.from_encoded(files.png(files.deep(SMALL), 2, before=files.chunk(b"teXt") * 19_000), limits)
    np.testing.assert_array_equal(frames.to_model(image, 50), np.asarray(SMALL))


def test_the_bytes_of_tables_are_limited(limits):
    tables = files.segment(0xDB, (b"\0" + b"\1" * 64) * 1000)
    frames.from_encoded(files.with_segments(JPEG, tables), limits)
    with pytest.raises(BadFrame, match=r"with 1\d{5} bytes of tables; the server takes 131072"):
        frames.from_encoded(files.with_segments(JPEG, tables * 3), limits)


@pytest.mark.parametrize("marker", [0xC3, 0xC5, 0xC9, 0xCA], ids=["lossless", "hierarchical", "arithmetic", "arithmetic progressive"])
def test_a_jpeg_of_a_rare_coding_is_refused(limits, marker):
    with pytest.raises(BadFrame, match="arithmetic, lossless or hierarchical"):
        frames.from_encoded(JPEG.replace(b"\xff\xc0", bytes([0xFF, marker])), limits)


RICH = {
    "jpeg": file_bytes(SMALL, "JPEG", comment=b"c", **METADATA),
    "mpo": files.as_mpo(JPEG),
    "png": files.png(files.deep(SMALL), 2, before=files.chunk(b"eXIf", bytes(99)), after=files.chunk(b"zTXt", b"a\0\0x")),
    "apng": APNG,
    "webp": file_bytes(SMALL, "WEBP", **METADATA),
    "animated webp": file_bytes(SMALL, "WEBP", save_all=True, append_images=[Image.new("RGB", (50, 50))], **METADATA),
}


@pytest.mark.parametrize("kind", RICH)
def test_neither_metadata_nor_further_pictures_reach_pillow(kind):
    with Image.open(io.BytesIO(RICH[kind])) as image:
        assert getattr(image, "n_frames", 1) == (2 if kind in ("mpo", "apng", "animated webp") else 1)
    with Image.open(io.BytesIO(pixel_data(RICH[kind])[0])) as image:
        image.load()
        assert image.format == {"mpo": "JPEG", "apng": "PNG", "animated webp": "WEBP"}.get(kind, kind.upper())
        assert getattr(image, "n_frames", 1) == 1
        assert not {"exif", "icc_profile", "xmp", "comment", "mp", "a"} & set(image.info)
