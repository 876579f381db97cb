"""Spatial perceiver: makes 512 memory tokens of a memory of a token per feature (modeling/perceiver.py).

Learned latents look at the memory. Half of them look at all of it ("1-D", :275-293), each of the others at a window of its own ("2-D",
:295-320), with the same layers. The 1-D latents see the sine code of the place, added to keys and to values; the 2-D latents do not.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from masklet.families import MEMORY_WIDTH, Variant
from masklet.families import Perceiver as Sizes
from masklet_build.models.sam.layers import Attending, tokens_of
from masklet_build.models.sam.memory_encoder import MemoryEncoder
from masklet_build.models.sam.tables import sine_table

FEED_FORWARD = 4  # inner width of the feed-forward, in widths (ff_mult, configs/edgetam.yaml:70)


def feed_forward() -> nn.Sequential:
    """Norm, two linear layers without bias, GELU between (:14-21)."""
    inner = FEED_FORWARD * MEMORY_WIDTH
    return nn.Sequential(
        nn.LayerNorm(MEMORY_WIDTH), nn.Linear(MEMORY_WIDTH, inner, bias=False), nn.GELU(), nn.Linear(inner, MEMORY_WIDTH, bias=False)
    )


class Projections(Attending):
    """Projections without bias of an attention of one head; keys and values come from one layer, keys first (:34-41, 95-98)."""

    def __init__(self) -> None:
        super().__init__()
        self.to_q = nn.Linear(MEMORY_WIDTH, MEMORY_WIDTH, bias=False)
        self.to_kv = nn.Linear(MEMORY_WIDTH, 2 * MEMORY_WIDTH, bias=False)
        self.to_out = nn.Linear(MEMORY_WIDTH, MEMORY_WIDTH, bias=False)

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Queries not yet projected, keys and values projected: [B, groups, tokens, 64] each -> as queries; of one key, one row for all queries.

        The weight of a single key is 1, whatever the query. So each 2-D latent, alone in its window, has from itself what its value says; computed
        as a softmax over one score it would be the same number, and no kernel of TensorRT for RTX 1.7 fuses that.
        """
        if int(keys.shape[2]) > 1:
            values = self.core(self.to_q(queries) * MEMORY_WIDTH**-0.5, keys, values)
        out: Tensor = self.to_out(values)
        return out


class CrossAttention(Projections):
    """Latents look at a memory (:24-83)."""

    def __init__(self) -> None:
        super().__init__()
        self.norm_x = nn.LayerNorm(MEMORY_WIDTH)
        self.norm_latents = nn.LayerNorm(MEMORY_WIDTH)

    def keys_values(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """[B, T, 64] -> keys and values [B, T, 64]."""
        keys, values = self.to_kv(self.norm_x(memory)).split(MEMORY_WIDTH, dim=-1)
        return keys, values

    def forward(self, latents: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """[B, groups, n, 64], keys and values [B, groups, m, 64] -> as latents."""
        return self.attend(self.norm_latents(latents), keys, values)


class SelfAttention(Projections):
    """Latents of a group look at each other (:86-129)."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(MEMORY_WIDTH)

    def forward(self, latents: Tensor) -> Tensor:
        """[B, groups, n, 64] -> the same."""
        latents = self.norm(latents)
        keys, values = self.to_kv(latents).split(MEMORY_WIDTH, dim=-1)
        return self.attend(latents, keys, values)


class Layer(nn.Module):
    """One layer; each step adds to the latents (:132-177)."""

    def __init__(self) -> None:
        super().__init__()
        self.attn = CrossAttention()
        self.ff = feed_forward()
        self.self_attn = SelfAttention()
        self.self_ff = feed_forward()

    def forward(self, latents: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """As `CrossAttention`."""
        latents = latents + self.attn(latents, keys, values)
        latents = latents + self.ff(latents)
        latents = latents + self.self_attn(latents)
        out: Tensor = latents + self.self_ff(latents)
        return out


class PerceiverParameters(nn.Module):
    """Parameters of the perceiver (:229-259)."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.zeros(sizes.latents, MEMORY_WIDTH))
        self.latents_2d = nn.Parameter(torch.zeros(sizes.window_latents, MEMORY_WIDTH))
        self.layers = nn.ModuleList(Layer() for _ in range(sizes.layers))
        self.norm = nn.LayerNorm(MEMORY_WIDTH)


class Perceiver(nn.Module):
    """The perceiver of any number of objects at once (the official 2-D path takes one: it raises in `view` for more, :298)."""

    def __init__(self, source: PerceiverParameters, variant: Variant) -> None:
        super().__init__()
        assert variant.perceiver is not None
        self.source = source
        self.windows = variant.perceiver.windows
        self.side = variant.grid // self.windows
        self.register_buffer("code", tokens_of(sine_table(MEMORY_WIDTH, variant.grid), variant.grid, MEMORY_WIDTH), persistent=False)

    def forward(self, memory: Tensor) -> Tensor:
        """[B, G * G, 64] -> [B, T, 64]: the 1-D latents, then the 2-D latents row by row."""
        whole = self.source.latents.expand(memory.shape[0], 1, -1, -1)
        local = self.source.latents_2d[:, None].expand(memory.shape[0], -1, -1, -1)
        for layer in self.source.layers:
            keys, values = layer.attn.keys_values(memory)
            whole = layer(whole, (keys + self.code)[:, None], (values + self.code)[:, None])
            local = layer(local, self._windows(keys), self._windows(values))
        out: Tensor = self.source.norm(torch.cat((whole[:, 0], local[:, :, 0]), dim=1))
        return out

    def _windows(self, x: Tensor) -> Tensor:
        """[B, G * G, 64] -> [B, windows, tokens of a window, 64], windows row by row."""
        cut = x.reshape(-1, self.windows, self.side, self.windows, self.side * MEMORY_WIDTH).transpose(2, 3)
        return cut.reshape(-1, self.windows**2, self.side**2, MEMORY_WIDTH)


class CompressingMemoryEncoder(nn.Module):
    """Stage memory_encoder with a perceiver behind it (modeling/sam2_base.py:739-742)."""

    def __init__(self, encoder: MemoryEncoder, perceiver: PerceiverParameters, variant: Variant) -> None:
        super().__init__()
        self.encoder = encoder
        self.perceiver = Perceiver(perceiver, variant)

    def forward(self, embedding: Tensor, video: Tensor, low: Tensor, binarise: Tensor) -> tuple[Tensor]:
        """As `MemoryEncoder.forward`."""
        (memory,) = self.encoder(embedding, video, low, binarise)
        return (self.perceiver(memory),)
