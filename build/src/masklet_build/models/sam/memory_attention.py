"""Memory attention: conditions the features of a frame on an object's memories and pointers.

Three rewritings save work and give the same numbers up to rounding:
* Weights of an attention row sum to one, so values may be averaged before they are projected. Values enter the product as they are
  (64 wide for memories), and `v_proj` is folded into `out_proj`.
* The rows of the query and key projections are sorted, even channels first: the rotary code then turns two halves instead of interleaved
  pairs, and products of queries with keys do not change.
* Until the first cross-attention nothing depends on an object, so that part runs once per video.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from masklet.families import MEMORY_WIDTH, Variant
from masklet_build.models.sam.layers import Attending, Projections, image_of, linear, tokens_of
from masklet_build.models.sam.tables import rotary_table, sine_table, time_code

POOL = 2  # side of the window over which the pooled variants average keys and values


class LayerParameters(nn.Module):
    """Parameters of one layer."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        hidden = variant.hidden
        self.self_attn = Projections(hidden, hidden, hidden)
        self.cross_attn_image = Projections(hidden, hidden, MEMORY_WIDTH)
        self.linear1 = nn.Linear(hidden, variant.feed_forward)
        self.linear2 = nn.Linear(variant.feed_forward, hidden)
        self.norm1 = nn.LayerNorm(hidden)
        self.norm2 = nn.LayerNorm(hidden)
        self.norm3 = nn.LayerNorm(hidden)


class MemoryAttentionParameters(nn.Module):
    """Parameters of all layers and of the last norm."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.layers = nn.ModuleList(LayerParameters(variant) for _ in range(variant.memory_layers))
        self.norm = nn.LayerNorm(variant.hidden)


def _halves(projection: nn.Linear) -> nn.Linear:
    """The projection with its even output channels first, then the odd ones."""
    width = projection.out_features
    order = torch.cat((torch.arange(0, width, 2), torch.arange(1, width, 2)))
    return linear(projection.weight[order], projection.bias[order])


class FoldedAttention(Attending):
    """A one-headed attention: its core, and its projections, rewritten as the module text says."""

    def __init__(self, source: Projections) -> None:
        super().__init__()
        self.query = _halves(source.q_proj)
        self.key = _halves(source.k_proj)
        out, value = source.out_proj, source.v_proj
        weight = out.weight.double() @ value.weight.double()
        bias = out.weight.double() @ value.bias.double() + out.bias.double()
        self.out = linear(weight.float(), bias.float())


def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turns the two halves of the last axis, [..., T, hidden], by tables [T, hidden / 2] (modeling/position_encoding.py:212-239)."""
    half = cosine.shape[-1]
    a, b = x[..., :half], x[..., half:]
    return torch.cat((a * cosine - b * sine, a * sine + b * cosine), dim=-1)


class Layer(nn.Module):
    """One layer in two parts, before and after the queries of different objects part ways."""

    def __init__(self, source: LayerParameters) -> None:
        super().__init__()
        self.self_attention = FoldedAttention(source.self_attn)
        self.cross_attention = FoldedAttention(source.cross_attn_image)
        self.norm1, self.norm2, self.norm3 = source.norm1, source.norm2, source.norm3
        self.linear1, self.linear2 = source.linear1, source.linear2
        self.scale = source.self_attn.q_proj.out_features**-0.5  # one head

    def attend_self(self, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        """[V or B, T, hidden] -> the same."""
        y = self.norm1(x)
        q = rotate(self.self_attention.query(y), cosine, sine) * self.scale
        k = rotate(self.self_attention.key(y), cosine, sine)
        out: Tensor = x + self.self_attention.out(self.self_attention.core(q[:, None], k[:, None], y[:, None])[:, 0])
        return out

    def cross_query(self, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        """Queries of the cross-attention [V or B, T, hidden], scaled."""
        return rotate(self.cross_attention.query(self.norm2(x)), cosine, sine) * self.scale

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """Cross-attention's result [B, T, 64] into x [B, T, hidden], then the feed-forward."""
        x = x + self.cross_attention.out(attended)
        out: Tensor = x + self.linear2(torch.relu(self.linear1(self.norm3(x))))
        return out


class Remembered(NamedTuple):
    """What an object remembers, ready for every layer."""

    memory: Tensor  # [B, F, T, 64], with its position codes: becomes keys
    pointers: Tensor  # [B, P * hidden / 64, 64], with their time codes: become keys
    values: Tensor  # [B, tokens, 64]: memories, pooled where the variant pools, then pointers
    window: Tensor | int  # side of the pooling window


def pool_window(memory: Tensor) -> Tensor | int:
    """Side of the pooling window for memory [B, F, T, 64]: 1 for one frame, else 2, as official (modeling/sam/transformer.py:378-381).

    Integer arithmetic on a shape, so that one ONNX graph without branches is right for every number of frames. A program of `torch.export` holds for
    one side of a branch only: there are two of this stage (`masklet_build.export.programs`).
    """
    if torch.compiler.is_exporting():
        return 1 if memory.shape[1] == 1 else POOL
    return POOL - torch.div(1, torch.as_tensor(memory.shape[1]), rounding_mode="trunc")


def pooling_boost(window: Tensor | int, x: Tensor) -> Tensor:
    """The pooled variants' constant, 2 ln 2, or 0 where a single frame is not pooled; float32 [1], where x is."""
    excess = (window - 1).float().reshape(1) if isinstance(window, Tensor) else x.new_full((1,), window - 1, dtype=torch.float32)
    return excess * (2 * math.log(POOL))


class Place(NamedTuple):
    """Where the tokens of a memory are: what is added to them before they become keys, and how the keys are turned."""

    code: Tensor  # [T, 64]
    cosine: Tensor  # [T, hidden / 2]
    sine: Tensor


def memory_place(variant: Variant) -> Place:
    """The tokens of a memory are those of the feature grid. With a perceiver they are its latents: the first have no place and are not turned, the
    others are a grid of windows (EdgeTAM, modeling/perceiver.py:289-290, 312, modeling/position_encoding.py:226-267, configs/edgetam.yaml:55).
    """
    grid, nowhere = (variant.perceiver.windows, variant.perceiver.latents) if variant.perceiver else (variant.grid, 0)
    cosine, sine = rotary_table(grid, variant.hidden)
    code = tokens_of(sine_table(MEMORY_WIDTH, grid), grid, MEMORY_WIDTH)[0]
    in_front = (0, 0, nowhere, 0)
    return Place(functional.pad(code, in_front), functional.pad(cosine, in_front, value=1.0), functional.pad(sine, in_front))


class MemoryAttention(nn.Module):
    """Stage memory_attention (modeling/memory_attention.py:113-184; modeling/sam/transformer.py:255-532)."""

    def __init__(self, source: MemoryAttentionParameters, temporal_code: Tensor, pointer_time: nn.Linear | None, variant: Variant) -> None:
        """pointer_time: projection of the pointers' time code to the width of memories, for the families that have one."""
        super().__init__()
        self.pointer_time, self.farthest = pointer_time, variant.family.num_pointers - 1
        self.grid, self.hidden = variant.grid, variant.hidden
        self.pooling: Literal["none", "efficient1", "efficient2"] = variant.pooling
        self.layers = nn.ModuleList(Layer(layer) for layer in source.layers)
        self.norm = source.norm
        cosine, sine = rotary_table(variant.grid, variant.hidden)
        place = memory_place(variant)
        tables = {
            "cosine": cosine,
            "sine": sine,
            "position": 0.1 * tokens_of(sine_table(variant.hidden, variant.grid), variant.grid, variant.hidden),
            "memory_position": place.code,
            "key_cosine": place.cosine,
            "key_sine": place.sine,
            "temporal_code": temporal_code.detach().reshape(-1, MEMORY_WIDTH).clone(),
        }
        for name, table in tables.items():
            self.register_buffer(name, table, persistent=False)

    def forward(
        self, embedding: Tensor, video: Tensor, memory: Tensor, slot: Tensor, pointers: Tensor, distance: Tensor | None = None
    ) -> tuple[Tensor]:
        """EMBEDDING [V, hidden, G, G], VIDEO [B], MEMORY [B, F, T, 64], SLOT [B, F], POINTERS [B, P, hidden], and DISTANCE [B, P] where pointers
        have a time code -> CONDITIONED [B, hidden, G, G]."""
        remembered = self._remembered(memory, slot, pointers, distance)
        first, *others = self.layers
        x = first.attend_self(tokens_of(embedding, self.grid, self.hidden) + self.position, self.cosine, self.sine)
        q = first.cross_query(x, self.cosine, self.sine).index_select(0, video)
        x = self._attend_memory(first, x.index_select(0, video), q, remembered)
        for layer in others:
            x = layer.attend_self(x, self.cosine, self.sine)
            q = layer.cross_query(x, self.cosine, self.sine)
            x = self._attend_memory(layer, x, q, remembered)
        return (image_of(self.norm(x), self.grid, self.hidden),)

    def _remembered(self, memory: Tensor, slot: Tensor, pointers: Tensor, distance: Tensor | None) -> Remembered:
        """Memories get the code of their place and of their slot; a pointer is hidden / 64 tokens, officially four, all with the code of its time
        or with none."""
        position = self.memory_position + nn.functional.embedding(slot, self.temporal_code)[:, :, None]
        tokens = pointers.reshape(pointers.shape[0], -1, MEMORY_WIDTH)
        window = pool_window(memory)
        values = torch.cat((self._pool(memory, MEMORY_WIDTH, window), tokens), dim=1)
        keys = tokens
        if distance is not None:
            assert self.pointer_time is not None
            time = self.pointer_time(time_code(distance / self.farthest, self.hidden))
            keys = tokens + time[:, :, None].expand(-1, -1, self.hidden // MEMORY_WIDTH, -1).reshape(tokens.shape)
        return Remembered(memory + position, keys, values, window)

    def _attend_memory(self, layer: Layer, x: Tensor, q: Tensor, remembered: Remembered) -> Tensor:
        """Cross-attention and feed-forward of one layer; the keys of pointers are not turned."""
        turned = rotate(layer.cross_attention.key(remembered.memory), self.key_cosine, self.key_sine)
        spatial = self._pool(turned, self.hidden, remembered.window)
        pointers = layer.cross_attention.key(remembered.pointers)
        bias = None
        if self.pooling == "efficient1":  # compensates logits for the number of pooled tokens
            boost = pooling_boost(remembered.window, spatial).expand(spatial.shape[1])
            bias = torch.cat((boost, boost.new_zeros(pointers.shape[1])))
        elif self.pooling == "efficient2":  # adds the same constant to every element of the pooled keys, which is not the same
            spatial = spatial + pooling_boost(remembered.window, spatial)
        keys = torch.cat((spatial, pointers), dim=1)
        attended = layer.cross_attention.core(q[:, None], keys[:, None], remembered.values[:, None], bias)
        return layer.finish(x, attended[:, 0])

    def _pool(self, x: Tensor, width: int, window: Tensor | int) -> Tensor:
        """[B, F, T, width] -> [B, tokens, width], averaged over windows where the variant pools: rows first, then columns."""
        if self.pooling == "none":
            return x.reshape(x.shape[0], -1, width)
        rows = x.reshape(-1, window, self.grid * width).mean(dim=1)
        return rows.reshape(-1, window, width).mean(dim=1).reshape(x.shape[0], -1, width)
