"""Asks the official video predictors of SAM 2 and 2.1 what a scenario says, at any image size, and writes weights and answers.

    PYTHONPATH=sam2:.:client/src:build/src python tests/data/record_sam2.py sam2.1_t@256 43 tests/data/sam2.1_t_small q1 q2 q4
    PYTHONPATH=sam2:.:client/src:build/src python tests/data/record_sam2.py sam2.1_t@128 43 tests/data/sam2.1_t_pointers q3

It needs a checkout of facebookresearch/sam2.
"""

from __future__ import annotations

import sys
from pathlib import Path

from recording import BOX, MASK, Recorder, make_weights, points, propagate, record
from sam2.build_sam import build_sam2_video_predictor

from masklet_build.models.variants import variant

# Objects that differ more than those of `random_weights`: they look closely at memories.
GAINS = {"memory_attention": {"q_proj": 2.5, "out_proj": 2.0}}
# Pointers, and their code of time, as loud as memories: one that is missing moves the masks. With more, noise does, too.
POINTER_GAINS = {**GAINS, "obj_ptr_proj.layers.2": {"": 4.0}, "obj_ptr_tpos_proj": {"": 4.0}}
SCORE = 5.0
SCENARIOS = {
    # click, box and mask; a tracked frame corrected; an object added later; a second conditioning frame; 30 frames forward
    "q1": [
        points(0, 1, [[80, 110]], [1]),
        BOX,
        MASK,
        propagate(0, 8),
        points(8, 1, [[128, 125], [40, 40]], [1, 0]),
        points(9, 4, [[240, 100]], [1]),
        propagate(9, 4),
        points(14, 2, [[230, 111]], [1]),
        propagate(14, None),
    ],
    # prompts late in the clip, tracked backwards
    "q2": [
        points(24, 1, [[80, 110]], [1]),
        {**BOX, "frame": 24},
        propagate(24, 20, reverse=True),
    ],
    # what only a predictor that holds the whole clip can say: a click added to another; a correction far behind, overwritten as tracking begins anew;
    # one that stays, since tracking goes on behind it; an object that joins on a frame long tracked; one that leaves
    "q4": [
        points(0, 1, [[80, 110]], [1]),
        {**points(0, 1, [[90, 120]], [1]), "clear_old_points": False},
        BOX,
        propagate(None, 17),
        points(13, 1, [[40, 40]], [0]),
        propagate(None, 14),
        points(9, 2, [[300, 90], [40, 40]], [1, 0]),
        propagate(10, 3),
        {**MASK, "frame": 5},
        propagate(5, 3),
        {"op": "remove", "object": 2},
        propagate(7, 3),
    ],
    # a click and nothing else, for what pointers do
    "q3": [points(0, 1, [[80, 110]], [1]), propagate(0, None)],
}


def main(name: str, seed: int, folder: Path, scenarios: list[str]) -> None:
    made = variant(name)
    generation, size = name.partition("@")[0].rsplit("_", 1)
    state = make_weights(folder, made, seed, POINTER_GAINS if "q3" in scenarios else GAINS, SCORE)
    overrides = [f"model.image_size={made.image_size}"]
    predictor = build_sam2_video_predictor(f"configs/{generation}/{generation}_hiera_{size}.yaml", device="cpu", hydra_overrides_extra=overrides)
    predictor.load_state_dict(state, strict=True)
    for scenario in scenarios:
        record(
            folder, scenario, "facebookresearch/sam2 2b90b9f", made, state, lambda noise, steps=SCENARIOS[scenario]: Recorder(predictor, steps, noise)
        )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
