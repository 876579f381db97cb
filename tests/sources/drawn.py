"""Films and pictures that tests draw, whose frames can be told apart."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from masklet.sources import Frame

H, W = 96, 160
STEP = 4  # pixels that the square moves in a frame
CODECS = ("libx264", "libx265", "mpeg4")


def picture(index: int, height: int = H, width: int = W) -> np.ndarray:
    """A picture (H, W, 3) without symmetry, whose red square begins at column 8 + 4 x index."""
    rows, columns = np.mgrid[:height, :width]
    frame = np.stack([rows * 40 // height, columns * 90 // width, 60 + rows * 90 // height], axis=2).astype(np.uint8)
    frame[height // 4 : height // 2, 8 + STEP * index : 28 + STEP * index] = (230, 40, 40)
    return frame


def number(frame: Frame | np.ndarray) -> int:
    """Which picture a frame shows; -1: none of them."""
    image = frame.image if isinstance(frame, Frame) else frame
    red = (image[image.shape[0] * 3 // 8, :, 0] > 140).nonzero()[0]
    return round((int(red.min()) - 8) / STEP) if len(red) else -1


def film(file: Path, pictures: Sequence[np.ndarray], codec: str = "libx264", *, times: Sequence[int] | None = None, gop: int = 6) -> Path:
    """Writes pictures at 25 frames per second, or at `times` in milliseconds."""
    options = {"x265-params": "log-level=none:pools=1"} if codec == "libx265" else {}
    with av.open(str(file), "w") as out:
        stream = out.add_stream(codec, rate=25, options=options)
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        stream.height, stream.width, stream.pix_fmt = *pictures[0].shape[:2], "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.gop_size = gop
        for index, pixels in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[index], Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return file


def turn(file: Path, matrix: Sequence[int]) -> Path:
    """Writes a display matrix (a, b, c, d) into an mp4: what is at (x, y) is shown at (a x + c y, b x + d y)."""
    a, b, c, d = (value << 16 for value in matrix)
    data = bytearray(file.read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # version 0 has 40 bytes before it
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    file.write_bytes(data)
    return file


def damage(file: Path, *packets: int) -> list[int]:
    """Overwrites packets; gives the index of the frame in each."""
    with av.open(str(file)) as container:
        found = [(packet.pos, packet.size, packet.pts) for packet in container.demux(video=0) if packet.size]
    times = sorted(pts for _, _, pts in found)
    data = bytearray(file.read_bytes())
    for at, size, _ in (found[number] for number in packets):
        data[at : at + size] = b"\xff" * size
    file.write_bytes(data)
    return [times.index(found[number][2]) for number in packets]
