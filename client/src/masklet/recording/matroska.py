"""Matroska files of one picture after the other (RFC 9559), each whole as soon as it is written.

FFmpeg's writer holds the newest picture back until the next one comes, so the last of a process that dies would be lost. Here a picture is a cluster
of its own, which costs 30 bytes. Players and PyAV read the files; what is read here is only what is written here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_CLUSTER = bytes.fromhex("1F43B675")
_UNKNOWN = b"\x01" + b"\xff" * 7  # the size of a segment that is still written
_TIME_BYTES = 8
_BLOCK_HEAD = b"\x81\x00\x00\x80"  # track 1, 0 ms after the cluster's time, a key frame
_SIZE_BYTES = 8
# A cluster is its id and size, the element Timestamp, and the head of a SimpleBlock, whose data are the picture.
_BEFORE_PICTURE = 4 + _SIZE_BYTES + 1 + 1 + _TIME_BYTES + 1 + _SIZE_BYTES + len(_BLOCK_HEAD)


@dataclass(frozen=True)
class Track:
    """How the pictures are encoded: Matroska's name of the codec, what a decoder needs to begin, and width and height in pixels."""

    codec: str
    width: int
    height: int
    private: bytes = b""


@dataclass(frozen=True)
class Place:
    """Where a picture is in its file, bytes, and its time in milliseconds."""

    offset: int
    size: int
    time_ms: int


class MatroskaWriter:
    """Writes a file; `add` returns once the system has the picture."""

    def __init__(self, path: Path, track: Track) -> None:
        self._file: BinaryIO = path.open("xb")
        self._file.write(_head(track))
        self._file.flush()

    def add(self, picture: bytes, time_ms: int) -> None:
        """Appends a picture."""
        block = _element("A3", _BLOCK_HEAD + picture)
        self._file.write(_element(_CLUSTER.hex(), _element("E7", time_ms.to_bytes(_TIME_BYTES, "big"), one_byte=True) + block))
        self._file.flush()

    def close(self) -> None:
        """The file is over."""
        self._file.close()


def pictures(path: Path) -> Iterator[Place]:
    """Where the whole pictures of a file are, which may have been cut off anywhere. Raises ValueError for a file of somebody else."""
    length = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(4096)
        at = head.find(_CLUSTER)
        if at < 0:
            return
        while at + _BEFORE_PICTURE <= length:
            file.seek(at)
            cluster = file.read(_BEFORE_PICTURE)
            if cluster[:4] != _CLUSTER:
                raise ValueError(f"{path} is no film that masklet wrote: there is no picture at byte {at}.")
            end = at + 4 + _SIZE_BYTES + int.from_bytes(cluster[5 : 4 + _SIZE_BYTES], "big")
            if end > length:
                return
            time_at = 4 + _SIZE_BYTES + 2
            time_ms = int.from_bytes(cluster[time_at : time_at + _TIME_BYTES], "big")
            yield Place(at + _BEFORE_PICTURE, end - at - _BEFORE_PICTURE, time_ms)
            at = end


def private_of(path: Path) -> bytes:
    """What a decoder of the file needs to begin."""
    with path.open("rb") as file:
        head = file.read(4096)
    found = head.find(bytes.fromhex("63A2"))
    if found < 0:
        return b""
    size = int.from_bytes(head[found + 3 : found + 2 + _SIZE_BYTES], "big")
    return head[found + 2 + _SIZE_BYTES : found + 2 + _SIZE_BYTES + size]


def _head(track: Track) -> bytes:
    """RFC 9559 and 8794: the EBML header, an open segment, the time scale of 1 ms, and one track of pictures."""
    ebml = _number("4286", 1) + _number("42F7", 1) + _number("42F2", 4) + _number("42F3", 8)
    ebml += _element("4282", b"matroska") + _number("4287", 4) + _number("4285", 2)
    information = _number("2AD7B1", 1_000_000) + _element("4D80", b"masklet") + _element("5741", b"masklet")
    entry = _number("D7", 1) + _number("73C5", 1) + _number("83", 1) + _number("9C", 0) + _element("86", track.codec.encode())
    entry += _element("63A2", track.private) if track.private else b""
    entry += _element("E0", _number("B0", track.width) + _number("BA", track.height))
    segment = bytes.fromhex("18538067") + _UNKNOWN
    return _element("1A45DFA3", ebml) + segment + _element("1549A966", information) + _element("1654AE6B", _element("AE", entry))


def _number(identifier: str, value: int) -> bytes:
    return _element(identifier, value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big"))


def _element(identifier: str, content: bytes, *, one_byte: bool = False) -> bytes:
    """An element, its size in eight bytes, or in one."""
    size = bytes([0x80 | len(content)]) if one_byte else b"\x01" + len(content).to_bytes(_SIZE_BYTES - 1, "big")
    return bytes.fromhex(identifier) + size + content
