"""A file cut down to what its first picture is made of, so that Pillow and its libraries never see the rest.

Decoders do more than a picture needs: Pillow reads every segment and chunk in Python, follows the picture lists of MPO and APNG, unpacks texts and
colour profiles, none of which changes a pixel here; libjpeg goes over the whole picture once per scan, and a scan may be without data. What is
left costs time by bytes and by pixels times passes. The cut is one walk over the file, a step for each of its parts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from masklet.errors import BadFrame

_MAX_PARTS = 20_000  # segments or chunks. 16 MiB in chunks of 4 KiB, as some writers of PNG make them, are 4096
_MAX_TABLES = 1 << 17  # bytes of a JPEG's tables: some hundred per scan, and perhaps the thumbnail of JFIF

_MARKER = re.compile(rb"\xff[^\x00\xff]")
_AFTER_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # the data of a scan goes on behind a restart
_BARE = {0x01, *range(0xD0, 0xD9)}  # markers without a length
_SOS, _EOI = 0xDA, 0xD9
_TABLES = {0xC0, 0xC1, 0xC2, 0xC4, 0xDB, 0xDD}  # baseline and progressive frames, Huffman and quantization tables, restart interval
_OTHER_CODINGS = {0xC3, *range(0xC5, 0xD0), 0xDE, 0xDF}  # arithmetic, lossless, hierarchical
_PNG = b"\x89PNG\r\n\x1a\n"


def pixel_data(data: bytes) -> tuple[bytes, int]:
    """The first picture of a JPEG, PNG or WebP as a file of its own, without metadata, and how many passes over its pixels decoding takes.

    Other files come back as they are. Raises BadFrame for what no camera and no editor writes.
    """
    if data.startswith(b"\xff\xd8\xff"):
        picture = _jpeg(data)
        return picture, picture.count(bytes([0xFF, _SOS]))
    if data.startswith(_PNG):
        return _png(data), 1
    return (_webp(data) if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else data), 1


def _jpeg(data: bytes) -> bytes:
    scans_and_tables, tables = [data[:2]], 0
    for marker, segment in _segments(data):
        if marker in _OTHER_CODINGS:
            raise BadFrame("FRAME_ENCODED is a JPEG of arithmetic, lossless or hierarchical coding. Save it as a baseline or progressive JPEG.")
        if marker in _TABLES or segment[4:9] in (b"JFIF\0", b"Adobe"):  # the two segments that say which colours the components are
            tables += len(segment)
        elif marker not in (_SOS, _EOI):
            continue
        scans_and_tables.append(segment)
    if tables > _MAX_TABLES:
        raise BadFrame(f"FRAME_ENCODED is a JPEG with {tables} bytes of tables; the server takes {_MAX_TABLES}. Save it again as an ordinary JPEG.")
    return b"".join(scans_and_tables)


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Markers and segments up to the end of the first picture, as libjpeg finds them; a scan's has its data behind it. Raises BadFrame."""
    place = 2
    for _ in range(_MAX_PARTS):
        found = _MARKER.search(data, place)
        if found is None:
            return
        marker, place = data[found.end() - 1], found.end()
        if marker not in _BARE and marker != _EOI:
            place += max(int.from_bytes(data[place : place + 2], "big"), 2)
        if marker == _SOS:
            after = _AFTER_SCAN.search(data, place)
            place = after.start() if after else len(data)
        yield marker, data[found.start() : place]
        if marker == _EOI:
            return
    raise _too_many_parts()


def _png(data: bytes) -> bytes:
    """Header, palette, and the pixels in one chunk. Of an animation these are its first picture."""
    kept, pixels, place = [_PNG], [], len(_PNG)
    for _ in range(_MAX_PARTS):
        size, kind = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
        end = place + size + 12
        if kind == b"IDAT":
            pixels.append(data[place + 8 : end - 4])
        elif pixels or not kind:
            break  # behind the pixels is nothing that changes them
        elif kind in (b"IHDR", b"PLTE"):
            kept.append(data[place:end])
        place = end
    else:
        raise _too_many_parts()
    idat = b"".join(pixels)
    # Pillow asks for no checksum of pixels.
    return b"".join([*kept, len(idat).to_bytes(4, "big"), b"IDAT", idat, bytes(4), bytes(4), b"IEND", b"\xae\x42\x60\x82"])


def _webp(data: bytes) -> bytes:
    """Header and pixels without alpha, which nobody asks for; of an animation the first picture."""
    kept, place, moving = [], 12, False
    for _ in range(_MAX_PARTS):
        kind, end = data[place : place + 4], place + 8 + int.from_bytes(data[place + 4 : place + 8], "little")
        end += end & 1
        if not kind:
            break
        if kind in (b"VP8X", b"ANIM", b"VP8 ", b"VP8L") or (kind == b"ANMF" and not moving):
            kept.append(data[place:end])
        moving |= kind == b"ANMF"
        place = end
    else:
        raise _too_many_parts()
    body = b"".join(kept)
    return b"RIFF" + (len(body) + 4).to_bytes(4, "little") + b"WEBP" + body


def _too_many_parts() -> BadFrame:
    return BadFrame(f"FRAME_ENCODED is in more than {_MAX_PARTS} segments or chunks. Save it again as an ordinary file.")
