"""What a tracked video looks like: an overlay video, the same small for a page, and a contact sheet, all with a caption that says what one sees."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from masklet.cli.film import Film
from masklet.overlay import colour, contact_sheet, overlay
from masklet.results import TrackedFrame

Frame = NDArray[np.uint8]
Prompt = Mapping[str, Any]

_PANEL = 480  # width of a panel of the sheet, pixels
_PANELS = 9
_COLUMNS = 3
_GAP = 8
_MOVING = 360  # width of the moving picture, pixels; it has every second frame
_MOVING_FRAMES = 60  # at most, so that a long video makes no large file


class Pictures:
    """Writes overlay.mp4 frame by frame, and at the end overlay.webp, a small moving picture of its beginning, and contact_sheet.png.

    note: a line below every picture. A frame is drawn with masks and their boxes; on the sheet the first panel shows the prompts instead.
    """

    def __init__(self, out: Path, fps: float, note: str) -> None:
        self.film, self.sheet = out / "overlay.mp4", out / "contact_sheet.png"
        self.moving, self._fps = out / "overlay.webp", fps
        self._film = Film(self.film, fps)
        self._note = note
        self._small: list[Image.Image] = []
        self._panels: list[Frame] = []

    def add(self, frame: Frame, result: TrackedFrame, prompts: Mapping[int, Prompt]) -> None:
        """A frame and its result; `prompts` by object, if it was prompted."""
        drawn = overlay(frame, result.masks, result.object_ids, result.boxes)
        captioned = _with_caption(drawn, f"frame {result.frame_index}", self._note)
        self._film.add(captioned, result.frame_index / self._fps)
        if result.frame_index % 2 == 0 and len(self._small) < _MOVING_FRAMES:
            self._small.append(Image.fromarray(_narrow(captioned, _MOVING)))
        if prompts:
            self._panels.append(_panel(_prompted(frame, prompts), f"frame {result.frame_index}: prompts"))
        self._panels.append(_panel(drawn, f"frame {result.frame_index}"))

    def __enter__(self) -> Pictures:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._film.close()
        if self._small and kind is None:
            first, *others = self._small
            first.save(self.moving, save_all=True, append_images=others, duration=round(2000 / self._fps), loop=0, quality=60, method=6)
        if self._panels and kind is None:
            picked = np.linspace(1, len(self._panels) - 1, min(_PANELS, len(self._panels)) - 1).round().astype(int)
            sheet = contact_sheet([self._panels[0], *(self._panels[index] for index in picked)], _COLUMNS, _GAP)
            Image.fromarray(_with_caption(np.pad(sheet, ((_GAP, 0), (_GAP, _GAP), (0, 0))), "masklet", self._note)).save(self.sheet)


def _panel(image: Frame, title: str) -> Frame:
    return _with_caption(_narrow(image, _PANEL), title, "")


def _narrow(image: Frame, width: int) -> Frame:
    height = round(image.shape[0] * width / image.shape[1])
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))


def _with_caption(image: Frame, left: str, right: str) -> Frame:
    """The image on top of a dark band with two texts; the second gets as large as fits."""
    width = image.shape[1]
    size = max(11, round(width / 45))
    band = Image.new("RGB", (width, 2 * size), (24, 24, 24))
    draw = ImageDraw.Draw(band)
    font = ImageFont.load_default(size)
    draw.text((size / 2, size), left, font=font, fill=(200, 200, 200), anchor="lm")
    room = width - 2 * size - draw.textlength(left, font=font)
    if right:
        needed = draw.textlength(right, font=font)
        fitting = font if needed <= room else ImageFont.load_default(size * room / needed)
        draw.text((width - size / 2, size), right, font=fitting, fill=(255, 210, 90), anchor="rm")
    return np.concatenate([image, np.asarray(band)])


def _prompted(frame: Frame, prompts: Mapping[int, Prompt]) -> Frame:
    """The frame with what the user said: a dot for a click, a rectangle for a box."""
    image = Image.fromarray(frame)
    draw = ImageDraw.Draw(image)
    unit = max(frame.shape[:2]) / 160
    for object_id, prompt in prompts.items():
        for x, y in prompt.get("points", ()):
            draw.ellipse((x - 2 * unit, y - 2 * unit, x + 2 * unit, y + 2 * unit), fill=colour(object_id), outline="white", width=round(unit / 2))
        if "box" in prompt:
            draw.rectangle(tuple(prompt["box"]), outline=colour(object_id), width=max(1, round(unit / 2)))
    return np.asarray(image)
