"""What a frame attended to among an object's memories and pointers: the softmax of each layer's cross-attention, computed again in double precision.

The stage itself is run as it is. Its attention core is watched for the queries, keys and values that it got, so rotary codes, temporal codes and
pooling are those of the network, and what is computed again from them must be what the core gave.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from masklet.families import MEMORY_WIDTH, Variant
from masklet_build.models.sam.memory_attention import MemoryAttention

Doubles = NDArray[np.float64]
Core = Callable[..., Tensor]

_QUERIES = 256  # rows of a softmax that stand in memory at once
_ROUNDING = 1e-3  # what float32 explains, in deviations of the output: 5e-5 was seen with 28,736 keys; a wrong key or bias makes tenths


@dataclass(frozen=True, eq=False)
class Attention:
    """Where the attention of one object's queries went: weights of the softmax, averaged over the queries.

    memories  float64 (layers, F): share of each memory
    pointers  float64 (layers, P): share of each pointer, all its tokens together
    nowhere   float64 (layers, F): what of a memory's share went to tokens without a place in the picture; zeros where there are none
    maps      float64 (layers, F, side, side): the rest of it, by place
    even      share of a memory, and of a pointer, for a query that likes none better than another
    sum_error, output_error   how far a row of weights is from summing to 1 at most, and the output computed again from what the network's attention
              gave, in deviations of that
    """

    memories: Doubles
    pointers: Doubles
    nowhere: Doubles
    maps: Doubles
    even: tuple[float, float]
    sum_error: float
    output_error: float


class Call(NamedTuple):
    """What an attention core got and gave: q [1, 1, T, width], k [1, 1, keys, width], v [1, 1, keys, 64], bias [keys] or None."""

    q: Tensor
    k: Tensor
    v: Tensor
    bias: Tensor | None
    out: Tensor


def attention(stage: MemoryAttention, inputs: Mapping[str, np.ndarray], variant: Variant, queries: Doubles) -> Attention:
    """Attention in one call of memory_attention, for one object.

    inputs   of the stage, by name, as `masklet.contract` has them with B = 1
    queries  (G, G): how much each place of the frame counts in the average; they sum to 1
    """
    with torch.inference_mode(), _watched(stage) as calls:
        stage(*(torch.tensor(inputs[name]) for name in ("EMBEDDING", "VIDEO", "MEMORY", "SLOT", "POINTERS", "DISTANCE") if name in inputs))
        layers = [_averaged(call, torch.from_numpy(queries.reshape(-1))) for call in calls]
    weights = np.stack([layer for layer, _, _ in layers])
    memories, pointers = inputs["MEMORY"].shape[1], inputs["POINTERS"].shape[1]
    of_pointer = variant.hidden // MEMORY_WIDTH
    places = weights.shape[1] - pointers * of_pointer
    even = torch.softmax(torch.zeros(weights.shape[1]) if calls[0].bias is None else calls[0].bias, dim=0)
    nowhere, maps = _placed(weights[:, :places].reshape(len(weights), memories, -1), variant)
    return Attention(
        memories=weights[:, :places].reshape(len(weights), memories, -1).sum(axis=2),
        pointers=weights[:, places:].reshape(len(weights), pointers, of_pointer).sum(axis=2),
        nowhere=nowhere,
        maps=maps,
        even=(float(even[:places].sum()) / memories, float(even[places:].sum()) / pointers),
        sum_error=max(error for _, error, _ in layers),
        output_error=max(error for _, _, error in layers),
    )


def _placed(memories: Doubles, variant: Variant) -> tuple[Doubles, Doubles]:
    """Weights (layers, F, tokens) as `nowhere` and `maps`. A perceiver's first latents have no place, each of the others has a window."""
    nowhere = variant.perceiver.latents if variant.perceiver else 0
    side = math.isqrt(memories.shape[2] - nowhere)
    return memories[:, :, :nowhere].sum(axis=2), memories[:, :, nowhere:].reshape(*memories.shape[:2], side, side)


@contextmanager
def _watched(stage: MemoryAttention) -> Iterator[list[Call]]:
    """The calls of the layers' cross-attention while the block runs."""
    calls: list[Call] = []

    def watching(core: Core) -> Core:
        def watch(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
            calls.append(Call(q, k, v, bias, core(q, k, v, bias)))
            return calls[-1].out

        return watch

    attentions = [layer.cross_attention for layer in stage.layers]
    for one in attentions:
        one.__dict__["core"] = watching(one.core)  # instead of the method of its class
    try:
        yield calls
    finally:
        for one in attentions:
            del one.__dict__["core"]


def _averaged(call: Call, queries: Tensor) -> tuple[Doubles, float, float]:
    """Weights (keys,) of one layer, averaged over the queries [T]; and the two errors of `Attention`."""
    average = torch.zeros(call.k.shape[2], dtype=torch.float64)
    sum_error = output_error = 0.0
    keys, values, deviation = call.k[0, 0].double(), call.v[0, 0].double(), float(call.out.double().std())
    for rows in torch.nonzero(queries)[:, 0].split(_QUERIES):
        logits = call.q[0, 0, rows].double() @ keys.T
        weights = torch.softmax(logits if call.bias is None else logits + call.bias.double(), dim=1)
        average += queries[rows] @ weights
        sum_error = max(sum_error, float((weights.sum(dim=1) - 1).abs().max()))
        output_error = max(output_error, float((weights @ values - call.out[0, 0, rows]).abs().max()) / deviation)
    assert output_error <= _ROUNDING, f"attention computed again differs by {output_error:.2g} deviations from the network's"
    return average.numpy(), sum_error, output_error
