"""RepViT, EdgeTAM's trunk: convolutions with batch norms under the official names, and the form with the norms folded away that runs.

The official trunk is timm's `repvit_m1.dist_in1k` as a feature pyramid (modeling/backbones/timm.py:18-33), so the names are those of timm's
models/repvit.py (timm 1.0, "legacy" form: the 1x1 branch of a token mixer has its own norm). In inference a batch norm is a multiplication and
an addition per channel, and the three branches of a token mixer are linear: all of it is one convolution with a bias, up to rounding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from masklet_build.models.trunks import RepViT

GATE_SHARE, GATE_STEP = 4, 8  # a gate has a quarter of the channels inside, rounded to a multiple of 8 (timm: SqueezeExcite, make_divisible)


class ConvNorm(nn.Module):
    """A convolution without bias and its batch norm, eps 1e-5."""

    def __init__(self, channels: int, width: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.c = nn.Conv2d(channels, width, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(width)

    def kernel(self) -> tuple[Tensor, Tensor]:
        """Weight and bias, float64, of the convolution that does both."""
        norm = self.bn
        assert norm.running_mean is not None
        assert norm.running_var is not None
        factor = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
        return self.c.weight.double() * factor[:, None, None, None], norm.bias.double() - norm.running_mean.double() * factor

    def folded(self) -> nn.Conv2d:
        """The convolution that does both, float32."""
        return _convolution(self.c, *self.kernel())


def _convolution(like: nn.Conv2d, weight: Tensor, bias: Tensor) -> nn.Conv2d:
    """A convolution of the same geometry with these parameters."""
    made = nn.Conv2d(like.in_channels, like.out_channels, like.kernel_size, like.stride, like.padding, groups=like.groups)
    made.weight, made.bias = (nn.Parameter(x.detach().float(), requires_grad=False) for x in (weight, bias))
    return made


class TokenMixer(nn.Module):
    """Depthwise 3x3 and 1x1 convolutions and the identity, summed (timm: RepVggDw)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = ConvNorm(width, width, 3, groups=width)
        self.conv1 = ConvNorm(width, width, groups=width)

    def folded(self) -> nn.Conv2d:
        """The one depthwise 3x3 convolution that does all three."""
        (weight, bias), (centre, offset) = self.conv.kernel(), self.conv1.kernel()
        return _convolution(self.conv.c, weight + functional.pad(centre + 1.0, (1, 1, 1, 1)), bias + offset)


class ChannelMixer(nn.Module):
    """Two 1x1 convolutions with a GELU between (timm: RepVitMlp)."""

    def __init__(self, width: int, ratio: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(width, ratio * width)
        self.conv2 = ConvNorm(ratio * width, width)

    def folded(self) -> nn.Sequential:
        """The same, without norms."""
        return nn.Sequential(self.conv1.folded(), nn.GELU(), self.conv2.folded())


class Gate(nn.Module):
    """Scales every channel by what all channels are on average (timm: SqueezeExcite)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = GATE_STEP * max(1, (width // GATE_SHARE + GATE_STEP // 2) // GATE_STEP)
        self.fc1 = nn.Conv2d(width, inner, 1)
        self.fc2 = nn.Conv2d(inner, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[V, width, n, n] -> the same."""
        factor = torch.sigmoid(self.fc2(torch.relu(self.fc1(x.mean(dim=(2, 3), keepdim=True)))))
        return x * factor


class FoldedBlock(nn.Module):
    """A block as it runs: token mixer, gate where there is one, channel mixer with a residual."""

    def __init__(self, mixer: nn.Conv2d, gate: Gate | None, channels: nn.Sequential) -> None:
        super().__init__()
        self.mixer, self.gate, self.channels = mixer, gate, channels

    def forward(self, x: Tensor) -> Tensor:
        """[V, width, n, n] -> the same."""
        x = self.mixer(x)
        if self.gate is not None:
            x = self.gate(x)
        out: Tensor = x + self.channels(x)
        return out


class Block(nn.Module):
    """Parameters of a block (timm: RepViTBlock)."""

    def __init__(self, width: int, ratio: int, gated: bool) -> None:
        super().__init__()
        self.token_mixer = TokenMixer(width)
        if gated:
            self.se = Gate(width)
        self.channel_mixer = ChannelMixer(width, ratio)

    def folded(self) -> FoldedBlock:
        """The block as it runs."""
        return FoldedBlock(self.token_mixer.folded(), getattr(self, "se", None), self.channel_mixer.folded())


class FoldedDownsample(nn.Module):
    """The start of a stage as it runs: half the size, the stage's width."""

    def __init__(self, block: FoldedBlock, spatial: nn.Conv2d, channels: nn.Conv2d, ffn: nn.Sequential) -> None:
        super().__init__()
        self.halve = nn.Sequential(block, spatial, channels)
        self.ffn = ffn

    def forward(self, x: Tensor) -> Tensor:
        """[V, c, 2 n, 2 n] -> [V, width, n, n]."""
        x = self.halve(x)
        out: Tensor = x + self.ffn(x)
        return out


class Downsample(nn.Module):
    """Parameters of the start of stages 1 to 3 (timm: RepVitDownsample)."""

    def __init__(self, channels: int, width: int, ratio: int) -> None:
        super().__init__()
        self.pre_block = Block(channels, ratio, gated=False)
        self.spatial_downsample = ConvNorm(channels, channels, 3, 2, groups=channels)
        self.channel_downsample = ConvNorm(channels, width)
        self.ffn = ChannelMixer(width, ratio)

    def folded(self) -> FoldedDownsample:
        """The same as it runs."""
        parts = self.pre_block, self.spatial_downsample, self.channel_downsample, self.ffn
        return FoldedDownsample(*(part.folded() for part in parts))


class Stage(nn.Module):
    """Parameters of one level of the pyramid; every second block has a gate, the first among them (timm: RepVitStage)."""

    def __init__(self, channels: int | None, width: int, depth: int, ratio: int) -> None:
        super().__init__()
        if channels is not None:
            self.downsample = Downsample(channels, width, ratio)
        self.blocks = nn.Sequential(*(Block(width, ratio, gated=index % 2 == 0) for index in range(depth)))

    def folded(self) -> nn.Sequential:
        """[V, c, 2 n, 2 n] -> [V, width, n, n], or the same size in stage 0."""
        start = getattr(self, "downsample", None)
        return nn.Sequential(*(part.folded() for part in (*([start] if start is not None else []), *self.blocks)))


class Stem(nn.Module):
    """Two convolutions of stride 2 with a GELU between (timm: RepVitStem)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(3, width // 2, 3, 2)
        self.conv2 = ConvNorm(width // 2, width, 3, 2)

    def folded(self) -> nn.Sequential:
        """[V, 3, S, S] -> [V, width, S / 4, S / 4]."""
        return nn.Sequential(self.conv1.folded(), nn.GELU(), self.conv2.folded())


class Body(nn.Module):
    """Parameters of stem and stages."""

    def __init__(self, trunk: RepViT) -> None:
        super().__init__()
        self.stem = Stem(trunk.widths[0])
        before: int | None = None
        for index, (width, depth) in enumerate(zip(trunk.widths, trunk.depths, strict=True)):
            self.add_module(f"stages_{index}", Stage(before, width, depth, trunk.mlp_ratio))
            before = width

    def folded(self) -> nn.ModuleList:
        """The stem together with stage 0, then the other stages; each takes what the one before gives."""
        first, *others = (stage.folded() for name, stage in self.named_children() if isinstance(stage, Stage))
        return nn.ModuleList([nn.Sequential(self.stem.folded(), *first), *others])
