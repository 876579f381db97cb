"""Asks the official video predictor of SAM 2 or 2.1 what a scenario says, at any image size, and writes its answers as expected_<name>.npz.

    PYTHONPATH=sam2:client/src:build/src python record_sam2.py sam2.1_t 256 sam2.1_t_synthetic q1     # sam2: a checkout of facebookresearch/sam2

The folder holds recipe.json and calibrated.npz of the weights. The image size is no part of them: position embeddings are resized.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sam2.build_sam import build_sam2_video_predictor

from tests.golden.rebuilt import rebuild, weights_sha256

FRAMES = Path(__file__).parent / "frames" / "synthetic"
WIDTH, HEIGHT = 384, 216


def points(frame: int, number: int, places: list[list[int]], labels: list[int]) -> dict[str, Any]:
    return {"op": "points", "frame": frame, "object": number, "points": places, "labels": labels, "clear_old_points": True}


def propagate(start: int, count: int | None, *, reverse: bool = False) -> dict[str, Any]:
    return {"op": "propagate", "start": start, "max_frames": count, "reverse": reverse}


BOX = {"op": "box", "frame": 0, "object": 2, "box": [262, 40, 338, 140], "points": None, "labels": None}
MASK = {"op": "mask", "frame": 0, "object": 3, "ellipse": [190, 160, 26, 26]}
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
}


class Recorder:
    """Runs the steps and collects arrays and records."""

    def __init__(self, predictor: Any, steps: list[dict[str, Any]]) -> None:
        self.predictor, self.steps = predictor, steps
        self.state = predictor.init_state(str(FRAMES))
        self.arrays: dict[str, np.ndarray] = {}
        self.records: list[dict[str, Any]] = []
        for number, step in enumerate(steps):
            getattr(self, step["op"])(number, step)

    def points(self, number: int, step: dict[str, Any]) -> None:
        prompt = {"points": np.float32(step["points"]), "labels": np.int32(step["labels"]), "clear_old_points": step["clear_old_points"]}
        self._prompted(number, step, self.predictor.add_new_points_or_box(self.state, step["frame"], step["object"], **prompt))

    def box(self, number: int, step: dict[str, Any]) -> None:
        self._prompted(number, step, self.predictor.add_new_points_or_box(self.state, step["frame"], step["object"], box=np.float32(step["box"])))

    def mask(self, number: int, step: dict[str, Any]) -> None:
        y, x = np.mgrid[:HEIGHT, :WIDTH]
        cx, cy, rx, ry = step["ellipse"]
        mask = ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 <= 1
        self.arrays[f"step{number}_mask"] = np.packbits(mask)
        self._prompted(number, step, self.predictor.add_new_mask(self.state, step["frame"], step["object"], mask))

    def _prompted(self, number: int, step: dict[str, Any], answer: Any) -> None:
        frame, objects, masks = answer
        for object_id, mask in zip(objects, masks, strict=True):
            self._record("prompt" if object_id == step["object"] else "other", number, frame, object_id, mask)

    def propagate(self, number: int, step: dict[str, Any]) -> None:
        options = {"start_frame_idx": step["start"], "max_frame_num_to_track": step["max_frames"], "reverse": step["reverse"]}
        for frame, objects, masks in self.predictor.propagate_in_video(self.state, **options):
            for object_id, mask in zip(objects, masks, strict=True):
                prompted = frame in self._stored(object_id, "output_dict_per_obj")["cond_frame_outputs"]
                self._record("track_prompted" if prompted else "track", number, frame, object_id, mask)

    def _stored(self, object_id: int, kind: str) -> Any:
        return self.state[kind][self.state["obj_id_to_idx"][object_id]]

    def _record(self, kind: str, step: int, frame: int, object_id: int, mask: torch.Tensor) -> None:
        record = {"key": f"r{len(self.records):03d}", "kind": kind, "step": step, "frame": frame, "object": object_id}
        self.arrays[f"{record['key']}_mask"] = np.packbits(mask.numpy()[0] > 0)
        if kind != "other":
            answer = self._answer(object_id, frame, kind)
            record["object_score"] = round(float(answer["object_score_logits"]), 5)
            low = answer["pred_masks"].numpy()[0, 0]
            if np.ptp(low) == 0:
                record["low_constant"] = float(low[0, 0])
            else:
                self.arrays[f"{record['key']}_low"] = low.astype(np.float16)
        self.records.append(record)

    def _answer(self, object_id: int, frame: int, kind: str) -> Any:
        """A prompt's answer is not yet among the others: it is stored when propagation begins."""
        stored = self._stored(object_id, "temp_output_dict_per_obj" if kind == "prompt" else "output_dict_per_obj")
        return stored["cond_frame_outputs"].get(frame) or stored["non_cond_frame_outputs"][frame]


def main(variant: str, side: int, folder: Path, name: str) -> None:
    generation, size = variant.rsplit("_", 1)
    overrides = [f"model.image_size={side}"]
    predictor = build_sam2_video_predictor(f"configs/{generation}/{generation}_hiera_{size}.yaml", device="cpu", hydra_overrides_extra=overrides)
    state = rebuild(folder)
    predictor.load_state_dict(state, strict=True)
    write(folder, name, f"{generation}_hiera_{size}", "facebookresearch/sam2 2b90b9f", side, state, Recorder(predictor, SCENARIOS[name]))


def write(folder: Path, name: str, config: str, official: str, side: int, state: dict[str, torch.Tensor], recorded: Recorder) -> None:
    """expected_<name>.npz of what was recorded with the weights in `state`."""
    files = sorted(FRAMES.glob("*.jpg"))
    hashes = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    meta = {
        "scenario": name,
        "config": config,
        "official": official,
        "torch": torch.__version__,
        "weights_sha256": weights_sha256(state),
        "image_size": side,
        "low_size": side // 4,
        "clip": {"folder": "frames/synthetic", "frames": len(files), "width": WIDTH, "height": HEIGHT, "sha256": hashes},
        "steps": recorded.steps,
        "records": recorded.records,
    }
    np.savez_compressed(folder / f"expected_{name}.npz", meta=json.dumps(meta), **recorded.arrays)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
