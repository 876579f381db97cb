"""Image encoder: a plain vision transformer with windowed and global blocks, and a neck of one level."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from masklet.families import Variant
from masklet_build.models.sam import windows
from masklet_build.models.sam.layers import Attending, Conv1x1, LayerNorm2d, Linear, Mlp, image_of, tokens_of
from masklet_build.models.sam.pixels import Pixels
from masklet_build.models.sam.tables import resized_position_embedding
from masklet_build.models.trunks import PlainVit
from masklet_build.models.variants import trunk_of

PATCH = 16  # pixels of a token, each way; a stem of convolutions halves four times


class PatchEmbed(nn.Module):
    """One patch becomes one token (modeling/backbones/utils.py:64-94)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, PATCH, PATCH)

    def forward(self, pixels: Tensor) -> Tensor:
        """[V, 3, S, S] -> [V, E, G, G]."""
        out: Tensor = self.proj(pixels)
        return out


class StemBlock(nn.Module):
    """Residual block that lets neighbours mix before the next halving."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, groups=width),
            LayerNorm2d(width),
            nn.Conv2d(width, 2 * width, 1),
            nn.GELU(),
            nn.Conv2d(2 * width, width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[V, width, n, n] -> the same."""
        out: Tensor = x + self.layers(x)
        return out


class ConvStem(nn.Module):
    """Four convolutions of stride 2 instead of one patch. No official variant has it: see `families.NANO`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_halving(3, 32),
            *_halving(32, 64),
            StemBlock(64),
            *_halving(64, 128),
            StemBlock(128),
            nn.Conv2d(128, width, 3, 2, 1),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """[V, 3, S, S] -> [V, E, G, G]."""
        out: Tensor = self.layers(pixels)
        return out


def _halving(channels: int, width: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(channels, width, 3, 2, 1), LayerNorm2d(width), nn.GELU()


STEMS: dict[str, type[PatchEmbed] | type[ConvStem]] = {"patch": PatchEmbed, "conv": ConvStem}


class TrunkAttention(Attending):
    """Self-attention of a block; the windows are cut between its linear layers.

    Officially the normalised map is padded with zeros to whole windows before qkv, without a mask (modeling/backbones/utils.py:17-61).
    A linear layer makes its bias of a zero, so here the weights come before the padding and the bias after it, and the output projection
    follows once the padding is gone: the same numbers, without multiplying padding (42 % of the tokens at 512 pixels).
    """

    def __init__(self, trunk: PlainVit, grid: int, window: int) -> None:
        super().__init__()
        self.qkv = Linear(trunk.embed_dim, 3 * trunk.embed_dim)
        self.proj = nn.Linear(trunk.embed_dim, trunk.embed_dim)
        self.heads, self.width = trunk.num_heads, trunk.embed_dim // trunk.num_heads
        self.grid, self.side = grid, window

    def forward(self, x: Tensor) -> Tensor:
        """[V, G * G, E] -> the same."""
        qkv = self.qkv.product(x)
        qkv = windows.split(qkv, self.grid, self.side, 3 * self.heads * self.width) + self.qkv.bias
        q, k, v = qkv.reshape(-1, self.side**2, 3, self.heads, self.width).permute(2, 0, 3, 1, 4).unbind(0)
        out = self.core(q * self.width**-0.5, k, v).transpose(1, 2)
        projected: Tensor = self.proj(windows.join(out, self.grid, self.side, self.heads * self.width))
        return projected


class TrunkBlock(nn.Module):
    """Pre-norm block (modeling/backbones/vitdet.py:140-169)."""

    def __init__(self, trunk: PlainVit, grid: int, index: int) -> None:
        super().__init__()
        width = trunk.embed_dim
        window = trunk.window_size if index in trunk.window_blocks else grid
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = TrunkAttention(trunk, grid, window)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp((width, int(trunk.mlp_ratio * width), width), functional.gelu)

    def forward(self, x: Tensor) -> Tensor:
        """[V, G * G, E] -> the same."""
        x = x + self.attn(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class Trunk(nn.Module):
    """Stem and blocks. The stored position embedding is resized by the stage, once."""

    def __init__(self, trunk: PlainVit, grid: int) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + trunk.pretrain_grid**2, trunk.embed_dim))
        self.patch_embed = STEMS[trunk.stem](trunk.embed_dim)
        self.blocks = nn.ModuleList(TrunkBlock(trunk, grid, index) for index in range(trunk.depth))


class NeckLevel(nn.Module):
    """1x1 and 3x3 convolution, each followed by a norm over channels (modeling/backbones/image_encoder.py:70-96)."""

    def __init__(self, width: int, hidden: int, grid: int) -> None:
        super().__init__()
        self.grid, self.hidden = grid, hidden
        self.conv_1x1 = Conv1x1(width, hidden)
        self.norm_0 = nn.LayerNorm(hidden, eps=1e-6)
        self.conv_3x3 = nn.Conv2d(hidden, hidden, 3, padding=1, bias=False)
        self.norm_1 = LayerNorm2d(hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens [V, G * G, E] -> [V, hidden, G, G]. The 1x1 convolution is a linear layer while channels are last."""
        x = self.norm_0(self.conv_1x1.product(x))
        out: Tensor = self.norm_1(self.conv_3x3(image_of(x, self.grid, self.hidden)))
        return out


class Neck(nn.Module):
    """The neck's only level."""

    def __init__(self, width: int, hidden: int, grid: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList([NeckLevel(width, hidden, grid)])


class Encoder(nn.Module):
    """Parameters of trunk and neck."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        trunk = trunk_of(variant)
        assert isinstance(trunk, PlainVit)
        self.trunk = Trunk(trunk, variant.grid)
        self.neck = Neck(trunk.embed_dim, variant.hidden, variant.grid)


class ImageEncoder(nn.Module):
    """Stage image_encoder: normalisation, trunk, neck."""

    def __init__(self, network: nn.Module, variant: Variant) -> None:
        super().__init__()
        self.encoder = network.image_encoder
        self.pixels = Pixels(variant)
        position = resized_position_embedding(self.encoder.trunk.pos_embed.detach(), variant.grid)
        self.register_buffer("position", position.flatten(1, 2), persistent=False)
        self.grid, self.width = variant.grid, position.shape[-1]

    def forward(self, image: Tensor) -> tuple[Tensor]:
        """IMAGE uint8 [V, S, S, 3] -> EMBEDDING [V, hidden, G, G]."""
        x = tokens_of(self.encoder.trunk.patch_embed(self.pixels(image)), self.grid, self.width) + self.position
        for block in self.encoder.trunk.blocks:
            x = block(x)
        return (self.encoder.neck.convs[0](x),)
