"""Memory encoder: a frame's features and an object's mask become a memory (modeling/memory_encoder.py)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from masklet.families import MEMORY_WIDTH, Variant
from masklet_build.sam.layers import LayerNorm2d, tokens_of


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
        y = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
        y = self.gamma * self.pwconv2(functional.gelu(self.pwconv1(y)))
        return x + y.permute(0, 3, 1, 2)


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

    By a whole factor this is an operator of its own, whose weights are exact. Else it is two products with a matrix of PyTorch's weights: every
    runtime rounds the positions between pixels in its own way, and a mask is thresholded after the resize.
    """

    def __init__(self, size: int, target: int, *, antialias: bool = False) -> None:
        super().__init__()
        self.factor = target // size if target % size == 0 else None
        if self.factor is None:
            axis = functional.interpolate(torch.eye(size)[None, None], (size, target), mode="bilinear", antialias=antialias)[0, 0]
            self.register_buffer("matrix", axis.T.contiguous(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, n, size, size] -> [B, n, target, target]."""
        if self.factor is None:
            out: Tensor = self.matrix @ x @ self.matrix.T
            return out
        return functional.interpolate(x, scale_factor=self.factor, mode="bilinear", align_corners=False) if self.factor > 1 else x


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
        mask = torch.where(binarise[:, None, None, None] > 0, (high > 0).float(), torch.sigmoid(high))
        mask = mask * self.family.sigmoid_scale + self.family.sigmoid_bias
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
