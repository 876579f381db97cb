"""Frames as the model sees them: stretched to a square of uint8 RGB, with the pixels that the official loader makes.

The official loader (EfficientTAM utils/misc.py:92-94) opens the file with Pillow, converts it to RGB and calls `resize((S, S))`: bicubic,
antialiased when it shrinks, uint8 between its two passes. No other library gives these pixels (and no JPEG draft mode does), so Pillow it is.

All modes of the three formats are taken: grey and palettes become RGB, transparency is left out, CMYK is converted without a profile. One kind is
not the official loader's: 16-bit grey, which Pillow cuts off at 255, so that nearly everything is white. Here its upper eight bits count, as
Pillow takes them of 16-bit colour; so a picture that uses the lower bits only (12-bit data, depths in millimetres) is dark: scale it before.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, UnidentifiedImageError

from masklet.errors import BadFrame, FrameTooLarge
from masklet_preprocess.limits import Limits
from masklet_preprocess.pixel_data import pixel_data

_FORMATS = ("JPEG", "PNG", "WEBP")
# Passes over the pixels of the largest frame, and as many more as a frame is smaller. Progressive JPEGs have about ten, those of CMYK eighteen.
_MAX_PASSES = 24


def from_raw(pixels: np.ndarray, size: np.ndarray | None, limits: Limits) -> Image.Image:
    """FRAME [k] uint8, rows of RGB pixels, and FRAME_SIZE [2] as an image. Raises BadFrame, FrameTooLarge."""
    if size is None:
        raise BadFrame("FRAME came without FRAME_SIZE. Send height and width beside it.")
    height, width = size.tolist()
    if min(height, width) < 1 or len(pixels) != 3 * height * width:
        raise BadFrame(
            f"FRAME has {len(pixels)} bytes, and FRAME_SIZE says {height} x {width}. Send height x width x 3 bytes (RGB, row by row), or leave both "
            "out of a request without a frame."
        )
    _check_size(width, height, limits)
    return Image.fromarray(pixels.reshape(height, width, 3))


def from_encoded(data: bytes, limits: Limits) -> Image.Image:
    """The file bytes of a JPEG, PNG or WebP as an image that is not decoded yet. Raises BadFrame, FrameTooLarge.

    Size and passes are checked from the file's parts: no pixel of a frame that is too large, or would take too long, is ever decoded.
    """
    if len(data) > limits.max_encoded_bytes:
        raise FrameTooLarge(f"FRAME_ENCODED has {len(data)} bytes; the server takes {limits.max_encoded_bytes}. Compress it more or send it smaller.")
    picture, passes = pixel_data(data)
    try:
        image = Image.open(io.BytesIO(picture), formats=_FORMATS)
    except UnidentifiedImageError:
        raise BadFrame(f"FRAME_ENCODED ({len(data)} bytes) is no JPEG, PNG or WebP file. Send one of these, or raw pixels as FRAME.") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:  # the warning where it is made an error
        raise FrameTooLarge(f"FRAME_ENCODED is too large: {error} Send it smaller.") from None
    except Exception as error:  # what Pillow raises for a damaged header is not documented
        raise _undecodable(error) from error
    _check_size(*image.size, limits)
    work, most = passes * image.width * image.height, _MAX_PASSES * limits.max_frame_pixels
    if work > most:
        raise BadFrame(
            f"FRAME_ENCODED has {passes} scans of {image.width} x {image.height}, {work} pixels to decode; the server takes {most}. "
            "Save it again as an ordinary JPEG."
        )
    return image


def to_model(image: Image.Image, image_size: int) -> np.ndarray:
    """The image at model size: (S, S, 3) uint8 RGB. EXIF rotation is ignored, as the official loader does. Raises BadFrame."""
    try:
        if image.mode.startswith("I"):  # "I;16": 16-bit grey
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        rgb = image.convert("RGB")
    except Exception as error:  # as above; a truncated file is an OSError
        raise _undecodable(error) from error
    return np.asarray(rgb.resize((image_size, image_size)))


def _undecodable(error: Exception) -> BadFrame:
    return BadFrame(f"FRAME_ENCODED cannot be decoded: {error}. Send an undamaged JPEG, PNG or WebP file.")


def _check_size(width: int, height: int, limits: Limits) -> None:
    if max(width, height) > limits.max_frame_side:
        raise FrameTooLarge(f"the frame is {width} x {height}; the server takes {limits.max_frame_side} pixels a side. Send it smaller.")
    if width * height > limits.max_frame_pixels:
        raise FrameTooLarge(
            f"the frame is {width} x {height}, {width * height} pixels; the server takes {limits.max_frame_pixels} pixels. Send it smaller."
        )
