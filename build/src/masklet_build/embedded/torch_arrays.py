"""The arrays of the memory bank as PyTorch tensors, where the engines are (`masklet_bank.arrays.Arrays`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor


class TorchArrays:
    """Tensors on one device; stored memories are bfloat16. Only `put`, `get`, `send` and `finite` move bytes between host and device."""

    def __init__(self, device: torch.device, copied: Any) -> None:
        """copied: counts bytes in `to_device` and `to_host` (masklet_bank.arrays.Copied)."""
        self.device, self.copied = device, copied

    def put(self, array: np.ndarray | Tensor) -> Tensor:
        """The array on the device; uint16 are bits of bfloat16."""
        if isinstance(array, Tensor):
            return array
        self.copied.to_device += array.nbytes
        if array.dtype == np.uint16:
            return torch.tensor(array.view(np.int16), device=self.device).view(torch.bfloat16)
        return torch.tensor(array, device=self.device)

    def get(self, array: np.ndarray | Tensor) -> np.ndarray:
        """The array on the host, stored memories as uint16."""
        if isinstance(array, np.ndarray):
            return array
        self.copied.to_host += array.nbytes
        if array.dtype == torch.bfloat16:
            return array.contiguous().view(torch.int16).cpu().numpy().view(np.uint16)
        return array.cpu().numpy()

    def adopt(self, tensor: Any) -> Tensor:
        """The tensor behind DLPack."""
        return torch.from_dlpack(tensor)

    def send(self, inputs: Mapping[str, np.ndarray | Tensor]) -> dict[str, Tensor]:
        """All inputs of a call on the device."""
        return {name: self.put(array) for name, array in inputs.items()}

    def own(self, array: Tensor) -> Tensor:
        """A copy."""
        return array.clone()

    def stack(self, arrays: Sequence[Tensor]) -> Tensor:
        """A single array is not copied."""
        return arrays[0][None] if len(arrays) == 1 else torch.stack(list(arrays))

    def fill(self, given: Sequence[Tensor | None], shape: tuple[int, ...], value: float) -> Tensor:
        """[len(given), *shape]: each array that is given, and `value` for None."""
        filled = torch.full((len(given), *shape), value, dtype=torch.float32, device=self.device)
        for row, array in enumerate(given):
            if array is not None:
                filled[row] = array
        return filled

    def clip(self, array: Tensor, limit: float) -> Tensor:
        """Within -limit and limit."""
        return array.clamp(-limit, limit)

    def finite(self, *tensors: Tensor) -> list[bool]:
        """For each of B rows, in all of these tensors [B, ...]."""
        found: list[bool] = self.get(torch.stack([tensor.isfinite().flatten(1).all(dim=1) for tensor in tensors]).all(dim=0)).tolist()
        return found

    def round(self, memory: Tensor) -> list[Tensor]:
        """Rows of [B, T, 64], to the nearest bfloat16, ties to even; each owns its storage, or it would hold all rows of the call."""
        return [row.clone() for row in memory.to(torch.bfloat16)]

    def widen(self, memories: Sequence[Sequence[Tensor]]) -> Tensor:
        """B lists of F memories [T, 64] as float32 [B, F, T, 64]."""
        stored = torch.stack([memory for of_object in memories for memory in of_object])
        return stored.float().reshape(len(memories), len(memories[0]), *stored.shape[1:])
