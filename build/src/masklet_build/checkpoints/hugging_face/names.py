"""What the mappings of all families are made of: renaming by rules, joining and splitting of tensors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

Rules = Sequence[tuple[str, str]]  # regular expression -> replacement, applied one after the other


def renamed(name: str, rules: Rules) -> str:
    """`name` after all rules, in their order."""
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def rename_all(state: Mapping[str, Tensor], rules: Rules) -> dict[str, Tensor]:
    """Every tensor under its new name. Where two get the same name they must be equal, as a tensor that is stored twice.

    Raises ValueError for two that differ.
    """
    result: dict[str, Tensor] = {}
    for name, tensor in state.items():
        new = renamed(name, rules)
        if new in result and not torch.equal(result[new], tensor):
            raise ValueError(f"{name} differs from another tensor that stands for {new} too.")
        result[new] = tensor
    return result


def joined(state: Mapping[str, Tensor], parts: Sequence[str], whole: str) -> dict[str, Tensor]:
    """Puts tensors together along their first dimension where all of `parts` are there.

    `parts` and `whole` are ends of module names: with parts (".k_proj", ".v_proj") and whole ".to_kv", "a.k_proj.weight" and "a.v_proj.weight"
    become "a.to_kv.weight".
    """
    result = dict(state)
    for name in state:
        stem, found, kind = name.partition(f"{parts[0]}.")
        pieces = [f"{stem}{part}.{kind}" for part in parts]
        if found and all(piece in state for piece in pieces):
            result[f"{stem}{whole}.{kind}"] = torch.cat([result.pop(piece) for piece in pieces])
    return result


def split_rows(state: Mapping[str, Tensor], name: str, into: Iterable[str]) -> dict[str, Tensor]:
    """Gives each row of the tensor `name` a name of its own, as a tensor of one row. Rows without a name and a missing tensor stay as they are."""
    names = list(into)
    result = dict(state)
    if name in state and len(state[name]) == len(names):
        result |= dict(zip(names, result.pop(name).split(1), strict=True))
    return result
