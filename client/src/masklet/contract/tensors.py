"""What a tensor and a model are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from masklet.families import Variant

if TYPE_CHECKING:
    import numpy as np

Dim = int | str

# Triton data type -> numpy dtype. BYTES tensors hold one bytes object per element; only what a client sends to `tracker` or `preprocess` may be such.
NUMPY_DTYPES = {"UINT8": "uint8", "INT32": "int32", "INT64": "int64", "FP32": "float32", "FP64": "float64", "BYTES": "object"}


@dataclass(frozen=True)
class Tensor:
    """One tensor: its name on the wire, Triton data type, dimensions and meaning."""

    name: str
    dtype: str
    dims: tuple[Dim, ...]
    about: str
    optional: bool = False

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        """The numpy dtype of `dtype`."""
        import numpy as np  # names of models are read by health checks, which have no arrays

        return np.dtype(NUMPY_DTYPES[self.dtype])


@dataclass(frozen=True)
class Model:
    """One Triton model: inputs and outputs in order.

    `batched`: Triton adds a batch dimension in front of `dims` (max_batch_size > 0). Engines that the bank calls have none: their
    leading dimensions V and B are explicit, because one call mixes tensors that lead with videos and tensors that lead with objects.
    """

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    batched: bool


def resolve(dims: tuple[Dim, ...], variant: Variant) -> tuple[Dim, ...]:
    """Replaces the symbols that the variant fixes (S, G, 2G, 4G, L, M, T, D) by their sizes; free symbols stay."""
    grid = variant.grid
    sizes = {
        "S": variant.image_size,
        "G": grid,
        "2G": 2 * grid,
        "4G": 4 * grid,
        "L": variant.low_size,
        "M": variant.mask_size,
        "T": variant.memory_tokens,
        "D": variant.hidden,
    }
    return tuple(sizes.get(dim, dim) if isinstance(dim, str) else dim for dim in dims)
