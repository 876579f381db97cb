"""Which kind of source an address is."""

from __future__ import annotations

from pathlib import Path

from masklet.errors import SourceError
from masklet.sources import folder, network, video
from masklet.sources.addresses import scheme
from masklet.sources.source import Source, Tell, warn


def open_source(source: str | Path | int, *, max_side: int | None = None, skipped: Tell = warn) -> Source:
    """The frames of a video file, an image, a folder of images, a camera or a stream. Raises SourceError.

    source    path; number of a camera (0 is /dev/video0); address: rtsp://, rtsps://, http://, https://
    max_side  frames with a longer side are scaled down to it; `size` of a frame stays the source's own
    skipped   told of each frame that cannot be read
    """
    if max_side is not None and max_side < 1:
        raise SourceError(f"max_side is {max_side}. It is the longest side that a picture may have, at least 1 pixel.")
    text = str(source)
    if scheme(text):
        return network.open_address(text, max_side, skipped)
    path = Path(text)
    if text.isdecimal() and not path.exists():
        path = Path(f"/dev/video{text}")
        if not path.exists():
            raise SourceError(f"{path} cannot be opened as a camera: there is none. Cameras are known by number on Linux only.")
    if path.is_char_device():
        return network.open_camera(path, max_side)
    if path.is_dir():
        return folder.open_folder(path, max_side, skipped)
    if folder.is_image(path) and path.exists():
        return folder.open_images([path], text, max_side, skipped)
    return video.open_video(text, text, max_side, skipped)
