"""The names of SAM 2's video predictor, answered by a masklet server: a script that uses the official one runs by changing its import.

    from masklet.sam2 import build_sam2_video_predictor     # was: from sam2.build_sam import build_sam2_video_predictor

    predictor = build_sam2_video_predictor("localhost:8001")  # was: (model_cfg, checkpoint)
    state = predictor.init_state("frames/")
    predictor.add_new_points_or_box(state, frame_idx=0, obj_id=1, points=[[210, 350]], labels=[1])
    for frame_idx, obj_ids, mask_logits in predictor.propagate_in_video(state):
        masks = {obj_id: (mask_logits[i] > 0.0).cpu().numpy() for i, obj_id in enumerate(obj_ids)}

What the server cannot do as the official predictor does raises NotImplementedError, which says what to do instead.
"""

from masklet.sam2.predictor import SAM2VideoPredictor, build_sam2_video_predictor

__all__ = ["SAM2VideoPredictor", "build_sam2_video_predictor"]
