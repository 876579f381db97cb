"""Image files of kinds that Pillow does not write, or that nobody should."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image


def file_bytes(image: Image.Image, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(pixels: np.ndarray, colour: int, *, before: bytes = b"", after: bytes = b"") -> bytes:
    """A PNG of 16 bits. pixels: (H, W, n) uint16. colour: PNG's number for the kind. before, after: chunks around the pixels."""
    rows = b"".join(b"\0" + row.tobytes() for row in pixels.astype(">u2"))
    return _png(pixels.shape[1], pixels.shape[0], 16, colour, 0, before + chunk(b"IDAT", zlib.compress(rows)) + after)


def interlaced_png(pixels: np.ndarray) -> bytes:
    """A PNG of (H, W, 3) uint8 in the seven passes of Adam7."""
    rows = b""
    for top, left, down, right in ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)):
        rows += b"".join(b"\0" + row.tobytes() for row in pixels[top::down, left::right])
    return _png(pixels.shape[1], pixels.shape[0], 8, 2, 1, chunk(b"IDAT", zlib.compress(rows)))


def _png(width: int, height: int, depth: int, colour: int, interlaced: int, chunks: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced))
    return b"\x89PNG\r\n\x1a\n" + header + chunks + chunk(b"IEND")


def deep(image: Image.Image) -> np.ndarray:
    """The picture in 16 bits a channel."""
    return np.asarray(image).astype(np.uint16) * 257


def segment(marker: int, body: bytes = b"") -> bytes:
    """A segment of a JPEG."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


JFIF = segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0")


def with_segments(jpeg: bytes, segments: bytes) -> bytes:
    """The JPEG with more segments at its beginning."""
    return jpeg[:2] + segments + jpeg[2:]


def as_mpo(jpeg: bytes) -> bytes:
    """The JPEG with a segment that calls it the first picture of two, as cameras with two lenses and phones write it."""
    body = b"MPF\0II*\0" + struct.pack("<I", 8) + struct.pack("<H", 3)
    body += struct.pack("<HHI4s", 0xB000, 7, 4, b"0100") + struct.pack("<HHII", 0xB001, 4, 1, 2) + struct.pack("<HHII", 0xB002, 7, 32, 50)
    body += struct.pack("<I", 0) + struct.pack("<IIIHH", 0x030000, len(jpeg), 0, 0, 0) + struct.pack("<IIIHH", 0, len(jpeg), len(jpeg), 0, 0)
    return with_segments(jpeg, segment(0xE2, body))


def repeated_scans(jpeg: bytes, times: int) -> bytes:
    """The JPEG with its last scan so many times more."""
    last = jpeg.rindex(b"\xff\xda")
    return jpeg[:-2] + jpeg[last:-2] * times + jpeg[-2:]
