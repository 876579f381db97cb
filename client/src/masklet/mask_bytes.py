"""MASKS and MASK_BYTES: the masks of all objects of an answer as bytes, one after another, and how many are each one's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np


def joined(masks: Sequence[bytes]) -> dict[str, np.ndarray]:
    """Both tensors, without batch dimension."""
    return {
        "MASKS": np.frombuffer(b"".join(masks), np.uint8),
        "MASK_BYTES": np.array([len(mask) for mask in masks], np.int64),
    }


def separated(tensors: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """The bytes of each mask, uint8, views of MASKS. Raises KeyError or ValueError where the two tensors do not fit each other."""
    data, counts = tensors["MASKS"], tensors["MASK_BYTES"].tolist()
    if data.dtype != np.uint8 or data.ndim != 1:
        raise ValueError(f"MASKS is {data.dtype} {list(data.shape)}, not bytes")
    if any(count < 0 for count in counts) or sum(counts) != len(data):
        raise ValueError(f"MASK_BYTES is {counts[:8]} for {len(data)} bytes of MASKS")
    parts, end = [], 0
    for count in counts:
        end += count
        parts.append(data[end - count : end])
    return parts
