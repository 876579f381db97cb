"""Windows of a map, for trunks that attend within them. Sizes are Python numbers, so that the exported graph reshapes by constants.

Maps are tokens [V, grid * grid, channels], row-major. Of rank 4, OpenVINO would break every norm up and lay the map out anew before each.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def split(x: Tensor, grid: int, side: int, channels: int) -> Tensor:
    """[V, grid * grid, channels] -> [V * windows, side * side, channels], padded with zeros at the bottom and on the right to whole windows."""
    count = -(-grid // side)
    margin = count * side - grid
    if margin:
        x = functional.pad(x.reshape(-1, grid, grid, channels), (0, 0, 0, margin, 0, margin))
    elif count == 1:
        return x
    return x.reshape(-1, count, side, count, side * channels).transpose(2, 3).reshape(-1, side * side, channels)


def join(x: Tensor, grid: int, side: int, channels: int) -> Tensor:
    """The reverse: [V * windows, side * side, ...] of `channels` together -> [V, grid * grid, channels], without the padding."""
    count = -(-grid // side)
    edge = count * side
    x = x.reshape(-1, count, count, side, side * channels).transpose(2, 3)
    if edge > grid:
        x = x.reshape(-1, edge, edge, channels)[:, :grid, :grid]
    return x.reshape(-1, grid * grid, channels)
