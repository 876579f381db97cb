"""The feature pyramid of SAM 2 and EdgeTAM: four levels of a trunk become features and two high-resolution maps."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from masklet.families import Variant
from masklet_build.models.sam.layers import image_of, linear, one_after_another


class NeckLevel(nn.Module):
    """The 1x1 convolution of one level."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, hidden, 1)


class Neck(nn.Module):
    """Parameters of the pyramid, the coarsest level first (SAM 2, modeling/backbones/image_encoder.py:72-88)."""

    def __init__(self, widths: Sequence[int], hidden: int) -> None:
        """`widths`: channels of the levels, the finest first."""
        super().__init__()
        self.convs = nn.ModuleList(NeckLevel(width, hidden) for width in reversed(widths))


class Pyramid(nn.Module):
    """Levels of a trunk -> image features and high-resolution maps.

    Only the third level gets the coarser one added, doubled by repetition; the fourth has no other use (SAM 2, image_encoder.py:102-134, 32-34). The
    two finest are projected to 256 channels and then by the decoder's conv_s0 and conv_s1 (sam2_base.py:467-479): here by the product of both.
    """

    def __init__(self, neck: Neck, fine: Sequence[nn.Conv2d], variant: Variant) -> None:
        super().__init__()
        coarsest, main, second, first = (level.conv for level in neck.convs)
        self.main, self.coarsest = _linear(main), _linear(coarsest)
        self.fine = nn.ModuleList(_linear(one_after_another(inner, outer)) for outer, inner in zip(fine, (first, second), strict=True))
        self.grid, self.hidden = variant.grid, variant.hidden

    def forward(self, levels: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens [V, n * n, C], n = 4 G, 2 G, G, G / 2 -> [V, hidden, G, G], [V, 32, 4 G, 4 G], [V, 64, 2 G, 2 G]."""
        first, second, main, coarsest = levels
        half = self.grid // 2
        top = self.coarsest(coarsest).reshape(-1, half, 1, half, 1, self.hidden)
        x = self.main(main).reshape(-1, half, 2, half, 2, self.hidden) + top
        high_0, high_1 = self.fine[0](first), self.fine[1](second)
        grid, hidden = self.grid, self.hidden
        return (
            image_of(x.reshape(-1, grid**2, hidden), grid, hidden),
            image_of(high_0, 4 * grid, hidden // 8),
            image_of(high_1, 2 * grid, hidden // 4),
        )


def _linear(conv: nn.Conv2d) -> nn.Linear:
    """A 1x1 convolution for maps whose channels come last."""
    return linear(conv.weight.flatten(1), conv.bias)
