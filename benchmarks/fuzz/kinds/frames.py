"""Frames: files that are damaged, announce too much, or cost more to decode than to send; raw frames of odd shapes."""

from __future__ import annotations

import io
import random
import struct
import zlib
from functools import cache

import numpy as np
from PIL import Image

from benchmarks.fuzz.messages import Content, Raw
from benchmarks.fuzz.registry import World, kind

_MIB = 1 << 20
_FORMS = ("JPEG", "PNG", "WEBP")


@cache
def picture(height: int = 96, width: int = 128) -> np.ndarray:
    """A picture (height, width, 3) uint8 with something in it."""
    y, x = np.mgrid[:height, :width]
    return np.stack([255 * x / width, 255 * y / height, 128 + 100 * np.sin(x * y / 90)], axis=-1).astype(np.uint8)


@cache
def file(form: str, **options: object) -> bytes:
    """The picture as a file."""
    out = io.BytesIO()
    Image.fromarray(picture()).save(out, form, **options)
    return out.getvalue()


def encoded(data: bytes) -> Content:
    """A request with that file."""
    return Content({"FRAME_ENCODED": data, "PROMPTS": b"[]"})


def chunk(name: bytes, data: bytes = b"") -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def mutated(rng: random.Random, data: bytes, most: int = 12) -> bytes:
    """Some bytes changed, cut out or doubled."""
    out = bytearray(data)
    for _ in range(rng.randint(1, most)):
        place = rng.randrange(len(out))
        match rng.randrange(4):
            case 0:
                out[place] ^= 1 << rng.randrange(8)
            case 1:
                out[place] = rng.randrange(256)
            case 2 if len(out) > 64:
                del out[place : place + rng.randint(1, 16)]
            case _:
                out[place:place] = out[place : place + rng.randint(1, 16)]
    return bytes(out)


@kind("content", 3)
def truncated_file(rng: random.Random, world: World) -> Content:
    data = file(rng.choice(_FORMS))
    return encoded(data[: rng.randrange(len(data))])


@kind("content", 4)
def mutated_file(rng: random.Random, world: World) -> Content:
    return encoded(mutated(rng, file(rng.choice(_FORMS))))


@kind("content", 2)
def mutated_progressive(rng: random.Random, world: World) -> Content:
    return encoded(mutated(rng, file("JPEG", progressive=True)))


@kind("content", 1)
def random_bytes(rng: random.Random, world: World) -> Content:
    begin = rng.choice(
        [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\x00\x01\x00\x00WEBPVP8 ", b"GIF89a", b"II*\x00", b"BM", b"8BPS", b"%PDF-1.4"]
    )
    return encoded(begin + rng.randbytes(rng.randrange(4000)))


@kind("content", 1)
def other_formats(rng: random.Random, world: World) -> Content:
    """Formats that Pillow reads and nobody asked for."""
    return encoded(file(rng.choice(["GIF", "BMP", "TIFF", "PPM", "ICO", "TGA", "PCX", "SGI", "JPEG2000" if _writes("JPEG2000") else "BMP"])))


@cache
def _writes(form: str) -> bool:
    try:
        file(form)
    except (KeyError, OSError):
        return False
    return True


@kind("content", 0.5)
def many_scans(rng: random.Random, world: World) -> Content:
    """A progressive JPEG whose last scan comes again and again, half of them as "MPO", which is a JPEG with one more segment."""
    return encoded(_scans(rng.choice([200, 1000, 3000]), mpo=rng.random() < 0.7, side=rng.choice([128, 512, 1024])))


@cache
def _scans(count: int, mpo: bool, side: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (side, side)).save(out, "JPEG", progressive=True, quality=50)
    data = out.getvalue()
    last = data[data.rindex(b"\xff\xda") : -2]
    many = data[:-2] + last * count + b"\xff\xd9"
    return many[:2] + _mpf(2) + many[2:] if mpo else many


def _mpf(pictures: int) -> bytes:
    """The segment that says that a file holds several pictures."""
    tags = [
        struct.pack("<HHI4s", 0xB000, 7, 4, b"0100"),
        struct.pack("<HHII", 0xB001, 4, 1, pictures),
        struct.pack("<HHII", 0xB002, 7, 16 * pictures, 8 + 2 + 12 * 3 + 4),
    ]
    tiff = b"II*\x00" + struct.pack("<IH", 8, 3) + b"".join(tags) + struct.pack("<I", 0)
    entries = b"".join(struct.pack("<LLLHH", 0 if number else 0x20030000, 0, 0, 0, 0) for number in range(pictures))
    payload = b"MPF\x00" + tiff + entries
    return b"\xff\xe2" + struct.pack(">H", len(payload) + 2) + payload


@kind("content", 0.5)
def chunk_flood(rng: random.Random, world: World) -> Content:
    """A PNG with empty chunks by the ten thousand, or with texts that unpack."""
    data, count = file("PNG"), rng.choice([1000, 20_000, 80_000])
    flood = chunk(b"prVt") * count if rng.random() < 0.7 else chunk(b"zTXt", b"a\x00\x00" + zlib.compress(bytes(_MIB))) * (count // 100)
    return encoded(data[:33] + flood + data[33:])


@kind("content", 0.5)
def segment_flood(rng: random.Random, world: World) -> Content:
    """A JPEG with empty APPn and comment segments by the hundred thousand."""
    data, count = file("JPEG"), rng.choice([1000, 50_000, 250_000])
    return encoded(data[:2] + bytes([0xFF, rng.choice([0xE5, 0xE1, 0xE2, 0xED, 0xFE]), 0, 2]) * count + data[2:])


@kind("content", 1)
def sixteen_bits(rng: random.Random, world: World) -> Content:
    out = io.BytesIO()
    Image.fromarray(picture()[..., 0].astype(np.uint16) * 257).save(out, "PNG")
    return encoded(out.getvalue())


@kind("content", 1)
def palettes_and_masks(rng: random.Random, world: World) -> Content:
    """Modes besides RGB: palette, grey, one bit, transparency, CMYK."""
    mode, form = rng.choice(
        [("P", "PNG"), ("L", "PNG"), ("1", "PNG"), ("LA", "PNG"), ("RGBA", "PNG"), ("CMYK", "JPEG"), ("L", "JPEG"), ("RGBA", "WEBP")]
    )
    out = io.BytesIO()
    Image.fromarray(picture()).convert(mode).save(out, form)
    return encoded(out.getvalue())


@kind("content", 1)
def announced_size(rng: random.Random, world: World) -> Content:
    """Headers that announce what is not there, or nothing."""
    width, height = rng.choice([0, 1, 4097, 30_000, 65_535]), rng.choice([0, 1, 2161, 30_000, 65_535])
    if rng.random() < 0.5:
        data = bytearray(file("JPEG"))
        place = data.index(b"\xff\xc0") + 5
        data[place : place + 4] = struct.pack(">HH", height, width)
    else:
        header = struct.pack(">IIBBBBB", rng.choice([width, 2**31 - 1, 2**32 - 1]), height, rng.choice([1, 8, 16]), rng.choice([0, 2, 3, 6]), 0, 0, 0)
        data = bytearray(file("PNG")[:8] + chunk(b"IHDR", header) + file("PNG")[33:])
    return encoded(bytes(data))


@kind("content", 0.3)
def empty_pixels(rng: random.Random, world: World) -> Content:
    """A whole picture, as large as is allowed or a little larger, in few bytes."""
    return encoded(black(*rng.choice([(4096, 2160), (4096, 2161), (4097, 100), (100, 4097), (1, 4096), (4096, 1), (1, 1)])))


@cache
def black(width: int, height: int) -> bytes:
    """A black picture as a PNG, which is small whatever its size."""
    out = io.BytesIO()
    Image.new("L", (width, height)).save(out, "PNG")
    return out.getvalue()


@kind("content", 0.3)
def long_file(rng: random.Random, world: World) -> Content:
    """A good file with a long tail, at the limit of bytes and above it."""
    return encoded(file("PNG") + bytes(rng.choice([1 << 20, (16 << 20) - len(file("PNG")), (16 << 20) + 1])))


@kind("content", 2)
def raw_shapes(rng: random.Random, world: World) -> Content:
    """Raw frames with odd numbers of pixels or channels; most arrays are as large as they say."""
    sides = [0, 1, 2, 3, 7, 64, 4096, 4097]
    height, width, channels = rng.choice(sides), rng.choice(sides), rng.choice([0, 1, 2, 3, 3, 3, 4, 64])
    if height * width * channels > _MIB:
        width = 1
    return Content({"FRAME": np.zeros((height, width, channels), np.uint8), "PROMPTS": b"[]"})


@kind("content", 3)
def raw_lies(rng: random.Random, world: World) -> Content:
    """Shapes that do not fit the bytes, the type or the model."""
    shape = rng.choice([(1, 12_288), (1, 2**62), (1, -1), (2, 192), (12_288,), (1, 0), (1, 0, 2**62, 3), (), (1, 64, 64, 3), (1, 64, 64, 3, 1)])
    size = rng.choice([(64, 64), (2**31 - 1, 2**31 - 1), (-1, -4096), (0, 0), (0, 2**31 - 1), (64, -64)])
    frame = Raw(rng.choice(["UINT8", "UINT8", "FP32", "BYTES", "INT64", "NOTHING"]), shape, bytes(rng.choice([0, 10, 12_288])))
    return Content({"FRAME": frame, "FRAME_SIZE": np.array(size, np.int32)})


@kind("content", 1)
def both_or_neither(rng: random.Random, world: World) -> Content:
    return rng.choice(
        [Content({"FRAME": picture(), "FRAME_ENCODED": file("PNG")}), Content({}), Content({"PROMPTS": b"[]"}), Content({"FRAME_ENCODED": b""})]
    )


@kind("content", 3)
def bytes_tensor_lies(rng: random.Random, world: World) -> Content:
    """BYTES whose lengths do not fit: longer than what is there, several elements, none."""
    data = rng.choice(
        [b"", b"\x00", struct.pack("<I", 2**32 - 1), struct.pack("<I", 10) + b"abc", struct.pack("<II", 0, 0), struct.pack("<I", 0) * 1000]
    )
    return Content({rng.choice(["FRAME_ENCODED", "PROMPTS"]): Raw("BYTES", rng.choice([(1, 1), (1, 2), (1, 1000), (0, 1), (1, 0)]), data)})


@kind("content", 3)
def unknown_tensors(rng: random.Random, world: World) -> Content:
    name = rng.choice(["IMAGE", "ENVELOPE", "STATUS", "START", "", "FRAME\x00", "EMBEDDING", "TOKEN", "x" * 10_000])
    return Content({"FRAME": picture(), name: np.zeros(3, np.uint8)})
