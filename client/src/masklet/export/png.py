"""PNG files of numbers: indexed with a palette, or 16 bits deep."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _INDEXED = 0, 3
_LEVEL = 6


def davis_palette() -> bytes:
    """The 256 colours of DAVIS, RGB one after another: bits of the number, the lowest three first, to the highest bits of red, green and blue."""
    numbers = np.arange(256)
    colours = np.zeros((256, 3), dtype=np.int64)
    for step in range(8):
        colours |= (numbers[:, None] >> (3 * step + np.arange(3)) & 1) << (7 - step)
    return colours.astype(np.uint8).tobytes()


def write_indexed(path: Path, picture: NDArray[np.uint8], palette: bytes) -> None:
    """A palette PNG of a picture (H, W); raises OSError."""
    _write(path, picture, 8, _INDEXED, _chunk(b"PLTE", palette))


def write_16_bit(path: Path, picture: NDArray[np.uint16]) -> None:
    """A grey PNG of a picture (H, W), 16 bits a pixel; raises OSError."""
    _write(path, picture.astype(">u2"), 16, _GREY, b"")


def _write(path: Path, picture: NDArray[np.generic], depth: int, colour: int, palette: bytes) -> None:
    height, width = picture.shape
    rows = np.ascontiguousarray(picture).view(np.uint8).reshape(height, -1)
    data = np.pad(rows, ((0, 0), (1, 0))).tobytes()  # each row begins with its filter: none
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    path.write_bytes(_SIGNATURE + _chunk(b"IHDR", head) + palette + _chunk(b"IDAT", zlib.compress(data, _LEVEL)) + _chunk(b"IEND", b""))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
