"""Asks the official tracker of SAM 3 what a scenario says, with a shallow trunk and small images, and writes weights and answers.

    PYTHONPATH=sam3:.:client/src:build/src python tests/data/record_sam3.py 52 tests/data/sam3_small s1 s2

What is changed of the official program: sizes, which its builder has as constants, and that it runs without CUDA. There is one object: officially
selection goes by the mean of all objects in one inference state.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import torch
from recording import FRAMES, MASK, Recorder, make_weights, propagate, record

from masklet_build.models.trunks import Sam3Vit
from masklet_build.models.variants import trunk_of, variant

for unused in ("model.edt", "perflib.nms", "train.data.collator"):  # Triton kernels, and what training reads
    sys.modules[f"sam3.{unused}"] = MagicMock()
torch.Tensor.cuda = lambda tensor, *args, **options: tensor
torch.Tensor.pin_memory = lambda tensor: tensor
from sam3 import model_builder  # noqa: E402

BLOCKS, SIDE = 4, 336  # one window of the trunk
OFFICIAL = "facebookresearch/sam3 99d02f2"
# The presence head says very different things of different frames: selection drops some. Noise stays small as long as memories are looked at softly.
GAINS = {
    "memory_attention": {"q_proj": 1.8, "out_proj": 1.0},
    "sam_mask_decoder.pred_obj_score_head.layers.2": {"": 16.0},
    "sam_mask_decoder.iou_prediction_head.layers.2": {"": 4.0},
}
SCORE = -1.5  # presence logit of a clicked object in a random image; that of a user's mask is 10
STEPS = [MASK, propagate(0, None)]
SELECTING = {"s1": True, "s2": False}  # the same calls, with memory selection and without


class Sam3Recorder(Recorder):
    """What the official tracker returns has one thing more, in another order; what selection goes by is noted, too."""

    def begin(self) -> Any:
        return self.predictor.init_state(video_path=str(FRAMES), offload_video_to_cpu=True, offload_state_to_cpu=True)

    def prompted(self, number: int, step: dict[str, Any], answer: Any) -> None:
        frame, objects, _, masks = answer
        super().prompted(number, step, (frame, objects, masks))

    def propagate(self, number: int, step: dict[str, Any]) -> None:
        options = {"start_frame_idx": step["start"], "max_frame_num_to_track": step["max_frames"], "reverse": step["reverse"]}
        for frame, objects, _, masks, _ in self.predictor.propagate_in_video(self.state, propagate_preflight=True, tqdm_disable=True, **options):
            self.tracked(number, frame, objects, masks)

    def note(self, item: dict[str, Any]) -> None:
        quality = self.state["output_dict"]["non_cond_frame_outputs"].get(item["frame"], {}).get("eff_iou_score")
        if item["kind"] == "track" and quality is not None:
            item["memory_score"] = round(float(quality), 5)


def build() -> Any:
    """The official tracker on the image encoder that it shares with the detector, in other sizes."""
    trunk = trunk_of(variant(f"sam3:{BLOCKS}@{SIDE}"))
    assert isinstance(trunk, Sam3Vit)
    grid = SIDE // 14
    changes = {
        "ViT": {"img_size": SIDE, "depth": trunk.depth, "global_att_blocks": trunk.global_blocks},
        "PositionEmbeddingSine": {"precompute_resolution": None},  # on CUDA only
        "SimpleMaskDownSampler": {"interpol_size": [16 * grid, 16 * grid]},
        "RoPEAttention": {"feat_sizes": [grid, grid]},
        "Sam3TrackerPredictor": {"image_size": SIDE},
    }
    kept = {name: getattr(model_builder, name) for name in changes}
    for name, options in changes.items():
        setattr(model_builder, name, lambda made=kept[name], own=options, **given: made(**{**given, **own}))
    tracker = model_builder.build_tracker(apply_temporal_disambiguation=True, with_backbone=True)
    for name, made in kept.items():
        setattr(model_builder, name, made)
    return tracker.eval()


def load(tracker: Any, state: dict[str, torch.Tensor]) -> None:
    """Weights, but for the detector's neck and a level that nothing reads; rotary tables are computed."""
    names = {"detector.backbone.": "backbone.", "tracker.": ""}
    renamed = {next(new + name.removeprefix(old) for old, new in names.items() if name.startswith(old)): value for name, value in state.items()}
    missing, unexpected = tracker.load_state_dict(renamed, strict=False)
    unread = ("backbone.vision_backbone.convs.", "backbone.vision_backbone.sam2_convs.3.")
    assert not unexpected, unexpected
    assert all(name.startswith(unread) or name.endswith("freqs_cis") for name in missing), missing


def main(seed: int, folder: Path, scenarios: list[str]) -> None:
    made = variant(f"sam3:{BLOCKS}@{SIDE}")
    state = make_weights(folder, made, seed, GAINS, SCORE)
    tracker = build()
    load(tracker, state)
    for name in scenarios:
        tracker.use_memory_selection = SELECTING[name]  # what apply_temporal_disambiguation sets, and nothing else
        record(folder, name, OFFICIAL, made, state, lambda noise: Sam3Recorder(tracker, STEPS, noise), memory_selection=SELECTING[name])


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
