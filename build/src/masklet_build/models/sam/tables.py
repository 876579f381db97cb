"""Constant tables: computed once when a stage is built, never stored in a checkpoint. All float32, in the official order of arithmetic."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

TEMPERATURE = 10000.0  # of sine and rotary tables


def sine_table(channels: int, grid: int) -> Tensor:
    """Sine position table [channels, grid, grid]: the half for y first, then x (modeling/position_encoding.py:90-124)."""
    half = channels // 2
    place = torch.arange(1, grid + 1, dtype=torch.float32) / (grid + 1e-6) * (2 * math.pi)
    index = torch.arange(half, dtype=torch.float32)
    angle = place[:, None] / TEMPERATURE ** (2 * torch.div(index, 2, rounding_mode="floor") / half)
    wave = torch.stack((angle[:, 0::2].sin(), angle[:, 1::2].cos()), dim=2).flatten(1).T
    rows = wave[:, :, None].expand(half, grid, grid)
    columns = wave[:, None, :].expand(half, grid, grid)
    return torch.cat((rows, columns)).contiguous()


def rotary_table(grid: int, width: int, step: float = 1.0) -> tuple[Tensor, Tensor]:
    """Cosine and sine [grid * grid, width / 2] of the axial rotary code (modeling/position_encoding.py:185-201).

    Rows are tokens, row-major, `step` apart. Column j turns the channel pair (2 j, 2 j + 1): the first half of the columns by x, the second half
    by y.
    """
    frequency = 1.0 / TEMPERATURE ** (torch.arange(0, width, 4)[: width // 4].float() / width)
    token = torch.arange(grid * grid, dtype=torch.float32)
    x, y = (token % grid) * step, torch.div(token, grid, rounding_mode="floor") * step
    angle = torch.cat((torch.outer(x, frequency), torch.outer(y, frequency)), dim=1)
    return angle.cos(), angle.sin()


def time_code(time: Tensor, width: int) -> Tensor:
    """Sine code of times [...] -> [..., width], all sines first (SAM 2, modeling/sam2_utils.py:64-74)."""
    half = width // 2
    index = torch.arange(half, dtype=torch.float32, device=time.device)
    angle = time[..., None] / TEMPERATURE ** (2 * torch.div(index, 2, rounding_mode="floor") / half)
    return torch.cat((angle.sin(), angle.cos()), dim=-1)


def resized_position_embedding(stored: Tensor, grid: int) -> Tensor:
    """The trunk's position embedding [1, 1 + n * n, E] as [1, grid, grid, E]: class entry dropped, bicubic (modeling/backbones/utils.py:97-128)."""
    side = math.isqrt(stored.shape[1] - 1)
    image = stored[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    resized = functional.interpolate(image, size=(grid, grid), mode="bicubic", align_corners=False)
    return resized.permute(0, 2, 3, 1).contiguous()


def fourier_code(coordinates: Tensor, frequencies: Tensor) -> Tensor:
    """Random Fourier code of x, y in 0..1: [..., 2] and [2, n] give [..., 2 n], all sines first (modeling/sam/prompt_encoder.py:145-154)."""
    angle = 2 * math.pi * ((2 * coordinates - 1) @ frequencies)
    return torch.cat((angle.sin(), angle.cos()), dim=-1)


def dense_code(frequencies: Tensor, grid: int) -> Tensor:
    """Fourier code of the centres of the feature grid, [grid * grid, 2 n], row-major (modeling/sam/prompt_encoder.py:156-167)."""
    centre = (torch.arange(grid, dtype=torch.float32, device=frequencies.device) + 0.5) / grid
    y, x = torch.meshgrid(centre, centre, indexing="ij")
    return fourier_code(torch.stack((x, y), dim=-1), frequencies).flatten(0, 1)


def resize_matrix(size: int, target: int) -> Tensor:
    """Matrix [target, size] that resizes an axis like bilinear antialiased resize with half-pixel centres: a triangle, as wide as an axis shrinks,
    cut at the border."""
    width = max(size / target, 1.0)
    wanted = (torch.arange(target, dtype=torch.float64) + 0.5) * (size / target)
    source = torch.arange(size, dtype=torch.float64) + 0.5
    weight = (1 - (source[None] - wanted[:, None]).abs() / width).clamp(min=0)
    return (weight / weight.sum(1, keepdim=True)).float()
