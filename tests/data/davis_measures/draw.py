"""Draws the cases in cases.npz: pairs of masks, and two small videos with the labels of a result. numpy only.

python draw.py cases.npz
"""

import sys
from pathlib import Path

import numpy as np

SIZES = ((1, 1), (2, 3), (5, 40), (48, 64), (75, 100), (97, 61), (120, 160), (200, 300))  # discs of radius 1 to 3


def blob(rng, height, width):
    """Some discs and ellipses, joined or cut out of one another; many touch the border."""
    y, x = np.mgrid[:height, :width]
    mask = np.zeros((height, width), bool)
    for _ in range(rng.integers(1, 5)):
        row, column, radius = rng.uniform(-0.1, 1.1) * height, rng.uniform(-0.1, 1.1) * width, rng.uniform(0.05, 0.45) * min(height, width)
        mask ^= np.hypot(y - row, (x - column) * rng.uniform(0.5, 2)) < radius
    return mask


def pairs():
    """True masks and masks to score, by case."""
    rng = np.random.default_rng(2017)
    made = []
    for height, width in SIZES:
        empty, full = np.zeros((height, width), bool), np.ones((height, width), bool)
        point = empty.copy()
        point[height // 2, width // 3] = True
        truth, other = blob(rng, height, width), blob(rng, height, width)
        made += [(empty, empty), (empty, full), (full, empty), (full, full), (empty, point), (point, full), (point, point)]
        made += [(truth, other), (truth, empty), (empty, truth), (truth, ~truth), (truth, rng.random((height, width)) < 0.5)]
        made += [(truth, np.roll(truth, shift, axis)) for axis in (0, 1) for shift in (1, 2, 3, 4)]
        made += [(rng.random((height, width)) < 0.03, rng.random((height, width)) < 0.03)]
    return made


def videos():
    """True labels and result labels (T, H, W) uint8, by name. Objects overlap, vanish, are lost and are mistaken; some true pixels are void (255)."""
    made = {}
    for number, (name, objects, frames) in enumerate((("three", 3, 7), ("one", 1, 5))):
        rng = np.random.default_rng([2018, number])
        truth, result = np.zeros((2, frames, 60, 80), np.uint8)
        for label in range(1, objects + 1):
            shape = blob(rng, 60, 80)
            for time in range(frames):
                truth[time][np.roll(shape, (time * label, -2 * time), (0, 1))] = label
                result[time][np.roll(shape, (time * label + time % 3, -2 * time + label), (0, 1))] = label
        if objects > 1:
            truth[3:5][truth[3:5] == 2] = 0
            result[4:][result[4:] == 3] = 0
            result[5][result[5] == 1] = 2
        truth[:, :6, 10:50] = 255
        made[f"{name}_truth"], made[f"{name}_result"] = truth, result
    return made


if __name__ == "__main__":
    arrays = videos()
    for index, (truth, mask) in enumerate(pairs()):
        arrays[f"{index:03}_truth"], arrays[f"{index:03}_mask"] = truth, mask
    np.savez_compressed(Path(sys.argv[1]), **arrays)
