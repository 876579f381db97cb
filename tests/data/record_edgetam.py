"""Asks the official video predictor of EdgeTAM what a scenario says and writes its answers, and the weights that it had, into a folder.

    PYTHONPATH=EdgeTAM:client/src:build/src python record_edgetam.py edgetam_small     # EdgeTAM: a checkout of facebookresearch/EdgeTAM

Every object has an inference state of its own: officially several objects of one state share their conditioning frames
(sam2_video_predictor.py:426-590), and the perceiver raises for more than one (modeling/perceiver.py:298). EdgeTAM's package is called sam2, so that
`record_sam2` finds it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import timm.models

create_model = timm.models.create_model
timm.models.create_model = lambda name, **options: create_model(name, **{**options, "pretrained": False})  # the checkpoint brings the weights
from record_sam2 import BOX, FRAMES, MASK, Recorder, points, propagate, write  # noqa: E402
from sam2.build_sam import build_sam2_video_predictor  # noqa: E402

from masklet_build.checkpoints import random_weights  # noqa: E402
from masklet_build.models.variants import variant  # noqa: E402
from tests.golden.rebuilt import rebuild  # noqa: E402

SIDE, SEED = 512, 41  # at 512 pixels a perceiver's window has 2 x 2 features
# Objects that differ more than those of `random_weights`: they look closely at memories, and the presence and IoU heads say different things of them.
GAINS = {
    "memory_attention": {"q_proj": 2.5, "out_proj": 2.0},
    "sam_mask_decoder.pred_obj_score_head.layers.2": {"": 8.0},
    "sam_mask_decoder.iou_prediction_head.layers.2": {"": 4.0},
}
SCORE = 0.0  # presence logit of a clicked object in a random image: some tracked objects are absent
STEPS = [
    points(0, 1, [[80, 110]], [1]),
    BOX,
    MASK,
    propagate(0, 4),
    points(4, 1, [[104, 128], [40, 40]], [1, 0]),
    {"op": "remove", "object": 3},
    propagate(5, 2),
    points(8, 2, [[260, 102]], [1]),
    propagate(8, 3),
    {"op": "remove", "object": 2},
    propagate(12, 4),
]


class OneStateEach(Recorder):
    """Every step goes to the states of the objects that it concerns."""

    def __init__(self, predictor: Any, steps: list[dict[str, Any]]) -> None:
        self.states: dict[int, Any] = {}
        super().__init__(predictor, steps)

    def _choose(self, step: dict[str, Any]) -> None:
        if step["object"] not in self.states:
            self.states[step["object"]] = self.predictor.init_state(str(FRAMES))
        self.state = self.states[step["object"]]

    def points(self, number: int, step: dict[str, Any]) -> None:
        self._choose(step)
        super().points(number, step)

    def box(self, number: int, step: dict[str, Any]) -> None:
        self._choose(step)
        super().box(number, step)

    def mask(self, number: int, step: dict[str, Any]) -> None:
        self._choose(step)
        super().mask(number, step)

    def remove(self, number: int, step: dict[str, Any]) -> None:
        del self.states[step["object"]]

    def propagate(self, number: int, step: dict[str, Any]) -> None:
        for state in self.states.values():
            self.state = state
            super().propagate(number, step)


def make_weights(folder: Path) -> None:
    """recipe.json, and in calibrated.npz what calibration sets: last layers of the mask and presence heads."""
    random_weights._GAINS = {**GAINS, **{part: gains for part, gains in random_weights._GAINS.items() if part not in GAINS}}
    random_weights._SCORE = SCORE
    state = random_weights.random_checkpoint(variant(f"edgetam@{SIDE}"), SEED)
    drawn = {name: (tuple(value.shape), *random_weights._distribution(name, tuple(value.shape))) for name, value in state.items()}
    params = {name: {"shape": shape, "offset": offset, "scale": scale} for name, (shape, offset, scale) in drawn.items()}
    (folder / "recipe.json").write_text(json.dumps({"family": "edgetam", "seed": SEED, "params": params}) + "\n", encoding="utf-8")
    np.savez_compressed(folder / "calibrated.npz")
    plain = rebuild(folder)
    np.savez_compressed(folder / "calibrated.npz", **{name: value.numpy() for name, value in state.items() if not value.equal(plain[name])})


def main(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    make_weights(folder)
    grid = SIDE // 16
    overrides = [f"++model.image_size={SIDE}", f"++model.memory_attention.layer.cross_attention.q_sizes=[{grid},{grid}]"]
    predictor = build_sam2_video_predictor("configs/edgetam.yaml", device="cpu", hydra_overrides_extra=overrides)
    state = rebuild(folder)
    predictor.load_state_dict(state, strict=True)
    write(folder, "e1", "edgetam", "facebookresearch/EdgeTAM 9cc44bf", SIDE, state, OneStateEach(predictor, STEPS))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
