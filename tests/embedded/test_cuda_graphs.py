"""Graphs of a function's calls, on a machine that has no GPU: a recorder of PyTorch's operators stands in for CUDA, behind the real signatures.

As in a CUDA graph, what is recorded are operators on fixed memory, and a replay runs them again on that memory.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from masklet_build.embedded import cuda_graphs  # noqa: E402
from masklet_build.embedded.cuda_graphs import Graphs  # noqa: E402

pytestmark = pytest.mark.torch


class _Recorder(TorchDispatchMode):
    def __init__(self, kernels: list[tuple[Any, ...]]) -> None:
        super().__init__()
        self._kernels = kernels

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self._kernels.append((func, args, kwargs or {}, out))
        return out


class Cuda:
    """What the module uses of torch.cuda."""

    def __init__(self) -> None:
        self.recorded = self.replayed = 0
        self.fails = False
        self.pools: list[object] = []

    def CUDAGraph(self) -> Any:
        return _Graph(self)

    def graph(self, graph: Any, *, pool: object) -> AbstractContextManager[None]:
        if self.fails:
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing")
        self.recorded += 1
        self.pools.append(pool)
        return _Recorder(graph.kernels)

    def graph_pool_handle(self) -> object:
        return object()


class _Graph:
    def __init__(self, cuda: Cuda) -> None:
        self.kernels: list[tuple[Any, ...]] = []
        self._cuda = cuda

    def replay(self) -> None:
        self._cuda.replayed += 1
        for func, args, kwargs, out in self.kernels:
            again = func(*args, **kwargs)
            if again.data_ptr() != out.data_ptr():  # else a view of the same memory
                out.copy_(again)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Cuda:
    made = Cuda()
    assert callable(torch.cuda.CUDAGraph.replay)
    cuda_graphs._pool.cache_clear()
    for name in ("CUDAGraph", "graph", "graph_pool_handle"):
        monkeypatch.setattr(torch.cuda, name, _checked(getattr(torch.cuda, name), getattr(made, name)))
    yield made
    cuda_graphs._pool.cache_clear()


def _checked(real: Any, fake: Callable[..., Any]) -> Callable[..., Any]:
    """The fake, called as the real one may be called."""
    signature = inspect.signature(real)

    def call(*args: Any, **kwargs: Any) -> Any:
        signature.bind(*args, **kwargs)
        return fake(*args, **kwargs)

    return call


def computed(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, ...]:
    joined = torch.cat((x, y)).reshape(2, -1)
    return joined * 2 + 1, (x - y).square().sum(dim=0)


def pair(rows: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    made = torch.Generator().manual_seed(seed)
    return torch.randn(rows, 3, generator=made), torch.randn(rows, 3, generator=made)


def assert_right(graphs: Graphs, rows: int, seed: int) -> None:
    inputs = pair(rows, seed)
    for got, wanted in zip(graphs(*inputs), computed(*inputs), strict=True):
        assert torch.equal(got, wanted)


def test_a_shape_that_comes_again_is_recorded_once_and_replayed_on_new_inputs(cuda: Cuda) -> None:
    graphs = Graphs(computed, "engine", warm_up=2)
    for seed in range(6):
        assert_right(graphs, 4, seed)
    assert (cuda.recorded, cuda.replayed) == (1, 4)


def test_shapes_take_turns_and_each_has_its_own_graph(cuda: Cuda) -> None:
    graphs = Graphs(computed, "engine", warm_up=1)
    for seed, rows in enumerate((1, 2, 4, 1, 2, 4, 4, 1, 2, 2, 1, 4)):
        assert_right(graphs, rows, seed)
    assert cuda.recorded == 3
    assert len(set(map(id, cuda.pools))) == 1  # all in the memory of one pool


def test_a_recording_leaves_the_tensors_alone_that_it_was_made_with(cuda: Cuda) -> None:
    graphs = Graphs(computed, "engine", warm_up=0)
    first = pair(3, 0)
    graphs(*first)
    for x in first:
        x.fill_(torch.nan)
    assert_right(graphs, 3, 1)
    assert all(x.isnan().all() for x in first), "nor write to them"


def test_beyond_the_limit_the_shape_that_was_not_used_longest_is_forgotten(cuda: Cuda) -> None:
    graphs = Graphs(computed, "engine", warm_up=0, most=2)
    for seed, rows in enumerate((1, 2, 1, 3, 1)):  # 3 takes the place of 2
        assert_right(graphs, rows, seed)
    assert cuda.recorded == 3
    assert_right(graphs, 2, 9)
    assert cuda.recorded == 4


def test_where_recording_fails_calls_go_on_without_and_the_log_says_so_once(cuda: Cuda, caplog: pytest.LogCaptureFixture) -> None:
    graphs = Graphs(computed, "memory_attention", warm_up=1)
    assert_right(graphs, 1, 0)
    assert_right(graphs, 1, 1)
    cuda.fails = True
    with caplog.at_level(logging.WARNING):
        for seed in range(4):
            assert_right(graphs, 5, seed)
            assert_right(graphs, 6, seed)
    (line,) = caplog.messages
    assert line.startswith("memory_attention: no CUDA graph for 5x3, 5x3: CUDA error: operation not permitted")
    before = cuda.replayed
    assert_right(graphs, 1, 2)  # what was recorded before stays
    assert cuda.replayed == before + 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu_replays_give_what_the_function_gives() -> None:
    graphs = Graphs(computed, "engine", warm_up=2)
    for seed in range(8):
        for rows in (1, 4, 64):
            inputs = [x.cuda() for x in pair(rows, seed)]
            for got, wanted in zip(graphs(*inputs), computed(*inputs), strict=True):
                assert torch.equal(got, wanted)
    assert all(not isinstance(known, int) for known in graphs._calls.values())


def test_an_error_of_the_function_itself_is_raised(cuda: Cuda) -> None:
    graphs = Graphs(computed, "engine", warm_up=9)
    with pytest.raises(RuntimeError):
        graphs(torch.zeros(2, 3), torch.zeros(2, 4))
    assert_right(graphs, 2, 0)
