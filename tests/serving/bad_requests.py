"""Requests that are wrong in one way each, and the error that each must get."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from masklet import errors, rle
from tests.serving.clips import clip, encoded

FRAME = clip(1)[0]  # 48 x 64, as every clip of the tests of bad input
HEIGHT, WIDTH = FRAME.shape[:2]
SIDE = 30_000  # of images that nobody should decode
LATE = 2  # frames answered before the bad request, where it comes in the middle


@dataclass(frozen=True)
class Bad:
    """A bad request. `says`: words of the error, as a regular expression."""

    name: str
    error: type[errors.MaskletError]
    says: str
    tensors: Mapping[str, Any]
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


def _prompt(name: str, error: type[errors.MaskletError], says: str, *items: Any) -> Bad:
    return Bad(name, error, says, {"FRAME": FRAME, "PROMPTS": list(items)})


def _click(**changes: Any) -> dict[str, Any]:
    return {"object": 1, "points": [[20, 20]], "labels": [1], **changes}


def _bomb_png() -> bytes:
    """A whole PNG of 30000 x 30000 black pixels in about 110 kB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    pixels = zlib.compressobj(9)
    row = bytes(1 + SIDE // 8)
    data = b"".join(pixels.compress(row) for _ in range(SIDE)) + pixels.flush()
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def _bomb_jpeg() -> bytes:
    """A small JPEG whose header says 30000 x 30000."""
    data = bytearray(encoded(FRAME, "JPEG"))
    start_of_frame = data.index(b"\xff\xc0")
    data[start_of_frame + 5 : start_of_frame + 9] = struct.pack(">HH", SIDE, SIDE)
    return bytes(data)


def _grey_png(height: int, width: int) -> bytes:
    file = io.BytesIO()
    Image.new("1", (width, height)).save(file, "PNG")
    return file.getvalue()


JPEG = encoded(FRAME, "JPEG")
TRUNCATED = Bad("truncated JPEG", errors.BadFrame, "cannot be decoded", {"FRAME_ENCODED": JPEG[: len(JPEG) // 2]})
MASK = rle.encode(np.ones((HEIGHT, WIDTH), dtype=np.bool_))

BOMBS = [
    Bad("PNG bomb", errors.FrameTooLarge, "Send it smaller", {"FRAME_ENCODED": _bomb_png()}),
    Bad("JPEG bomb", errors.FrameTooLarge, "Send it smaller", {"FRAME_ENCODED": _bomb_jpeg()}),
]

FRAMES = [
    TRUNCATED,
    *BOMBS,
    Bad("both frames", errors.BadRequest, "FRAME and FRAME_ENCODED", {"FRAME": FRAME, "FRAME_ENCODED": JPEG}),
    Bad("no image", errors.BadFrame, "no JPEG, PNG or WebP", {"FRAME_ENCODED": b"GIF89a but not really"}),
    Bad("empty file", errors.BadFrame, "no JPEG, PNG or WebP", {"FRAME_ENCODED": b""}),
    # Cut off, so that whoever decodes it before looking at its size says something else.
    Bad("too many pixels", errors.FrameTooLarge, "4000 x 3000, 12000000 pixels", {"FRAME_ENCODED": _grey_png(3000, 4000)[:500]}),
    Bad("too long a side", errors.FrameTooLarge, "4096 pixels a side", {"FRAME": np.zeros((1, 4097, 3), np.uint8)}),
    Bad("0 x 0", errors.BadFrame, "0 bytes, and FRAME_SIZE says 0 x 0", {"FRAME": np.zeros((0, 0, 3), np.uint8)}),
    Bad("four channels", errors.BadFrame, "256 bytes, and FRAME_SIZE says 8 x 8", {"FRAME": np.zeros((8, 8, 4), np.uint8)}),
    Bad("one channel", errors.BadFrame, "64 bytes, and FRAME_SIZE says 8 x 8", {"FRAME": np.zeros((8, 8, 1), np.uint8)}),
]

PROMPTS = [
    Bad("JSON cut off", errors.BadPrompt, "no JSON", {"FRAME": FRAME, "PROMPTS": b'[{"object": 1'}),
    Bad("JSON of another kind", errors.BadPrompt, "a list of prompts", {"FRAME": FRAME, "PROMPTS": b'{"object": 1}'}),
    Bad("not UTF-8", errors.BadPrompt, "no JSON", {"FRAME": FRAME, "PROMPTS": b"[\xff]"}),
    Bad("NaN", errors.BadPrompt, "x is nan", {"FRAME": FRAME, "PROMPTS": b'[{"object": 1, "points": [[NaN, 1]], "labels": [1]}]'}),
    Bad("prompt without a frame", errors.BadPrompt, "no frame", {"PROMPTS": [_click()]}),
    _prompt("unknown key", errors.BadPrompt, "unknown key 'point'", {"object": 1, "point": [1, 1]}),
    _prompt("no object", errors.BadPrompt, '"object" is missing', {"points": [[1, 1]], "labels": [1]}),
    _prompt("negative object", errors.BadPrompt, "integer from 0", _click(object=-1)),
    _prompt("more points than labels", errors.BadPrompt, "2 points but 1 labels", _click(points=[[1, 1], [2, 2]])),
    _prompt("label 2", errors.BadPrompt, "label 2", _click(labels=[2])),
    _prompt("point far beside the image", errors.BadPrompt, f"x is 128.5.* 0 to {WIDTH}", _click(points=[[128.5, 1]])),
    _prompt("point far above the image", errors.BadPrompt, f"y is -49.* 0 to {HEIGHT}", _click(points=[[1, -49]])),
    _prompt("box with append", errors.BadPrompt, "append", {"object": 1, "box": [9, 9, 19, 20], "append": True}),
    _prompt("mask of another size", errors.BadPrompt, r"\[24, 64\].* the frame is \[48, 64\]", {"object": 1, "mask": {**MASK, "size": [24, 64]}}),
    _prompt("damaged mask", errors.BadPrompt, "not valid", {"object": 1, "mask": {**MASK, "counts": "\x7f"}}),
    _prompt("mask with points", errors.BadPrompt, '"mask" does not go', _click(mask=MASK)),
    _prompt("object twice", errors.BadPrompt, r"object 1 \(prompt 1\): it has a prompt already", _click(), _click()),
    _prompt("65 points", errors.TooManyPoints, "65 points; the server takes 64", _click(points=[[1, 1]] * 65, labels=[1] * 65)),
    _prompt("removal of an unknown object", errors.UnknownObject, "object 99", {"object": 99, "remove": True}),
    _prompt("clearing of an unknown object", errors.UnknownObject, "object 99", {"object": 99, "clear": True}),
    Bad("33 prompts", errors.BadPrompt, "33 prompts", {"FRAME": FRAME, "PROMPTS": [_click(object=number) for number in range(33)]}),
]

PARAMETERS = [
    Bad(f"{name}={value!r}", errors.BadParameter, says, {"FRAME": FRAME}, {name: value})
    for name, value, says in (
        ("colour", "red", "unknown request parameter 'colour'"),
        ("masks", "jpeg", "Use one of"),
        ("overlap", "no", "Use one of allowed, exclusive"),
        ("overlap", True, "Use one of allowed, exclusive"),
        ("masks", 3, "Use one of"),
        ("logits", "yes", "true or false"),
        ("refine", 1, "true or false"),
        ("track", 0.5, "true or false"),
        ("owner", 7, "1 to 128 characters"),
        ("owner", "x" * 129, "1 to 128 characters"),
        ("frame_index", "3", "integer of at least 0"),
        ("frame_index", -1, "integer of at least 0"),
        ("frame_index", 1.5, "integer of at least 0"),
    )
]

# What Triton refuses by itself. It never reaches the video, nor does its START or END.
BY_TRITON = [
    Bad(name, errors.BadRequest, says, tensors)
    for name, says, tensors in (
        ("grey frame without channels", "unexpected shape", {"FRAME": FRAME[..., 0]}),
        ("frame of another type", "data-type is 'FP32'", {"FRAME": FRAME.astype(np.float32)}),
        ("unknown tensor", "unexpected inference input 'IMAGE'", {"IMAGE": FRAME}),
        ("two files in one tensor", "unexpected shape", {"FRAME_ENCODED": np.array([JPEG, JPEG], dtype=np.object_)}),
    )
]

# What only a video that has gone on can refuse, LATE frames after its beginning.
LATER = [
    Bad("neither frame nor command", errors.BadRequest, "neither a frame nor a command", {"PROMPTS": []}),
    Bad("state without START", errors.BadRequest, "STATE was given without START", {"STATE": np.zeros(8, np.uint8)}),
    Bad("index of the last frame", errors.BadFrameIndex, "travels one way", {"FRAME": FRAME}, {"frame_index": LATE - 1}),
    Bad("index of an earlier frame", errors.BadFrameIndex, "travels one way", {"FRAME": FRAME}, {"frame_index": 0}),
    Bad("turn round", errors.BadFrameIndex, "travels one way", {"FRAME": FRAME}, {"reverse": True}),
    Bad("jump and turn round", errors.BadFrameIndex, "travels one way", {"FRAME": FRAME}, {"reverse": True, "frame_index": 9}),
    Bad("refine another frame", errors.BadFrameIndex, f"repeats frame {LATE - 1}", {"FRAME": FRAME}, {"refine": True, "frame_index": 0}),
]

# What only the first request of a video can be refused for, although it opens the video.
FIRST = [
    Bad("refine nothing", errors.BadFrameIndex, "no frame was answered yet", {"FRAME": FRAME}, {"refine": True}),
    Bad("reverse from nowhere", errors.BadFrameIndex, "needs frame_index", {"FRAME": FRAME}, {"reverse": True}),
]

# Triton refuses this, too, but only when it is in the first stage.
NO_TENSOR = Bad("no tensor at all", errors.BadRequest, "0 inputs", {})

ANYWHERE = [*FRAMES, *PROMPTS, *PARAMETERS]
