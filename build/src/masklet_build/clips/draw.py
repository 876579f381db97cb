"""Draws a scene: actors back to front over the background, with anti-aliased borders, and their exact masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from masklet_build.clips.looks import FINER, Look, Looks
from masklet_build.clips.scene import Actor, Scene

_FINE = 3  # subpixels per pixel and axis that outlines are drawn with
_COARSE = 4  # pixels per cell of the map that shades come from
_DARK = (10, 5, 25)


@dataclass(frozen=True)
class Drawn:
    """frames (T, H, W, 3) uint8; masks (T, N, H, W) bool; unoccluded (T, N): pixels inside the frame that each object has if nothing is before it."""

    frames: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    unoccluded: NDArray[np.int64]


@dataclass(frozen=True)
class _Stencil:
    """What an actor covers: `cover`, L, of the pixels from `left`, `top` on."""

    left: int
    top: int
    cover: Image.Image
    fine: Image.Image


def masks_at(scene: Scene, frame: int) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Masks (N, H, W) and unoccluded pixels (N,) of a frame."""
    sample = frame * scene.samples + scene.samples // 2
    owner = _Owner(scene)
    for actor in scene.actors:
        stencil = _stencil(scene, actor, sample)
        if stencil is not None:
            owner.take(actor, stencil)
    return owner.masks(), owner.unoccluded


def draw(scene: Scene, looks: Looks) -> Drawn:
    """All frames."""
    frames = np.empty((scene.frames, scene.height, scene.width, 3), np.uint8)
    masks = np.empty((scene.frames, scene.tracked, scene.height, scene.width), np.bool_)
    unoccluded = np.empty((scene.frames, scene.tracked), np.int64)
    for frame in range(scene.frames):
        owner = _Owner(scene)
        pictures = []
        for sample in range(frame * scene.samples, (frame + 1) * scene.samples):
            own = owner if sample == frame * scene.samples + scene.samples // 2 else None
            pictures.append(_picture(scene, looks, sample, own))
        frames[frame] = _exposed(pictures, looks, frame)
        masks[frame], unoccluded[frame] = owner.masks(), owner.unoccluded
    return Drawn(frames, masks, unoccluded)


class _Owner:
    """Whose pixel each is, filled back to front."""

    def __init__(self, scene: Scene) -> None:
        self._owner = np.zeros((scene.height, scene.width), np.uint8)
        self.unoccluded = np.zeros(scene.tracked, np.int64)

    def take(self, actor: Actor, stencil: _Stencil) -> None:
        """Gives the actor all pixels that it covers by half or more."""
        left, top = max(stencil.left, 0), max(stencil.top, 0)
        inside = np.asarray(stencil.cover)[top - stencil.top :, left - stencil.left :] >= 128
        target = self._owner[top : top + inside.shape[0], left : left + inside.shape[1]]
        inside = inside[: target.shape[0], : target.shape[1]]
        target[inside] = 0 if actor.number is None else actor.number + 1
        if actor.number is not None:
            self.unoccluded[actor.number] = np.count_nonzero(inside)

    def masks(self) -> NDArray[np.bool_]:
        """(N, H, W)."""
        return np.asarray(self._owner == np.arange(1, len(self.unoccluded) + 1, dtype=np.uint8)[:, None, None])


def _stencil(scene: Scene, actor: Actor, sample: int) -> _Stencil | None:
    """None where the actor is outside the frame."""
    low = np.min([part.corners[sample].min(axis=0) for part in actor.parts], axis=0)
    high = np.max([part.corners[sample].max(axis=0) for part in actor.parts], axis=0)
    if (high < 0).any() or low[0] > scene.width or low[1] > scene.height:
        return None
    room = int(0.3 * actor.radius) + 3  # for shadow and shade
    left, top = (int(max(np.floor(end) - room, -2 * room)) for end in low)
    right, bottom = (int(min(np.ceil(end) + room, limit + 2 * room)) for end, limit in zip(high, (scene.width, scene.height), strict=True))
    fine = Image.new("L", (_FINE * (right - left), _FINE * (bottom - top)))
    pen = ImageDraw.Draw(fine)
    for part in actor.parts:
        pen.polygon(_fine_corners(part.corners[sample], left, top), fill=0 if part.hole else 255)
    return _Stencil(left, top, fine.reduce(_FINE), fine)


def _fine_corners(corners: NDArray[np.float64], left: int, top: int) -> list[float]:
    """x, y, x, y of a polygon in subpixels. Pillow takes the subpixel that each lies in."""
    flat: list[float] = (_FINE * (corners - (left, top))).ravel().tolist()
    return flat


def _picture(scene: Scene, looks: Looks, sample: int, owner: _Owner | None) -> Image.Image:
    """The scene at one time, before light and lens; fills `owner` on the way."""
    size = (scene.width, scene.height)
    picture = _cut(looks.background, scene.camera.matrices[sample] - looks.middle, scene.camera.middle, size)
    for actor in scene.actors:
        stencil = _stencil(scene, actor, sample)
        if stencil is None:
            continue
        _put(picture, actor, looks.actors[actor.look], stencil, sample, looks.light)
        if owner is not None:
            owner.take(actor, stencil)
    return picture


def _cut(texture: Image.Image, matrix: NDArray[np.float64], origin: NDArray[np.float64], size: tuple[int, int]) -> Image.Image:
    """The part of a texture that pixels see: `matrix` (2, 3) takes them, relative to `origin`, to pixels of the texture, relative to its middle.

    The nearest pixel is taken, which is fast, and fine for a texture of twice the resolution.
    """
    matrix = FINER * matrix
    offset = matrix[:, 2] - matrix[:, :2] @ origin + np.array(texture.size) / 2
    data = (*matrix[0, :2].tolist(), float(offset[0]), *matrix[1, :2].tolist(), float(offset[1]))
    return texture.transform(size, Image.Transform.AFFINE, data, Image.Resampling.NEAREST)


def _put(picture: Image.Image, actor: Actor, look: Look, stencil: _Stencil, sample: int, light: NDArray[np.float64]) -> None:
    """Draws one actor, with a shadow and with less light on its far side: both come from a coarse and soft map of what it covers."""
    size, place = stencil.cover.size, (stencil.left, stencil.top)
    soft = stencil.fine.reduce(_FINE * _COARSE).filter(ImageFilter.BoxBlur(0.3 * actor.radius / _COARSE))
    wide = (_COARSE * soft.width, _COARSE * soft.height)
    if look.shadow:
        shadow = ImageChops.add(soft, soft, 2 / look.shadow).resize(wide, Image.Resampling.BILINEAR)
        x, y = np.rint(-0.25 * actor.radius * light).astype(int).tolist()
        picture.paste((0, 0, 0), (place[0] + x, place[1] + y), shadow)
    scale = actor.scale[sample] * actor.radius / look.radius
    cosine, sine = np.cos(actor.angle[sample]) / scale, np.sin(actor.angle[sample]) / scale
    surface = _cut(look.texture, np.array([[cosine, sine, 0], [-sine, cosine, 0]]), actor.centre[sample] - place, size)
    x, y = np.rint(0.35 * actor.radius * light / _COARSE).astype(int).tolist()
    near = soft.crop((x, y, x + soft.width, y + soft.height))
    shade = ImageChops.subtract(Image.new("L", soft.size, 255), near, 1 / look.shade).resize(wide, Image.Resampling.BILINEAR)
    surface.paste(_DARK, (0, 0), shade)
    if look.rim:
        surface.paste(_DARK, None, _rim(actor, stencil, sample))
    picture.paste(surface, place, stencil.cover)


def _rim(actor: Actor, stencil: _Stencil, sample: int) -> Image.Image:
    """A thin line along the borders of the actor's parts."""
    fine = Image.new("L", stencil.fine.size)
    pen = ImageDraw.Draw(fine)
    for part in actor.parts:
        corners = _fine_corners(part.corners[sample], stencil.left, stencil.top)
        pen.polygon(corners, fill=0)  # over the lines of what is behind this part
        pen.line(corners + corners[:2], fill=190, width=_FINE + 1)
    return fine.reduce(_FINE)


def _exposed(pictures: list[Image.Image], looks: Looks, frame: int) -> NDArray[np.uint8]:
    """What the camera makes of the pictures of one frame: motion blur, softness, light, noise."""
    picture = pictures[0]
    for number, other in enumerate(pictures[1:], 2):
        picture = Image.blend(picture, other, 1 / number)
    if looks.softness:
        picture = picture.filter(ImageFilter.BoxBlur(looks.softness))
    levels = 255 * (np.arange(256) / 255)[None] ** looks.gamma[frame] * looks.gain[frame][:, None]
    picture = picture.point(levels.clip(0, 255).astype(np.uint8).ravel().tolist())
    if looks.noise is not None:
        x, y = looks.shifts[frame].tolist()
        noise = looks.noise.crop((x, y, x + picture.width, y + picture.height))
        picture = ImageChops.add(picture, noise, 1, -128)
    return np.asarray(picture)
