"""The size of a JPEG file, from its header."""

from __future__ import annotations

_WITH_SIZE = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # the markers that a size follows


def jpeg_size(content: bytes, name: str = "this") -> tuple[int, int]:
    """(height, width) in the header of a JPEG file, which errors call `name`. Raises ValueError."""
    at = 2
    while content[:2] == b"\xff\xd8" and at + 9 <= len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker in _WITH_SIZE:
            return int.from_bytes(content[at + 5 : at + 7], "big"), int.from_bytes(content[at + 7 : at + 9], "big")
        at += 1 if marker == 0xFF else 2 + int.from_bytes(content[at + 2 : at + 4], "big")  # 0xFF before a marker fills
    raise ValueError(f"{name} is no JPEG file, or damaged. Write it anew.")
