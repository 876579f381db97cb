"""A page of pictures: masks of a replay beside those that were recorded."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masklet import rle
from masklet.recording.frames import picture
from masklet.recording.reader import Recording
from masklet.recording.replay import Comparison, Difference
from masklet.sources.source import need

_MOST = 24  # pictures of one recording: those that differ most
_LONGEST = 480  # pixels of a side
_RECORDED, _REPLAYED = (230, 159, 0), (0, 114, 178)  # orange and blue, apart also with a colour vision deficiency

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 96rem; padding: 0 1rem; color: #222; background: #fff }
table { border-collapse: collapse } td, th { padding: .2rem .8rem .2rem 0; text-align: left; vertical-align: top }
figure { margin: 0 } img { max-width: 100%; display: block; border-radius: 4px } figcaption { color: #666; font-size: 13px }
.row { display: grid; grid-template-columns: repeat(3, 1fr); gap: .8rem; margin: .4rem 0 1.6rem }
.one { color: #b07800 } .other { color: #0072b2 }
"""


def page(done: Sequence[tuple[Recording, Comparison]]) -> str:
    """One HTML file with everything in it. Raises SourceError where Pillow is missing."""
    parts = [_section(read, compared) for read, compared in done]
    return f"<!doctype html><html lang=en><meta charset=utf-8><title>masklet replay</title><style>{_STYLE}</style>{''.join(parts)}</html>\n"


def _section(read: Recording, compared: Comparison) -> str:
    about = {"recorded": str(read.identity.get("began", ""))[:19], "by": read.identity.get("url", ""), "model": read.identity.get("variant", "")}
    facts = "".join(f"<tr><th>{html.escape(name)}<td>{html.escape(str(value))}" for name, value in about.items())
    worst = sorted((one for one in compared.differences if one.iou is not None), key=lambda one: one.iou or 0.0)[:_MOST]
    rest = [one for one in compared.differences if one.iou is None]
    told = "".join(f"<li>{html.escape(one.text)}" for one in rest[:100])
    return (
        f"<h1>{html.escape(str(read.folder))}</h1><table>{facts}</table><p><b>{html.escape(str(compared))}</b></p>"
        f"{'<ul>' + told + '</ul>' if told else ''}{''.join(_row(read, one) for one in sorted(worst, key=lambda one: one.request))}"
    )


def _row(read: Recording, one: Difference) -> str:
    assert one.recorded is not None
    assert one.replayed is not None
    was, now = rle.decode(one.recorded), rle.decode(one.replayed)
    frame = _scaled(picture(read.exchanges[one.request].request), was.shape)
    pictures = (
        (_tinted(frame, was, _RECORDED), f"<span class=one>recorded</span>, {int(was.sum())} pixels"),
        (_tinted(frame, now, _REPLAYED), f"<span class=other>replayed</span>, {int(now.sum())} pixels"),
        (_difference(frame, was, now), "<span class=one>only recorded</span>, <span class=other>only replayed</span>"),
    )
    figures = "".join(f"<figure><img src='{_uri(picture)}'><figcaption>{text}</figcaption></figure>" for picture, text in pictures)
    return f"<h3>frame {one.frame_index}, object {one.object_id}: IoU {one.iou:.4f}</h3><div class=row>{figures}</div>"


def _scaled(frame: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The frame at the size of its masks, which is its own but for what its file says of turning it."""
    if frame.shape[:2] == shape:
        return frame
    return np.asarray(need("PIL.Image").fromarray(frame).resize((shape[1], shape[0])))


def _tinted(frame: NDArray[np.uint8], mask: NDArray[np.bool_], colour: tuple[int, int, int]) -> NDArray[np.uint8]:
    made = frame.copy()
    made[mask] = (made[mask].astype(np.uint16) + np.array(colour, np.uint16)) // 2
    return made


def _difference(frame: NDArray[np.uint8], was: NDArray[np.bool_], now: NDArray[np.bool_]) -> NDArray[np.uint8]:
    grey: NDArray[np.uint8] = np.repeat((128 + frame.mean(axis=2, keepdims=True) / 2).astype(np.uint8), 3, axis=2)
    grey[was & ~now], grey[now & ~was] = _RECORDED, _REPLAYED
    return grey


def _uri(picture: NDArray[np.uint8]) -> str:
    image: Any = need("PIL.Image").fromarray(picture)
    image.thumbnail((_LONGEST, _LONGEST))
    into = io.BytesIO()
    image.save(into, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(into.getvalue()).decode()}"
