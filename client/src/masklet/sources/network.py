"""What an address or a camera gives: live frames, or the film that lies on a web server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from masklet.sources.addresses import scheme, without_secrets
from masklet.sources.live import Live
from masklet.sources.source import Source, Tell
from masklet.sources.video import TIMEOUT_S, open_container, rate, read_video, video_stream

# TCP first: over UDP pictures are damaged wherever a packet is lost. No buffer: else what came while the stream was looked at is a second old.
_RTSP = {"rtsp_flags": "prefer_tcp", "fflags": "nobuffer", "flags": "low_delay"}
_OTHERS = {"reconnect": "1"}  # a film whose connection breaks goes on where it was, if the server can


def open_address(address: str, max_side: int | None, skipped: Tell) -> Source:
    """A stream, whose newest frame counts, or every frame of a film on a web server. Raises SourceError, without the address's secrets."""
    address = scheme(address) + address[len(scheme(address)) :]  # FFmpeg knows them in small letters only
    shown, rtsp = without_secrets(address), scheme(address) in ("rtsp", "rtsps")

    def opened() -> Any:
        return open_container(address, shown, timeout=(TIMEOUT_S, TIMEOUT_S), options=dict(_RTSP if rtsp else _OTHERS))

    container = opened()
    if not rtsp and _ends(container):
        return read_video(container, opened, shown, max_side, skipped)
    return Live(container, opened, shown, max_side).source(rate(video_stream(container, shown)))


def open_camera(device: Path, max_side: int | None) -> Source:
    """The newest frames of a camera of Linux. Raises SourceError."""

    def opened() -> Any:
        return open_container(str(device), str(device), format="v4l2", timeout=(TIMEOUT_S, TIMEOUT_S))

    container = opened()
    return Live(container, opened, str(device), max_side).source(rate(video_stream(container, str(device))))


def _ends(container: Any) -> bool:
    """Whether it is a film: its length is known, or the size of its file, which in HLS is that of the playlist."""
    return container.duration is not None or (container.size > 0 and container.format.name not in ("hls", "dash"))
