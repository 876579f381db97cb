"""What the recorders share: scenarios, weights, and a recorder that asks an official predictor and notes its answers.

A set is recorded twice, the second time with noise of 1e-5 on the image features. If the second run is not within the bars of the first, no
implementation can be expected to be, and nothing is written: take another seed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from masklet.families import Variant
from masklet_build.checkpoints import random_weights
from masklet_build.models.network import network_shapes, official_names
from tests.golden.compare import EARLY, LATE, iou
from tests.golden.rebuilt import rebuild, weights_sha256
from tests.golden.scenarios import EARLY_FRAMES

FRAMES = Path(__file__).parent / "frames" / "synthetic"
WIDTH, HEIGHT = 384, 216
LOW_SIDE = 32  # low-resolution logits are noted at so many places each way
SPARE = 2  # noise may take a half of a bar that is to hold to the end
_FEATURES: dict[Any, dict[str, Any]] = {}
NOISE = 1e-5  # of the features' root mean square
BOX = {"op": "box", "frame": 0, "object": 2, "box": [262, 40, 338, 140], "points": None, "labels": None}
MASK = {"op": "mask", "frame": 0, "object": 3, "ellipse": [190, 160, 26, 26]}


def points(frame: int, number: int, places: list[list[int]], labels: list[int]) -> dict[str, Any]:
    return {"op": "points", "frame": frame, "object": number, "points": places, "labels": labels, "clear_old_points": True}


def propagate(start: int | None, count: int | None, *, reverse: bool = False) -> dict[str, Any]:
    return {"op": "propagate", "start": start, "max_frames": count, "reverse": reverse}


def make_weights(folder: Path, made: Variant, seed: int, gains: Mapping[str, Mapping[str, float]], score: float) -> dict[str, torch.Tensor]:
    """recipe.json, and in calibrated.npz what calibration sets: last layers of the mask and presence heads. Returns the state dict.

    gains and score as `masklet_build.checkpoints.random_weights` has them: what differs from its own.
    """
    random_weights._GAINS = {**gains, **{part: own for part, own in random_weights._GAINS.items() if part not in gains}}
    random_weights._SCORE = score
    names, params = official_names(made), {}
    for name, shape in network_shapes(made).items():
        offset, scale = random_weights._distribution(name, tuple(shape))
        params[names[name]] = {"shape": shape, "offset": offset, "scale": scale}
    folder.mkdir(exist_ok=True)
    (folder / "recipe.json").write_text(json.dumps({"family": made.family.name, "seed": seed, "params": params}) + "\n", encoding="utf-8")
    np.savez_compressed(folder / "calibrated.npz")
    plain = rebuild(folder)
    state = {name: plain[official].clone() for name, official in names.items()}
    with torch.no_grad():
        random_weights._calibrate(state, made, seed)
    changed = {names[name]: value for name, value in state.items() if not value.equal(plain[names[name]])}
    np.savez_compressed(folder / "calibrated.npz", **{name: value.numpy() for name, value in changed.items()})
    return {**plain, **changed}


class Recorder:
    """Runs the steps and collects arrays and records. `noise` is added to image features."""

    def __init__(self, predictor: Any, steps: list[dict[str, Any]], noise: float = 0.0) -> None:
        self.predictor, self.steps = predictor, steps
        self.arrays: dict[str, np.ndarray] = {}
        self.records: list[dict[str, Any]] = []
        self.states: dict[int, Any] = {}
        self.state: Any = None
        forward_image = predictor.forward_image
        predictor.forward_image = lambda image: _noisy(_once(forward_image, image), noise)
        for number, step in enumerate(steps):
            if step["op"] in ("points", "box", "mask"):
                self.choose(step["object"])
            getattr(self, step["op"])(number, step)
        predictor.forward_image = forward_image

    def choose(self, object_id: int) -> None:
        """Makes the state of an object the one that is asked: all of them share one."""
        self.state = self.state or self.begin()

    def begin(self) -> Any:
        return self.predictor.init_state(str(FRAMES))

    def points(self, number: int, step: dict[str, Any]) -> None:
        prompt = {"points": np.float32(step["points"]), "labels": np.int32(step["labels"]), "clear_old_points": step["clear_old_points"]}
        self.prompted(number, step, self.predictor.add_new_points_or_box(self.state, step["frame"], step["object"], **prompt))

    def box(self, number: int, step: dict[str, Any]) -> None:
        self.prompted(number, step, self.predictor.add_new_points_or_box(self.state, step["frame"], step["object"], box=np.float32(step["box"])))

    def mask(self, number: int, step: dict[str, Any]) -> None:
        y, x = np.mgrid[:HEIGHT, :WIDTH]
        cx, cy, rx, ry = step["ellipse"]
        mask = ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 <= 1
        self.arrays[f"step{number}_mask"] = np.packbits(mask)
        self.prompted(number, step, self.predictor.add_new_mask(self.state, step["frame"], step["object"], torch.from_numpy(mask)))

    def prompted(self, number: int, step: dict[str, Any], answer: Any) -> None:
        frame, objects, masks = answer
        for object_id, mask in zip(objects, masks, strict=True):
            self.record("prompt" if object_id == step["object"] else "other", number, frame, object_id, mask)

    def remove(self, number: int, step: dict[str, Any]) -> None:
        self.predictor.remove_object(self.state, step["object"], need_output=False)

    def propagate(self, number: int, step: dict[str, Any]) -> None:
        options = {"start_frame_idx": step["start"], "max_frame_num_to_track": step["max_frames"], "reverse": step["reverse"]}
        for frame, objects, masks in self.predictor.propagate_in_video(self.state, **options):
            self.tracked(number, frame, objects, masks)

    def tracked(self, number: int, frame: int, objects: list[int], masks: torch.Tensor) -> None:
        for object_id, mask in zip(objects, masks, strict=True):
            prompted = frame in self.stored(object_id, "output_dict_per_obj")["cond_frame_outputs"]
            self.record("track_prompted" if prompted else "track", number, frame, object_id, mask)

    def stored(self, object_id: int, kind: str) -> Any:
        return self.state[kind][self.state["obj_id_to_idx"][object_id]]

    def record(self, kind: str, step: int, frame: int, object_id: int, mask: torch.Tensor) -> None:
        record = {"key": f"r{len(self.records):03d}", "kind": kind, "step": step, "frame": frame, "object": object_id}
        self.arrays[f"{record['key']}_mask"] = np.packbits(mask.numpy()[0] > 0)
        if kind != "other":
            answer = self.answer(object_id, frame, kind)
            record["object_score"] = round(float(answer["object_score_logits"]), 5)
            self.note_logits(record, answer["pred_masks"])
            self.note(record)
        self.records.append(record)

    def note_logits(self, record: dict[str, Any], masks: torch.Tensor | None) -> None:
        """The logits at LOW_SIDE x LOW_SIDE places. None: a user's mask, shown as it was given (SAM 3)."""
        if masks is None:
            return
        low = masks.numpy()[0, 0]
        if np.ptp(low) == 0:
            record["low_constant"] = float(low[0, 0])
        else:
            step = len(low) // LOW_SIDE
            self.arrays[f"{record['key']}_low"] = low[::step, ::step].astype(np.float16)

    def note(self, record: dict[str, Any]) -> None:
        """For what else a family's records have."""

    def answer(self, object_id: int, frame: int, kind: str) -> Any:
        """A prompt's answer is not yet among the others: it is stored when propagation begins."""
        stored = self.stored(object_id, "temp_output_dict_per_obj" if kind == "prompt" else "output_dict_per_obj")
        return stored["cond_frame_outputs"].get(frame) or stored["non_cond_frame_outputs"][frame]


class OneStateEach(Recorder):
    """Every object has an inference state of its own, and steps go to the states of the objects that they concern."""

    def choose(self, object_id: int) -> None:
        if object_id not in self.states:
            self.states[object_id] = self.begin()
        self.state = self.states[object_id]

    def remove(self, number: int, step: dict[str, Any]) -> None:
        del self.states[step["object"]]

    def propagate(self, number: int, step: dict[str, Any]) -> None:
        for state in self.states.values():
            self.state = state
            super().propagate(number, step)


def record(
    folder: Path, name: str, official: str, made: Variant, state: Mapping[str, torch.Tensor], ask: Callable[[float], Recorder], **meta: Any
) -> None:
    """expected_<name>.npz of what `ask(noise)` gives for the weights in `state`. Raises ValueError if noise moves it beyond the bars."""
    recorded = ask(0.0)
    print(f"{name}: {presence(recorded)}")
    early_frames = steady(recorded, ask(NOISE))
    files = sorted(FRAMES.glob("*.jpg"))
    hashes = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    written = {
        "scenario": name,
        "config": made.name,
        "official": official,
        "torch": torch.__version__,
        "weights_sha256": weights_sha256(state),
        "image_size": made.image_size,
        "low_size": made.low_size,
        "low_step": made.low_size // LOW_SIDE,
        "early_frames": early_frames,
        "clip": {"folder": "frames/synthetic", "frames": len(files), "width": WIDTH, "height": HEIGHT, "sha256": hashes},
        "steps": recorded.steps,
        "records": recorded.records,
        **meta,
    }
    np.savez_compressed(folder / f"expected_{name}.npz", meta=json.dumps(written), **recorded.arrays)


def presence(recorded: Recorder) -> str:
    """How many tracked frames have each object."""
    tracked = [record for record in recorded.records if record["kind"] == "track"]
    objects = sorted({record["object"] for record in tracked})
    scores = {number: [record["object_score"] for record in tracked if record["object"] == number] for number in objects}
    return ", ".join(f"object {number} present in {sum(score > 0 for score in given)} of {len(given)}" for number, given in scores.items())


def steady(recorded: Recorder, noisy: Recorder) -> int:
    """The frame up to which the narrow bar holds: the last one, if it does with noise, with room to spare; else as for other scenarios.

    Raises ValueError if the noisy run is beyond the bars.
    """
    differences = [difference for pair in zip(recorded.records, noisy.records, strict=True) for difference in _differences(recorded, noisy, *pair)]
    if all(overlap >= 1 - (1 - EARLY.iou) / SPARE and maximum < EARLY.maximum / SPARE for _, overlap, _, maximum in differences):
        early_frames = max(frame for frame, *_ in differences)
    else:
        early_frames = EARLY_FRAMES
    for bar, name in ((EARLY, "early"), (LATE, "late")):
        some = [rest for frame, *rest in differences if (frame <= early_frames) == (bar is EARLY)]
        if not some:
            continue
        overlaps, medians, maxima = zip(*some, strict=True)
        print(f"    with noise, {name}: IoU {min(overlaps):.4f}, median {max(medians):.4f}, maximum {max(maxima):.4f}")
        if min(overlaps) < bar.iou or max(medians) >= bar.median or max(maxima) >= bar.maximum:
            raise ValueError(f"noise of {NOISE} moves the answers beyond {bar}. Take another seed.")
    return early_frames


def _differences(recorded: Recorder, noisy: Recorder, one: dict[str, Any], other: dict[str, Any]) -> Iterator[tuple[int, float, float, float]]:
    """Frame, IoU, and median and maximum of the logits' difference, of a record that can be compared."""
    if one["kind"] == "other":
        return
    if (one["object_score"] > 0) != (other["object_score"] > 0):
        raise ValueError(f"noise of {NOISE} changes whether {one} is present. Take another seed.")
    masks = [np.unpackbits(run.arrays[f"{one['key']}_mask"]).astype(bool) for run in (recorded, noisy)]
    low = [run.arrays.get(f"{one['key']}_low", np.zeros(1)).astype(np.float32) for run in (recorded, noisy)]
    difference = np.abs(low[0] - low[1])
    yield one["frame"], iou(*masks), float(np.median(difference)), float(difference.max())


def _once(forward_image: Callable[[torch.Tensor], dict[str, Any]], image: torch.Tensor) -> dict[str, Any]:
    """Features of an image, computed once for all objects and runs."""
    key = forward_image, hashlib.sha256(image.numpy().tobytes()).hexdigest()
    if key not in _FEATURES:
        _FEATURES[key] = forward_image(image)
    return {**_FEATURES[key], "backbone_fpn": list(_FEATURES[key]["backbone_fpn"])}


def _noisy(answer: dict[str, Any], noise: float) -> dict[str, Any]:
    """The features of one image with noise; the same for the same image."""
    drawn = torch.Generator().manual_seed(1)
    features = [value + noise * value.square().mean().sqrt() * torch.randn(value.shape, generator=drawn) for value in answer["backbone_fpn"]]
    return {**answer, "backbone_fpn": features, **({"vision_features": features[-1]} if "vision_features" in answer else {})}
