"""Image files as upright pixels of 8 bits."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masklet.sources.source import need

WHITE_OF_16_BITS = 65536.0
_SAMPLES = 32
_ORIENTATION = 0x0112  # tag of EXIF


def read_image(file: Path, white: float = WHITE_OF_16_BITS) -> NDArray[np.uint8]:
    """The pixels of an image, uint8 (H, W, 3) RGB, turned as its EXIF orientation says; transparency is left out.

    Grey of more than 8 bits (16, 32, float) is divided so that `white` becomes 256: 0 stays black, and what is above is white. By default the
    upper eight of 16 bits count, as in a server that gets the file. Raises what Pillow raises for a file that is damaged or no image.
    """
    with _opened(file) as image:
        upright = need("PIL.ImageOps").exif_transpose(image) if _turned(image) else image  # TIFF is turned as it is decoded
        if _deep(upright):
            return np.repeat(to_8_bits(np.asarray(upright), white)[:, :, None], 3, axis=2)
        return np.asarray(upright.convert("RGB"))


def scaled(pixels: NDArray[np.uint8], max_side: int | None) -> NDArray[np.uint8]:
    """The picture (H, W, 3), made smaller if a side is above `max_side`; the proportions stay."""
    height, width = pixels.shape[:2]
    if max_side is None or max(height, width) <= max_side:
        return pixels
    factor = max_side / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(need("PIL.Image").fromarray(pixels).resize(size))


def to_8_bits(values: NDArray[Any], white: float) -> NDArray[np.uint8]:
    """Deep grey as uint8: value x 256 / white, rounded down, from 0 to 255."""
    known = np.nan_to_num(values.astype(np.float64), nan=0.0)
    return np.clip(known * (256 / white), 0, 255).astype(np.uint8)


def white_of(files: Sequence[Path]) -> float:
    """The `white` of all images of a folder, so that brightness does not change between them.

    The power of two above the largest value in up to 32 images, evenly chosen: 4096 for 12 bits, 65536 for 16. At least 256; of floats, at least 1.
    """
    step = max(1, math.ceil(len(files) / _SAMPLES))
    found = [white for file in files[::step] if (white := _white(file)) is not None]
    return max(found, default=WHITE_OF_16_BITS)


def _white(file: Path) -> float | None:
    """The power of two above an image's largest value; None for images of 8 bits and for those that cannot be read."""
    try:
        with _opened(file) as image:
            if not _deep(image):
                return None
            values = np.asarray(image)
    except Exception:  # what Pillow raises for a damaged file is not documented; whoever reads it as a frame tells
        return None
    largest = float(np.nan_to_num(values, nan=0.0, posinf=0.0).max())
    if values.dtype.kind == "f":
        return 1.0 if largest <= 1 else float(2 ** (math.floor(math.log2(largest)) + 1))
    return float(max(256, 2 ** int(largest).bit_length()))


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    """A Pillow image, read and not mapped into memory: Pillow 13 gives mapped TIFF that is turned by a quarter wrong pixels."""
    with file.open("rb") as data, need("PIL.Image").open(data) as image:
        yield image


def _deep(image: Any) -> bool:
    return str(image.mode)[:1] in ("F", "I")  # "I;16", or "I" where Pillow is old


def _turned(image: Any) -> bool:
    try:
        return image.format != "TIFF" and bool(image.getexif().get(_ORIENTATION, 1) != 1)
    except Exception:  # as above; damaged EXIF in a picture that is whole
        return False
