"""Engines that go wrong in ways that real runtimes do: without an error."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Tensors = dict[str, np.ndarray]
Fault = Callable[[np.ndarray, np.ndarray | None], np.ndarray]  # of an output, and of the same output of the call before


def noise(output: np.ndarray, before: np.ndarray | None) -> np.ndarray:
    return output + 0.3 * output.std() * np.random.default_rng(0).standard_normal(output.shape).astype(np.float32)


def not_a_number(output: np.ndarray, before: np.ndarray | None) -> np.ndarray:
    made = output.copy()
    made.reshape(-1)[len(made.reshape(-1)) // 2 :: 7] = np.nan
    return made


def overflown(output: np.ndarray, before: np.ndarray | None) -> np.ndarray:
    return np.where(output > np.quantile(output, 0.999), np.float32(np.inf), output)


def transposed(output: np.ndarray, before: np.ndarray | None) -> np.ndarray:
    return np.ascontiguousarray(output.swapaxes(-1, -2))


def rows_of_the_first(output: np.ndarray, before: np.ndarray | None) -> np.ndarray:
    """Every row is that of the first object: a batch stride that is 0."""
    return np.repeat(output[:1], len(output), axis=0)


def last_row_stale(output: np.ndarray, before: np.ndarray | None) -> np.ndarray:
    """The last row keeps what the call before left in the buffer."""
    made = output.copy()
    made[-1] = 0 if before is None or before.shape[1:] != output.shape[1:] else before[0]
    return made


def tile_left_out(output: np.ndarray, before: np.ndarray | None) -> np.ndarray:
    """One of sixteen tiles of each row is never written."""
    made = output.copy().reshape(len(output), -1)
    made[:, : made.shape[1] // 16] = 0
    return made.reshape(output.shape)


def damped(output: np.ndarray, before: np.ndarray | None) -> np.ndarray:
    """A scale that is off by a fifth."""
    return output * np.float32(0.8)


MAPS = (noise, not_a_number, overflown, transposed, rows_of_the_first, last_row_stale, tile_left_out, damped)


class Faulty:
    """Wraps engines; one output of one engine goes wrong in calls that `applies` to. `changed`: whether it did, call by call of that engine."""

    def __init__(self, stages: Any, engine: str, output: str, fault: Fault, applies: Callable[[Mapping[str, np.ndarray]], bool]) -> None:
        self._stages, self._engine, self._output, self._fault, self._applies = stages, engine, output, fault, applies
        self._before: np.ndarray | None = None
        self.changed: list[bool] = []

    def call(self, engine: str, inputs: Mapping[str, np.ndarray]) -> Tensors:
        outputs = dict(self._stages.call(engine, inputs))
        if engine == self._engine:
            good = outputs[self._output].copy()
            if self._applies(inputs):
                outputs[self._output] = self._fault(good, self._before)
            self._before = good
            self.changed.append(not np.array_equal(outputs[self._output], good))
        return outputs
