"""The official predictor's methods, with its arguments and return values."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masklet import families
from masklet.sam2.frames import open_frames
from masklet.sam2.outputs import Call
from masklet.sam2.state import InferenceState
from masklet.tracker import Tracker

Answer = tuple[int, list[int], Any]
_OVERLAP = "++model.non_overlap_masks="


def build_sam2_video_predictor(
    url: str | Sequence[str],
    ckpt_path: None = None,
    device: object = None,
    mode: str = "eval",
    hydra_overrides_extra: Sequence[str] = (),
    apply_postprocessing: bool = True,
    vos_optimized: bool = False,
    **options: Any,
) -> SAM2VideoPredictor:
    """A predictor whose model runs on a server: `url` ("host:port" of its gRPC port) stands for the official config, and the server has the weights.

    device, vos_optimized  are the server's affair, and ignored
    hydra_overrides_extra  "++model.non_overlap_masks=true" or "=false"; no other
    options                of `masklet.Tracker`: tls, headers, model, timeout_s ...

    Raises ValueError for a checkpoint, NotImplementedError for what would change the model.
    """
    if ckpt_path is not None:
        raise ValueError(f"the weights are the server's, not {ckpt_path}: give its address in place of config and checkpoint.")
    if mode != "eval" or not apply_postprocessing:
        raise NotImplementedError(
            f"mode={mode!r}, apply_postprocessing={apply_postprocessing}: the server has the official defaults, 'eval' and True."
        )
    exclusive = False
    for override in hydra_overrides_extra:
        if override not in (f"{_OVERLAP}true", f"{_OVERLAP}false"):
            raise NotImplementedError(f"override {override!r}: the server's model is made already. Only {_OVERLAP}true and =false are known here.")
        exclusive = override.endswith("true")
    return SAM2VideoPredictor(Tracker(url, **options), non_overlap_masks=exclusive)


class SAM2VideoPredictor:
    """SAM2VideoPredictor of sam2/sam2_video_predictor.py over a `Tracker`.

    Each inference state has one live video on the server, from its first prompt to `reset_state` or `close`. Calls that return masks return
    (frame_idx, obj_ids, logits), the logits float32 (N, 1, H, W) at the size of the video: a torch tensor on the CPU where the program has imported
    torch, else a numpy array that also has `.cpu()` and `.numpy()`. Above 0 they are the masks that the server gives, pixel for pixel.

    All calls raise what `masklet.Video` raises, and NotImplementedError for what the server cannot do as the official predictor does.
    """

    def __init__(self, tracker: Tracker, non_overlap_masks: bool = False) -> None:
        self._tracker = tracker
        self.non_overlap_masks = non_overlap_masks

    def close(self) -> None:
        """Ends the videos of all inference states on the server. Not in the official class: `with build_sam2_video_predictor(...) as predictor`."""
        self._tracker.close()

    def __enter__(self) -> SAM2VideoPredictor:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._tracker.__exit__(kind, error, traceback)

    def init_state(
        self, video_path: str | Path, offload_video_to_cpu: bool = False, offload_state_to_cpu: bool = False, async_loading_frames: bool = False
    ) -> InferenceState:
        """A video: a folder of JPEG files named by number, or an MP4 file; the last three arguments are ignored. Asks the server for its model."""
        frames = open_frames(video_path)
        server = self._tracker.info()
        family = families.variant(re.split("[@:]", server.variant)[0]).family
        if family.corrections_condition:
            raise NotImplementedError(
                "the server has SAM 3, whose tracker has other rules: corrections become conditioning frames, and memories are selected. "
                "Use masklet.Tracker."
            )
        if family.pointer_time and frames.count < family.num_pointers:
            warnings.warn(
                f"{video_path} has {frames.count} frames: with fewer than {family.num_pointers} the official predictor scales the time code of its "
                "object pointers by their number, the server does not; masks differ a little.",
                stacklevel=2,
            )
        return InferenceState(self._tracker, frames, exclusive=self.non_overlap_masks, prompted_frames=server.limits.prompted_frames)

    def add_new_points_or_box(
        self,
        inference_state: InferenceState,
        frame_idx: int,
        obj_id: int,
        points: Any = None,
        labels: Any = None,
        clear_old_points: bool = True,
        normalize_coords: bool = True,
        box: Any = None,
    ) -> Answer:
        """Clicks or a box on a frame.

        points            (n, 2) x, y in pixels of the video, or with normalize_coords=False in 0..1 of its size; arrays, lists or tensors
        labels            (n,) 1 on the object, 0 beside it
        clear_old_points  False: they are added to those that the object has on the frame
        box               x0, y0, x1, y1, with x0 <= x1 and y0 <= y1
        """
        if (points is not None) != (labels is not None):
            raise ValueError("points and labels must be provided together")
        if points is None and box is None:
            raise ValueError("at least one of points or box must be provided as input")
        if box is not None and not clear_old_points:
            raise ValueError("a box cannot be added to old points: it comes before them. Use clear_old_points=True.")
        height, width = inference_state.frames.size
        scale = np.array([1, 1] if normalize_coords else [width, height], np.float32)
        call = Call(
            None if box is None else _box(box, scale),
            None if points is None or np.size(_array(points)) == 0 else _array(points).astype(np.float32).reshape(-1, 2) * scale,
            None if labels is None or np.size(_array(labels)) == 0 else _array(labels).astype(np.int64).reshape(-1),
        )
        old = None if clear_old_points else inference_state.input(obj_id, frame_idx)
        if old is not None and call.points is not None and call.labels is not None:
            call = old.added(call.points, call.labels)
        first = inference_state.prompted(frame_idx, obj_id, call)
        return frame_idx, inference_state.obj_ids, inference_state.shown(frame_idx, conditioning=first)

    add_new_points = add_new_points_or_box

    def add_new_mask(self, inference_state: InferenceState, frame_idx: int, obj_id: int, mask: Any) -> Answer:
        """The mask (H, W) of an object on a frame, not 0 on it, at the size of the video."""
        array = _array(mask)
        if array.shape != inference_state.frames.size:
            raise NotImplementedError(
                f"the mask has the shape {array.shape}, the video {inference_state.frames.size} (height, width). The official predictor "
                "scales any mask; here it must have the size of the video."
            )
        if array.dtype.kind == "f" and not np.isin(array, (0, 1)).all():
            raise NotImplementedError("the mask has values between 0 and 1, which the official predictor scales first. Give one of bool.")
        first = inference_state.prompted(frame_idx, obj_id, Call(mask=array != 0))
        return frame_idx, inference_state.obj_ids, inference_state.shown(frame_idx, conditioning=first)

    def propagate_in_video_preflight(self, inference_state: InferenceState) -> None:
        """What prompts made becomes memory. Raises RuntimeError where an object, or all, have no prompt."""
        if not inference_state.objects:
            raise RuntimeError("No input points or masks are provided for any object; please add inputs first.")
        for obj_id, one in inference_state.objects.items():
            one.consolidate()
            if not one.cond:
                raise RuntimeError(f"No input points or masks are provided for object id {obj_id}; please add inputs first.")

    def propagate_in_video(
        self, inference_state: InferenceState, start_frame_idx: int | None = None, max_frame_num_to_track: int | None = None, reverse: bool = False
    ) -> Iterator[Answer]:
        """Tracks all objects, from the earliest prompted frame if no start is given, through max_frame_num_to_track more frames or to the end."""
        self.propagate_in_video_preflight(inference_state)
        count, objects = inference_state.frames.count, inference_state.objects
        start = min(at for one in objects.values() for at in one.cond) if start_frame_idx is None else start_frame_idx
        reach = count if max_frame_num_to_track is None else max_frame_num_to_track
        if reverse:
            order = range(start, max(start - reach, 0) - 1, -1) if start > 0 else range(0)
        else:
            order = range(start, min(start + reach, count - 1) + 1)
        direction = -1 if reverse else 1
        if order:
            self._check_begun(inference_state, start, direction)
        for frame in order:
            outputs = inference_state.tracked(frame, direction)
            yield frame, inference_state.obj_ids, inference_state.logits([*outputs])

    def clear_all_prompts_in_frame(self, inference_state: InferenceState, frame_idx: int, obj_id: int, need_output: bool = True) -> Answer | None:
        """Forgets the prompts of an object on a frame."""
        inference_state.object(obj_id).clear(frame_idx)
        return (frame_idx, inference_state.obj_ids, self._shown(inference_state, frame_idx)) if need_output else None

    def reset_state(self, inference_state: InferenceState) -> None:
        """Forgets all prompts and objects, and ends the video on the server."""
        inference_state.forget()

    def remove_object(
        self, inference_state: InferenceState, obj_id: int, strict: bool = False, need_output: bool = True
    ) -> tuple[list[int], list[tuple[int, Any]]]:
        """Forgets an object. Gives those that are left, and their logits on the frames where it was prompted. `strict`: it must be known."""
        if obj_id not in inference_state.objects:
            if strict:
                raise RuntimeError(f"Cannot remove object id {obj_id} as it doesn't exist. All existing object ids: {inference_state.obj_ids}.")
            return inference_state.obj_ids, []
        if len(inference_state.objects) == 1:
            self.reset_state(inference_state)
            return inference_state.obj_ids, []
        frames = sorted(inference_state.objects[obj_id].inputs)
        inference_state.forget(obj_id)
        return inference_state.obj_ids, [(frame, self._shown(inference_state, frame)) for frame in frames] if need_output else []

    def _shown(self, inference_state: InferenceState, frame: int) -> Any:
        return inference_state.shown(frame, conditioning=any(frame in one.temp[True] for one in inference_state.objects.values()))

    def _check_begun(self, inference_state: InferenceState, start: int, direction: int) -> None:
        """Raises NotImplementedError where an object would be tracked on frames before its first prompt, as seen in the direction of travel."""
        for obj_id, one in inference_state.objects.items():
            if all(direction * (start - prompted) < 0 for prompted in one.cond):
                nearest = (min if direction > 0 else max)(one.cond)
                raise NotImplementedError(
                    f"object {obj_id} is first prompted on frame {nearest}, but tracking starts on frame {start}. The official predictor tracks it "
                    "there by what it looks like later (under autocast; else it raises a type error); the server cannot. Use "
                    f"start_frame_idx={nearest}, prompt the object on frame {start}, or track from {nearest} the other way."
                )


def _array(values: Any) -> NDArray[Any]:
    """Lists, arrays, and tensors of any device."""
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)


def _box(box: Any, scale: NDArray[np.float32]) -> NDArray[np.float32]:
    corners = _array(box).astype(np.float32).reshape(2, 2) * scale
    if (corners[0] > corners[1]).any():
        raise NotImplementedError(f"the box {corners.reshape(-1).tolist()} has its first corner right of or below the second. Give x0, y0, x1, y1.")
    made: NDArray[np.float32] = corners.reshape(4)
    return made
