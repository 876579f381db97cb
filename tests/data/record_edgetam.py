"""Asks the official video predictor of EdgeTAM what a scenario says and writes its answers, and the weights that it had, into a folder.

    PYTHONPATH=EdgeTAM:.:client/src:build/src python tests/data/record_edgetam.py tests/data/edgetam_small

Every object has an inference state of its own: officially several objects of one state share their conditioning frames
(sam2_video_predictor.py:426-590), and the perceiver raises for more than one (modeling/perceiver.py:298).
"""

from __future__ import annotations

import sys
from pathlib import Path

import timm.models
from recording import BOX, MASK, OneStateEach, make_weights, points, propagate, record

create_model = timm.models.create_model
timm.models.create_model = lambda name, **options: create_model(name, **{**options, "pretrained": False})  # the checkpoint brings the weights
from sam2.build_sam import build_sam2_video_predictor  # noqa: E402

from masklet_build.models.variants import variant  # noqa: E402

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
    propagate(12, None),
]


def main(folder: Path) -> None:
    made = variant(f"edgetam@{SIDE}")
    state = make_weights(folder, made, SEED, GAINS, SCORE)
    grid = SIDE // 16
    overrides = [f"++model.image_size={SIDE}", f"++model.memory_attention.layer.cross_attention.q_sizes=[{grid},{grid}]"]
    predictor = build_sam2_video_predictor("configs/edgetam.yaml", device="cpu", hydra_overrides_extra=overrides)
    predictor.load_state_dict(state, strict=True)
    record(folder, "e1", "facebookresearch/EdgeTAM 9cc44bf", made, state, lambda noise: OneStateEach(predictor, STEPS, noise))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
