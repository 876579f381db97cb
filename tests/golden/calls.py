"""The calls of a golden scenario as they were made: by the official predictor's names, of masklet.sam2."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from masklet.sam2 import SAM2VideoPredictor
from tests.golden.replay import Request
from tests.golden.scenarios import Scenario


class Calls:
    """Makes them. Iterating gives each answer with the records that it must equal, those of the other objects of a prompt call among them."""

    def __init__(self, predictor: SAM2VideoPredictor, scenario: Scenario, frames: Path) -> None:
        self._predictor, self._scenario = predictor, scenario
        self._state = predictor.init_state(str(frames))

    def __iter__(self) -> Iterator[tuple[Request, Any]]:
        for number, step in enumerate(self._scenario.steps):
            for frame, object_ids, logits in getattr(self, f"_{step['op']}")(number, step):
                assert frame in {record.frame for record in self._scenario.records if record.step == number}
                expected = {record.object_id: record.key for record in self._scenario.records if (record.step, record.frame) == (number, frame)}
                assert list(expected) == [object_id for object_id in object_ids if object_id in expected], (
                    f"step {number}: other objects, or another order"
                )
                yield Request(frame, expected=expected), self._answer(frame, object_ids, np.asarray(logits))

    def _points(self, number: int, step: dict[str, Any]) -> Iterator[Any]:
        prompt = {"points": np.float32(step["points"]), "labels": np.int32(step["labels"]), "clear_old_points": step["clear_old_points"]}
        yield self._predictor.add_new_points_or_box(self._state, step["frame"], step["object"], **prompt)

    def _box(self, number: int, step: dict[str, Any]) -> Iterator[Any]:
        yield self._predictor.add_new_points_or_box(self._state, step["frame"], step["object"], box=np.float32(step["box"]))

    def _mask(self, number: int, step: dict[str, Any]) -> Iterator[Any]:
        yield self._predictor.add_new_mask(self._state, step["frame"], step["object"], self._scenario.prompt_mask(number))

    def _propagate(self, number: int, step: dict[str, Any]) -> Iterator[Any]:
        yield from self._predictor.propagate_in_video(self._state, step["start"], step["max_frames"], step["reverse"])

    def _remove(self, number: int, step: dict[str, Any]) -> Iterator[Any]:
        self._predictor.remove_object(self._state, step["object"])
        return iter(())

    def _answer(self, frame: int, object_ids: list[int], logits: np.ndarray) -> Any:
        """What `Comparison` looks at. An object is there where its low-resolution logits are not all those of an absent one."""
        lows = [self._low(frame, object_id) for object_id in object_ids]
        scores = np.array([1.0 if low.max() > -1000 else -1.0 for low in lows])
        return SimpleNamespace(object_ids=tuple(object_ids), masks=logits[:, 0] > 0, logits=lows, scores=scores)

    def _low(self, frame: int, object_id: int) -> np.ndarray:
        one = self._state.objects[object_id]
        newest = one.temp[False].get(frame) or one.output(frame, conditioning=True)
        return self._state.timeline.low(newest, object_id) if newest else np.full((self._scenario.meta["low_size"],) * 2, -1024, np.float32)
