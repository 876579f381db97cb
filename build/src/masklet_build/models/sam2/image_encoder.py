"""Image encoder: Hiera under a feature pyramid, whose two finest levels go to the mask decoder."""

from __future__ import annotations

from torch import Tensor, nn

from masklet.families import Variant
from masklet_build.models.sam.pixels import Pixels
from masklet_build.models.sam.pyramid import Neck, Pyramid
from masklet_build.models.sam2.trunk import PATCH_STRIDE, Trunk, position_embedding
from masklet_build.models.trunks import Hiera
from masklet_build.models.variants import trunk_of


class Encoder(nn.Module):
    """Parameters of trunk and neck."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        trunk = trunk_of(variant)
        assert isinstance(trunk, Hiera)
        width = trunk.embed_dim
        self.trunk = Trunk(trunk, variant.image_size)
        self.neck = Neck([width, 2 * width, 4 * width, 8 * width], variant.hidden)


class ImageEncoder(nn.Module):
    """Stage image_encoder: normalisation, trunk, pyramid."""

    def __init__(self, network: nn.Module, variant: Variant) -> None:
        super().__init__()
        self.trunk = network.image_encoder.trunk
        decoder = network.sam_mask_decoder
        self.pyramid = Pyramid(network.image_encoder.neck, (decoder.conv_s0, decoder.conv_s1), variant)
        grid = variant.image_size // PATCH_STRIDE
        position = position_embedding(self.trunk.pos_embed.detach(), self.trunk.pos_embed_window.detach(), grid)
        self.register_buffer("position", position, persistent=False)
        self.pixels = Pixels(variant)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """IMAGE uint8 [V, S, S, 3] -> EMBEDDING [V, hidden, G, G], HIGH_RES_0 [V, 32, 4 G, 4 G], HIGH_RES_1 [V, 64, 2 G, 2 G]."""
        outputs: tuple[Tensor, Tensor, Tensor] = self.pyramid(self.trunk(self.pixels(image), self.position))
        return outputs
