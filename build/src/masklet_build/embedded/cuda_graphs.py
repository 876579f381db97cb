"""CUDA graphs: the kernels of a call, recorded once for a set of shapes and replayed from then on.

A frame of a small model is hundreds of kernels of a few microseconds, and Python takes longer to launch one than a GPU to run it. A replay is one
launch. It repeats the recorded kernels on the recorded addresses, so inputs are copied into buffers of the graph's own, and outputs stay where they
are.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor

WARM_UP = 3  # calls of a shape before it is recorded: they load kernels and choose algorithms, which a recording cannot
MOST = 32  # graphs of an engine. Each keeps its own inputs, as much as 60 MB for eight objects of 1024 pixels

Run = Callable[..., Sequence[Tensor]]

_log = logging.getLogger("masklet")


class Graphs:
    """Calls a function of CUDA tensors, by a graph where the shapes came before. Outputs live until the next call of anything that has graphs."""

    def __init__(self, run: Run, name: str, *, warm_up: int = WARM_UP, most: int = MOST) -> None:
        """run: gives tensors that depend on nothing but its inputs; name: for the log."""
        self._run, self._name = run, name
        self._warm_up, self._most = warm_up, most
        self._calls: OrderedDict[tuple[torch.Size, ...], int | _Graph] = OrderedDict()  # how often a shape came, or its graph; the latest last
        self._recording = True

    def __call__(self, *inputs: Tensor) -> Sequence[Tensor]:
        """What the function gives. Raises what it raises."""
        shapes = tuple(x.shape for x in inputs)
        known = self._calls.pop(shapes, 0)
        if self._recording and isinstance(known, int) and known >= self._warm_up:
            known = self._record(inputs) or known
        self._calls[shapes] = known + 1 if isinstance(known, int) else known
        if len(self._calls) > self._most:
            self._calls.popitem(last=False)
        return known(inputs) if isinstance(known, _Graph) else self._run(*inputs)

    def _record(self, inputs: Sequence[Tensor]) -> _Graph | None:
        try:
            return _Graph(self._run, inputs)
        except RuntimeError as error:  # of CUDA, also where its memory is full
            self._recording = False
            _log.warning("%s: no CUDA graph for %s: %s. Its further calls are launched kernel by kernel.", self._name, _text(inputs), error)
            return None


class _Graph:
    """The graph of one set of shapes."""

    def __init__(self, run: Run, inputs: Sequence[Tensor]) -> None:
        self._inputs = [x.clone() for x in inputs]
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, pool=_pool()):
            self._outputs = run(*self._inputs)

    def __call__(self, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        for own, given in zip(self._inputs, inputs, strict=True):
            own.copy_(given)
        self._graph.replay()
        return self._outputs


@cache
def _pool() -> object:
    """Memory that all graphs of this process share. They run one at a time, on one stream, and nobody reads a graph's outputs once another ran."""
    return torch.cuda.graph_pool_handle()


def _text(inputs: Sequence[Tensor]) -> str:
    return ", ".join("x".join(map(str, x.shape)) for x in inputs)
