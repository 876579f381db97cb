"""Parameters of SAM 3's image encoder under their official names, as far as the tracker uses them (model/vitdet.py, model/necks.py)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from masklet.families import Variant
from masklet_build.models.trunks import Sam3Vit
from masklet_build.models.variants import trunk_of


class PatchEmbed(nn.Module):
    """One patch of `stride` pixels becomes one token; without bias (model_builder.py:97)."""

    def __init__(self, trunk: Sam3Vit, stride: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, trunk.embed_dim, stride, stride, bias=False)


class TrunkAttentionParameters(nn.Module):
    """Queries, keys and values in one layer: the rows of all queries first, head by head."""

    def __init__(self, trunk: Sam3Vit) -> None:
        super().__init__()
        self.qkv = nn.Linear(trunk.embed_dim, 3 * trunk.embed_dim)
        self.proj = nn.Linear(trunk.embed_dim, trunk.embed_dim)


class TrunkMlp(nn.Module):
    """Two linear layers with GELU between them, under the names of timm."""

    def __init__(self, trunk: Sam3Vit) -> None:
        super().__init__()
        inner = int(trunk.mlp_ratio * trunk.embed_dim)
        self.fc1 = nn.Linear(trunk.embed_dim, inner)
        self.fc2 = nn.Linear(inner, trunk.embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        """[..., E] -> the same."""
        out: Tensor = self.fc2(functional.gelu(self.fc1(x)))
        return out


class TrunkBlockParameters(nn.Module):
    """Parameters of one block."""

    def __init__(self, trunk: Sam3Vit) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(trunk.embed_dim)
        self.attn = TrunkAttentionParameters(trunk)
        self.norm2 = nn.LayerNorm(trunk.embed_dim)
        self.mlp = TrunkMlp(trunk)


class Trunk(nn.Module):
    """Parameters of the transformer."""

    def __init__(self, trunk: Sam3Vit, stride: int) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + trunk.pretrain_grid**2, trunk.embed_dim))
        self.patch_embed = PatchEmbed(trunk, stride)
        self.ln_pre = nn.LayerNorm(trunk.embed_dim)
        self.blocks = nn.ModuleList(TrunkBlockParameters(trunk) for _ in range(trunk.depth))


class NeckLevel(nn.Module):
    """One level: `doublings` transposed convolutions that each halve the channels, with GELU between them, and a 1x1 and a 3x3 convolution."""

    conv_3x3: nn.Conv2d

    def __init__(self, width: int, hidden: int, doublings: int) -> None:
        super().__init__()
        names = {0: (), 1: ("dconv_2x2",), 2: ("dconv_2x2_0", "dconv_2x2_1")}[doublings]
        self.doublings = names
        for name in names:
            self.add_module(name, nn.ConvTranspose2d(width, width // 2, 2, 2))
            width //= 2
        self.conv_1x1 = nn.Conv2d(width, hidden, 1)
        self.conv_3x3 = nn.Conv2d(hidden, hidden, 3, padding=1)

    def before_3x3(self) -> nn.Sequential:
        """Everything but the last convolution."""
        layers: list[nn.Module] = []
        for name in self.doublings:
            layers += [*([nn.GELU()] if layers else []), self.get_submodule(name)]
        return nn.Sequential(*layers, self.conv_1x1)


class VisionBackbone(nn.Module):
    """Trunk and the tracker's neck, finest level first. Its fourth level, half the grid, is never used (scalp=1, model_builder.py:115)."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        trunk = trunk_of(variant)
        assert isinstance(trunk, Sam3Vit)
        self.trunk = Trunk(trunk, variant.stride)
        self.sam2_convs = nn.ModuleList(NeckLevel(trunk.embed_dim, variant.hidden, doublings) for doublings in (2, 1, 0))
