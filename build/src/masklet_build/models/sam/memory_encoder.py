"""Memory encoder: a frame's features and an object's mask become a memory (modeling/memory_encoder.py)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from masklet.families import MEMORY_WIDTH, Variant
from masklet_build.models.sam.layers import LayerNorm2d, image_of, tokens_of


class MaskDownsampler(nn.Module):
    """Four convolutions of stride 2, each with norm and GELU, to 256 channels, and a 1x1 convolution (:19-61)."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for channels in (1, 4, 16, 64):
            layers += [nn.Conv2d(channels, 4 * channels, 3, 2, 1), LayerNorm2d(4 * channels), nn.GELU()]
        self.encoder = nn.Sequential(*layers, nn.Conv2d(4 * channels, hidden, 1))


class FuserBlock(nn.Module):
    """ConvNeXt block with layer scale (:65-119)."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(hidden, hidden, 7, padding=3, groups=hidden)
        self.norm = nn.LayerNorm(hidden, eps=1e-6)
        self.pwconv1 = nn.Linear(hidden, 4 * hidden)
        self.pwconv2 = nn.Linear(4 * hidden, hidden)
        self.gamma = nn.Parameter(torch.ones(hidden))

    def forward(self, x: Tensor) -> Tensor:
        """[B, hidden, G, G] -> the same."""
        hidden, grid = (int(size) for size in x.shape[1:3])
        y = self.norm(tokens_of(self.dwconv(x), grid, hidden))
        y = self.gamma * self.pwconv2(functional.gelu(self.pwconv1(y)))
        return x + image_of(y, grid, hidden)


class Fuser(nn.Module):
    """Two blocks."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(FuserBlock(hidden) for _ in range(2))


class MemoryEncoderParameters(nn.Module):
    """Parameters of the memory encoder."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.mask_downsampler = MaskDownsampler(hidden)
        self.pix_feat_proj = nn.Conv2d(hidden, hidden, 1)
        self.fuser = Fuser(hidden)
        self.out_proj = nn.Conv2d(hidden, MEMORY_WIDTH, 1)


LOST_PIXEL = -10.0  # mask logit, at most, where another object is surer (SAM 3 sam3_tracker_base.py:1132)


class Resize(nn.Module):
    """Enlarges square maps, bilinear with half-pixel centres.

    It is two products with a matrix of PyTorch's weights: every runtime rounds the positions between pixels in its own way, and a mask is
    thresholded after the resize. In OpenVINO they are also quicker than the operator, 16 times for nano.
    """

    def __init__(self, size: int, target: int, *, antialias: bool = False) -> None:
        super().__init__()
        self.resizes = size != target
        if self.resizes:
            axis = functional.interpolate(torch.eye(size)[None, None], (size, target), mode="bilinear", antialias=antialias)[0, 0]
            self.register_buffer("matrix", axis.T.contiguous(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, n, size, size] -> [B, n, target, target]."""
        return self.matrix @ x @ self.matrix.T if self.resizes else x


STEEP, STEP = 1e38, 100.0  # of float32, whose largest number is 3.4e38; sigmoid(-100) is 4e-44


def soft_mask(logits: Tensor, binarise: Tensor) -> Tensor:
    """Mask logits [B, 1, n, n] -> masks in 0..1: their sigmoid, or where BINARISE [B] is set, whether they are above 0.

    A sigmoid so steep is a step, for every logit but those between 0 and 1e-36: one pass over the map, and no choice between two of them.
    """
    binary = (binarise > 0).float()[:, None, None, None]
    return torch.sigmoid(logits * (1 + STEEP * binary) - STEP * binary)


class MemoryEncoder(nn.Module):
    """Stage memory_encoder (modeling/efficienttam_base.py:680-728)."""

    def __init__(self, source: MemoryEncoderParameters, variant: Variant) -> None:
        super().__init__()
        self.source = source
        self.family, self.grid = variant.family, variant.grid
        self.to_image = Resize(variant.low_size, variant.image_size)
        self.to_mask = Resize(variant.image_size, variant.mask_size, antialias=True)

    def forward(self, embedding: Tensor, video: Tensor, low: Tensor, binarise: Tensor, rivals: Tensor | None = None) -> tuple[Tensor]:
        """EMBEDDING [V, hidden, G, G], VIDEO [B], LOW [B, L, L], BINARISE [B], and RIVALS [B, R, L, L] where prompts are exclusive -> MEMORY
        [B, T, 64]. Features are projected once per video.

        Masks of SAM 3 are larger than its images (model/memory.py:71-79).
        """
        high = self.to_image(low[:, None])
        if rivals is not None:  # a pixel belongs to the object that is surest of it (SAM 3 sam3_tracker_base.py:1115-1133)
            others = self.to_image(rivals).amax(dim=1, keepdim=True)
            high = torch.where(high >= others, high, high.clamp(max=LOST_PIXEL))
        mask = soft_mask(high, binarise) * self.family.sigmoid_scale + self.family.sigmoid_bias
        features = self.source.pix_feat_proj(embedding).index_select(0, video)
        x = features + self.source.mask_downsampler.encoder(self.to_mask(mask))
        for block in self.source.fuser.layers:
            x = block(x)
        return (tokens_of(self.source.out_proj(x), self.grid, MEMORY_WIDTH),)


class OcclusionMemoryEncoder(nn.Module):
    """Stage memory_encoder of the families that mark the memory of an absent object (SAM 2, modeling/sam2_base.py:716-724)."""

    def __init__(self, encoder: MemoryEncoder, occluded: Tensor) -> None:
        """occluded: [1, 64], added to every token of such a memory."""
        super().__init__()
        self.encoder = encoder
        self.register_buffer("occluded", occluded.detach().clone(), persistent=False)

    def forward(self, embedding: Tensor, video: Tensor, low: Tensor, score: Tensor, binarise: Tensor, rivals: Tensor | None = None) -> tuple[Tensor]:
        """As `MemoryEncoder.forward`, with SCORE [B]."""
        (memory,) = self.encoder(embedding, video, low, binarise, rivals)
        absent = 1 - (score > 0).float()
        return (memory + absent[:, None, None] * self.occluded,)
