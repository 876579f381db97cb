"""What is drawn and what the masks say are the same thing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from masklet_build.clips.draw import Drawn, draw, masks_at
from masklet_build.clips.looks import FINER, Look, Looks, dress
from masklet_build.clips.outlines import FAMILIES, Part, outline
from masklet_build.clips.scene import Actor, Scene, build
from masklet_build.clips.stories import STORIES
from masklet_build.clips.subsets import happened

SIDE = 80
TIPS = 0.005  # of an object's pixels: as many may lie at the ends of thin tips, which cover less than half of a pixel


def scene_of(seed: int, story: str = "cross", frames: int = 6) -> tuple[Scene, Looks]:
    """A scene of sharp frames, and looks without all that reaches over the border of an actor: shadows, noise, blur."""
    random = np.random.default_rng(seed)
    while True:
        scene = build(random, story, frames=frames, height=SIDE, width=SIDE, objects=3, calm=False)
        if scene.samples == 1:
            looks = dress(random, scene)
            plain = {number: replace(look, shadow=0.0) for number, look in looks.actors.items()}
            return scene, replace(looks, actors=plain, noise=None, softness=0.0)


def grown(mask: np.ndarray) -> np.ndarray:
    """The mask and the eight neighbours of each of its pixels."""
    padded = np.pad(mask, 1)
    return np.any([padded[y : y + mask.shape[0], x : x + mask.shape[1]] for y in range(3) for x in range(3)], axis=0)


def eaten(mask: np.ndarray) -> np.ndarray:
    """The mask without the pixels at its border."""
    return ~grown(~mask)


@pytest.mark.parametrize("seed", range(6))
def test_a_mask_is_where_the_picture_changes_without_its_object(seed: int) -> None:
    """But for borders, where a pixel is a mixture: of the object and what is around it, or of what is before it and the object."""
    scene, looks = scene_of(seed)
    scene = with_all_tracked(scene)
    drawn = draw(scene, looks)
    for actor in scene.actors:
        without = draw(replace(scene, actors=[other for other in scene.actors if other is not actor]), looks)
        for frame, differs in enumerate((drawn.frames != without.frames).any(axis=3)):
            masks = drawn.masks[frame]
            own = masks[actor.number]
            alone = masks_at(replace(scene, actors=[actor]), frame)[0][actor.number]
            others = np.any([eaten(mask) for number, mask in enumerate(masks) if number != actor.number], axis=0)
            assert differs[own].sum() >= 0.9 * own.sum()  # some pixels have the colour of what is behind, by chance
            tips = max(1, TIPS * alone.sum())
            assert differs[~grown(alone)].sum() <= tips
            assert differs[others].sum() <= tips


def with_all_tracked(scene: Scene) -> Scene:
    return replace(scene, actors=[replace(actor, number=index) for index, actor in enumerate(scene.actors)], tracked=len(scene.actors))


@pytest.mark.parametrize("seed", range(4))
def test_a_pixel_outside_all_actors_shows_the_background(seed: int) -> None:
    scene, looks = scene_of(seed)
    drawn = draw(with_all_tracked(scene), looks)
    empty = draw(replace(scene, actors=[]), looks)
    covered = np.array([grown(masks.any(axis=0)) for masks in drawn.masks])
    differs = (drawn.frames != empty.frames).any(axis=3)
    assert differs[~covered].sum() <= TIPS * covered.sum()


@pytest.mark.parametrize("story", STORIES)
def test_occlusion_is_what_masks_lose_beside_each_object_alone(story: str) -> None:
    scene, looks = scene_of(STORIES.index(story), story, frames=12)
    drawn = draw(scene, looks)
    alone = np.zeros((scene.frames, scene.tracked), np.int64)
    for actor in scene.actors:
        if actor.number is not None:
            only = replace(scene, actors=[actor])
            alone[:, actor.number] = [masks_at(only, frame)[0][actor.number].sum() for frame in range(scene.frames)]
    assert np.array_equal(drawn.unoccluded, alone)
    lost = (alone > 0.003 * SIDE**2) & (drawn.masks.sum(axis=(2, 3)) < 0.5 * alone)
    assert ("occlusion" in happened(drawn, False)) == lost.any()


def test_subsets_are_told_from_masks() -> None:
    masks = np.ones((30, 2, 10, 10), np.bool_)
    assert happened(drawn_from(masks), False) == {"plain"}
    assert happened(drawn_from(masks), True) == {"look_alike"}
    away = masks.copy()
    away[10:17, 1] = False
    assert happened(drawn_from(away), False) == {"plain"}  # 7 frames are too few
    away[17, 1] = False
    assert happened(drawn_from(away), False) == {"return"}
    away[20:, 1] = False
    assert happened(drawn_from(away), False) == {"plain"}  # it is back for 2 frames only
    hidden = masks.copy()
    hidden[5, 0, :5] = False
    assert happened(drawn_from(hidden, masks), False) == {"plain"}  # half of it is still there
    hidden[5, 0, 5, 0] = False
    assert happened(drawn_from(hidden, masks), False) == {"occlusion"}


def drawn_from(masks: np.ndarray, unoccluded: np.ndarray | None = None) -> Drawn:
    return Drawn(np.zeros(0, np.uint8), masks, (masks if unoccluded is None else unoccluded).sum(axis=(2, 3)))


@pytest.mark.parametrize("family", [name for name in FAMILIES if name not in ("creature", "fish", "arm", "ring")])
def test_a_mask_is_the_pixels_that_a_polygon_covers_by_half(family: str) -> None:
    """Beside an even-odd rule on a fine grid: no border is fatter on one side."""
    scene, _ = scene_of(1)
    parts = outline(np.random.default_rng(5), np.zeros(1), family)[:1]
    corners = 22 * parts[0].corners[0] + (40.3, 38.6)
    mask = masks_at(replace(scene, frames=1, tracked=1, actors=[actor_of(corners[None], [0.0])]), 0)[0][0]
    expected = coverage(corners)
    assert mask[expected > 0.75].all()
    assert not mask[expected < 0.1].any()
    border = grown(expected > 0) & ~(expected == 1)
    assert abs(mask.sum() - expected.sum()) < 0.2 * border.sum()  # Pillow draws the subpixels that a border runs through, a sixth of a pixel
    shift = np.argwhere(mask).mean(axis=0) - np.array([(expected * grid).sum() / expected.sum() for grid in np.mgrid[:SIDE, :SIDE]])
    assert np.abs(shift).max() < 0.17  # half a subpixel


def coverage(corners: np.ndarray, fine: int = 6) -> np.ndarray:
    """Part of each pixel (SIDE, SIDE) that a polygon covers."""
    place = (np.arange(SIDE * fine) + 0.5) / fine
    x, y = place[None, :], place[:, None]
    inside = np.zeros((len(place), len(place)), np.bool_)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y0 != y1:
            inside ^= ((y0 > y) != (y1 > y)) & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return inside.reshape(SIDE, fine, SIDE, fine).mean(axis=(1, 3))


def actor_of(corners: np.ndarray, angles: list[float], centre: tuple[float, float] = (40.0, 40.0)) -> Actor:
    """A tracked actor from its corners (S, P, 2) in the frame."""
    count = len(angles)
    return Actor(0, 0, [Part(corners)], np.tile(centre, (count, 1)), np.array(angles), np.ones(count), np.array([32.0, 32.0]), 20.0)


def test_a_texture_turns_with_its_object() -> None:
    """A square with a texture that was turned by a right angle is the picture turned by a right angle."""
    scene, looks = scene_of(3, frames=2)
    square = np.array([[20.0, 20.0], [60.0, 20.0], [60.0, 60.0], [20.0, 60.0]])
    texture = smooth_noise(64 * FINER)
    turned = replace(scene, tracked=1, actors=[actor_of(np.stack([square, square]), [0.0, np.pi / 2])])
    bare = replace(looks, actors={0: Look(texture, 20.0, 1e-9, 0.0, False)}, gain=np.ones((2, 3)), gamma=np.ones(2))
    first, second = draw(turned, bare).frames[:, 22:58, 22:58].astype(int)
    assert np.abs(second - first).mean() > 15
    assert np.abs(second - np.rot90(first, k=-1)).mean() < 4  # x runs right and y down, so a positive angle is clockwise


def smooth_noise(side: int) -> Image.Image:
    coarse = np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8)
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("seed", range(8))
def test_the_camera_never_sees_beyond_the_background(seed: int) -> None:
    scene, looks = scene_of(seed, frames=40)
    white = replace(looks, background=Image.new("RGB", looks.background.size, "white"), gain=np.ones((40, 3)), gamma=np.ones(40))
    assert draw(replace(scene, actors=[]), white).frames.min() == 255


def test_what_stands_in_the_scene_moves_with_the_background() -> None:
    """A mark on the background is seen where the camera says that it went."""
    scene, looks = next(found for found in map(scene_of, range(50)) if np.ptp(found[0].camera.shift) > 3)
    start = np.array([40.5, 40.5])
    matrix = scene.camera.matrices[0]
    place = FINER * (matrix[:, :2] @ (start - scene.camera.middle) + matrix[:, 2] - looks.middle[:, 2]) + np.array(looks.background.size) / 2
    marked = np.zeros((looks.background.height, looks.background.width, 3), np.uint8)
    y, x = np.mgrid[: len(marked), : marked.shape[1]] + 0.5
    marked[np.hypot(x - place[0], y - place[1]) < 8] = 255
    seen = draw(replace(scene, actors=[]), replace(looks, background=Image.fromarray(marked), gain=np.ones((6, 3)), gamma=np.ones(6)))
    centres = np.array([np.argwhere(frame[..., 0] > 128).mean(axis=0)[::-1] + 0.5 for frame in seen.frames])
    assert np.abs(centres - scene.camera.follow(start, 0)).max() < 0.5
    assert np.ptp(centres, axis=0).max() > 1


def test_a_look_alike_has_outline_and_texture_of_the_first_object() -> None:
    scene, looks = scene_of(2, "look_alike")
    pair = [actor for actor in scene.actors if actor.look == 0]
    assert len(pair) >= 2
    assert len({id(looks.actors[actor.look].texture) for actor in pair}) == 1
    own, other = ((actor.parts[0].corners[0] - actor.centre[0]) / actor.radius for actor in pair[:2])
    assert np.allclose(np.hypot(*own.T) / np.hypot(*own[0]), np.hypot(*other.T) / np.hypot(*other[0]))
