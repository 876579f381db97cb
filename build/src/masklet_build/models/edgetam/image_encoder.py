"""EdgeTAM's image encoder: a RepViT trunk, the feature pyramid of SAM 2, and the mask decoder's projections of the two finer levels.

On those levels two 1x1 convolutions follow each other, the pyramid's and the decoder's. They run as one, which gives the same numbers up to rounding.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from masklet.families import Variant
from masklet_build.models.edgetam.repvit import Body
from masklet_build.models.sam.layers import one_after_another
from masklet_build.models.sam.pixels import Pixels
from masklet_build.models.sam.pyramid import Neck
from masklet_build.models.trunks import RepViT
from masklet_build.models.variants import trunk_of


class Trunk(nn.Module):
    """Parameters of the trunk (modeling/backbones/timm.py:17-37)."""

    def __init__(self, trunk: RepViT) -> None:
        super().__init__()
        self.body = Body(trunk)


class Encoder(nn.Module):
    """Parameters of trunk and pyramid."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        trunk = trunk_of(variant)
        assert isinstance(trunk, RepViT)
        self.trunk = Trunk(trunk)
        self.neck = Neck(trunk.widths, variant.hidden)


class ImageEncoder(nn.Module):
    """Stage image_encoder: normalisation, trunk, pyramid (modeling/backbones/image_encoder.py:27-42, 102-134; modeling/sam2_base.py:470-486)."""

    def __init__(self, network: Any, variant: Variant) -> None:
        super().__init__()
        encoder, decoder = network.image_encoder, network.sam_mask_decoder
        self.stages = encoder.trunk.body.folded()
        coarsest, main, fine, finest = (level.conv for level in encoder.neck.convs)
        self.coarsest, self.main = coarsest, main
        self.finer = nn.ModuleList([one_after_another(finest, decoder.conv_s0), one_after_another(fine, decoder.conv_s1)])
        self.pixels = Pixels(variant)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """IMAGE uint8 [V, S, S, 3] -> EMBEDDING [V, hidden, G, G], HIGH_RES_0 [V, 32, 4G, 4G], HIGH_RES_1 [V, 64, 2G, 2G].

        Only the embedding gets something from the coarser level below it (configs/edgetam.yaml:27), which itself is not used further (:8).
        """
        x = self.pixels(image)
        levels = []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        embedding = self.main(levels[2]) + functional.interpolate(self.coarsest(levels[3]), scale_factor=2.0, mode="nearest")
        return embedding, self.finer[0](levels[0]), self.finer[1](levels[1])
