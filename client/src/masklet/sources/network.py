"""Cameras and addresses."""

from __future__ import annotations

from pathlib import Path

from masklet.sources.source import Source, Tell
from masklet.sources.video import open_video


def open_address(address: str, max_side: int | None, skipped: Tell) -> Source:
    """What comes from an address."""
    return open_video(address, "stream", max_side, skipped)


def open_camera(device: Path, max_side: int | None, skipped: Tell) -> Source:
    """What a camera shows."""
    return open_video(str(device), str(device), max_side, skipped)
