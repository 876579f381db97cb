"""How the bank reaches the engines: one call, by name, with the tensors of `masklet.contract`.

`Stages` has three implementations: calls to other models of the same Triton (shell of this model), PyTorch (masklet_build.models.stages) and
recording fakes in tests.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import monotonic
from typing import Any, Protocol


class EngineError(Exception):
    """An engine call failed; the message says which engine and how."""


class Stages(Protocol):
    """The engines. A call never has B, F, P or N = 0."""

    def call(self, engine: str, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Runs one engine on what `Arrays.send` made of its inputs. Raises EngineError.

        Outputs lie on the host or where the bank's arrays live (see arrays.py), and may live only until the next call.
        """


class Stopwatch:
    """Seconds spent in each engine since the watch was made, and how many objects each of its calls had; failed calls count."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.sizes: dict[str, list[int]] = {}

    @contextmanager
    def measure(self, engine: str, objects: int) -> Iterator[None]:
        """Adds the time that the block takes, a call with so many objects."""
        self.sizes.setdefault(engine, []).append(objects)
        begin = monotonic()
        try:
            yield
        finally:
            self.seconds[engine] = self.seconds.get(engine, 0.0) + monotonic() - begin
