"""Masks and annotations as picture files, as people have them: cut-outs, brushes, label pictures.

A picture is read as the first of these that it is:

    transparent somewhere   the object is where it is opaque, from the middle on (128 of 255), whatever the colours
    a label picture         each pixel is a number: palette indices, also where palette colours are odd, and grey without shades from the middle up to
                            white, of 8 or 16 bits. 0 is background; 255 is void where there are other labels, as in DAVIS and YouTube-VOS
    in shades               the object is where it is bright, from the middle on: soft edges, JPEG, colour
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masklet.cli.failure import Failure, need

Mask = NDArray[np.bool_]
Labels = NDArray[np.int64]

VOID = 255
_OTHER_HUE = 0.3  # how far a colour may lie from the usual one, of 1
_MOST_OTHER = 0.05  # share of pixels


def read_mask(file: Path, object_id: int) -> Mask:
    """The mask of one object, bool (H, W). In a picture of several labels it is the one of this number. Raises Failure, also for an empty one."""
    with _opened(file) as image:
        labels = _labels(image)
        mask = _bright(image, file) if labels is None else _chosen(labels, object_id, file)
    if not mask.any():
        raise Failure(f"{file} is empty as a mask: no pixel is opaque and bright, from the middle on (128 of 255). Paint the object white on black.")
    return mask


def read_annotation(file: Path) -> dict[int, Mask]:
    """The masks, bool (H, W), of all labels of a label picture but 0, background, and 255, void. Raises Failure."""
    with _opened(file) as image:
        labels = _labels(image)
    if labels is None:
        advice = "Use a PNG with a palette, or grey, whose numbers are the objects; a mask of one object goes with --mask OBJECT:FILE."
        raise Failure(f"{file} is no annotation: it has colours, shades or transparency, not labels. {advice}")
    found = [int(label) for label in np.unique(labels) if label not in (0, VOID)]
    if not found:
        raise Failure(f"{file} holds no object, only background (0) and void (255). A mask of one object in black and white goes with --mask.")
    return {label: labels == label for label in found}


def _opened(file: Path) -> Any:
    """The picture, decoded."""
    try:
        image = need("PIL.Image").open(file)
        image.load()
    except OSError as error:
        raise Failure(f"{file} cannot be read as a picture: {error.strerror or error}") from error
    return image


def _labels(image: Any) -> Labels | None:
    """The numbers (H, W) of a label picture; None where it is none."""
    if image.format in ("JPEG", "MPO") or _alpha(image) is not None:
        return None
    if image.mode == "P" and not _is_shades(image):
        return np.asarray(image).astype(np.int64)
    grey = _grey(image)
    if grey is None:
        return None
    values = np.unique(grey)
    full = _full(values)
    return None if np.any((values > full // 2) & (values < full)) else grey


def _is_shades(image: Any) -> bool:
    """Whether a picture with a palette has one of many greys: then it is in shades, saved with a palette."""
    used = np.unique(np.asarray(image))
    colours = np.asarray(image.convert("RGB")).reshape(-1, 3)
    return len(used) > 3 and bool((colours == colours[:, :1]).all()) and int(colours.max()) > VOID // 2


def _chosen(labels: Labels, object_id: int, file: Path) -> Mask:
    """The pixels of the object in a label picture."""
    found = [int(label) for label in np.unique(labels) if label != 0]
    objects = [label for label in found if label != VOID] or found
    if len(objects) <= 1:
        return np.isin(labels, objects)
    if object_id in objects:
        return np.asarray(labels == object_id)
    raise Failure(
        f"{file} holds the labels {', '.join(map(str, objects))}, and none is object {object_id}. "
        "Name one of them, as --mask LABEL:FILE, or take all with --annotation FILE."
    )


def _bright(image: Any, file: Path) -> Mask:
    """The opaque pixels where some are not; else the bright ones, from the middle on. Raises Failure for several colours."""
    alpha = _alpha(image)
    if alpha is not None:
        return alpha > VOID / 2
    grey = _grey(image)
    if grey is not None:
        return np.asarray(grey > _full(np.unique(grey)) / 2)
    pixels = np.asarray(image.convert("RGB")).astype(np.int64)
    brightest = pixels.max(axis=2)
    bright = brightest > min(brightest.max(), VOID) / 2
    hues = pixels[bright] / brightest[bright][:, None]
    if len(hues) and (np.abs(hues - np.median(hues, axis=0)).max(axis=1) > _OTHER_HUE).mean() > _MOST_OTHER:
        advice = "Make all but the object transparent, or paint the object in one colour on black; several objects: one mask each, or labels."
        raise Failure(f"{file} is no mask: it has several colours. {advice}")
    return np.asarray(bright)


def _alpha(image: Any) -> NDArray[np.uint8] | None:
    """How opaque each pixel is (H, W); None where all of them are, or only the background index of a palette is not."""
    if image.mode not in ("LA", "PA", "La", "RGBA", "RGBa") and "transparency" not in image.info:
        return None
    alpha = np.asarray(image.convert("RGBA"))[..., 3]
    if alpha.min() == VOID or (image.mode == "P" and not np.asarray(image)[alpha < VOID].any()):
        return None
    return alpha


def _grey(image: Any) -> Labels | None:
    """The brightness (H, W) of a picture without colours, of 8 or 16 bits; None for one with colours."""
    if image.mode == "1":
        return np.asarray(image).astype(np.int64)
    if image.mode == "F":  # TIFF: 0 to 1, or to 255
        values = np.nan_to_num(np.asarray(image))
        return np.asarray(np.rint(values * (VOID if values.max(initial=0) <= 1 else 1)).clip(0, 65535), np.int64)
    if image.mode == "L" or image.mode.startswith("I"):
        return np.asarray(image).astype(np.int64)
    pixels = np.asarray(image.convert("RGB")).astype(np.int64)
    spread = 0 if image.format not in ("JPEG", "MPO") else 16  # what JPEG makes of grey
    return np.asarray(pixels.max(axis=2)) if int(np.ptp(pixels, axis=2).max()) <= spread else None


def _full(values: Labels) -> int:
    """White, of a picture with these values."""
    return VOID if values.max(initial=0) <= VOID else 65535
