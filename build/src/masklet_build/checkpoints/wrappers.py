"""Where in a file the parameters are, and what training programs put before their names.

Nothing is taken on a likeness: parameters count as found where, without their prefix, they have exactly the names and shapes of the variant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

State = dict[str, Tensor]

# What modules of PyTorch that wrap another one add to names, wherever in a network they stand: DistributedDataParallel, torch.compile, FSDP,
# activation checkpoints. No parameter of a network here has such a part in its name.
_WRAPPING = frozenset({"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
_AVERAGES = ("ema", "average", "shadow", "swa", "teacher")  # in names of weights that were averaged over the training
_DEPTH = 5


@dataclass(frozen=True, eq=False)
class Weights:
    """Parameters by name in a file.

    path     the keys that lead to them, then the prefix of their names, part by part
    dropped  what wrapping modules had added to their names
    """

    path: tuple[str, ...]
    dropped: frozenset[str]
    state: State

    @property
    def name(self) -> str:
        """What a user chooses them by; a dot for those of a file that holds nothing else."""
        return "/".join(self.path) or "."

    @property
    def averaged(self) -> bool:
        """Whether they are an average of the weights, by their name."""
        return any(word in part.lower() for part in self.path for word in _AVERAGES)


def candidates(content: object, least: int) -> Iterator[Weights]:
    """Everything in the content of a file that may be the parameters of a network with at least `least` tensors, the plainest first."""
    for path, tensors in _dicts(content, ()):
        yield from _prefixed(path, frozenset(), tensors, least)


def whole(content: object) -> list[Weights]:
    """Every dict with tensors in the content of a file: for saying what it holds where nothing fits."""
    return [Weights(path, frozenset(), tensors) for path, tensors in _dicts(content, ())]


def taken(found: Sequence[Weights], wanted: str | None) -> Weights:
    """Of weights that all fit, those that the user named, else the official key `model`, else the first that are no average.

    Raises ValueError for a name that none of them has.
    """
    if wanted is None:
        return min(found, key=lambda weights: (weights.averaged, weights.path != ("model",)))  # the first of equals
    named = next((weights for weights in found if weights.name == wanted), None)
    if named is None:
        raise ValueError(f"there are no weights {wanted!r} that fit. Those that do: {', '.join(weights.name for weights in found)}.")
    return named


def tell(file: str, found: Sequence[Weights], one: Weights, say: Callable[[str], None]) -> None:
    """Says which weights were taken, unless they lie as in official files."""
    others = [weights.name for weights in found if weights is not one and not _equal(weights.state, one.state)]
    prefix = f", without {' and '.join(sorted(one.dropped))} in their names" if one.dropped else ""
    if others:
        say(f"{file} holds several weights that fit. Taken: {one.name}{prefix}. To take others: --weights {' or --weights '.join(others)}")
    elif prefix or one.path not in ((), ("model",)):
        say(f"the weights of {file} are those of {one.name}{prefix}")


def _dicts(content: object, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], State]]:
    if not isinstance(content, dict) or len(path) > _DEPTH:
        return
    if tensors := {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, Tensor)}:
        yield path, tensors
    for key, value in content.items():
        if isinstance(key, str):
            yield from _dicts(value, (*path, key))


def _prefixed(path: tuple[str, ...], dropped: frozenset[str], tensors: Mapping[str, Tensor], least: int) -> Iterator[Weights]:
    """These parameters, and those of each module in them that is large enough, under their names within it."""
    state, parts = _unwrapped(tensors)
    if len(state) < least or len(state) < len(tensors):  # too few, or two names became one
        return
    dropped |= parts
    yield Weights(path, dropped, state)
    for head in dict.fromkeys(name.partition(".")[0] for name in state):
        within = {name.removeprefix(f"{head}."): tensor for name, tensor in state.items() if name.startswith(f"{head}.")}
        yield from _prefixed((*path, head), dropped, within, least)


def _unwrapped(tensors: Mapping[str, Tensor]) -> tuple[State, frozenset[str]]:
    split = {name: name.split(".") for name in tensors}
    state = {".".join(part for part in split[name] if part not in _WRAPPING): tensor for name, tensor in tensors.items()}
    return state, _WRAPPING.intersection(*[{part for parts in split.values() for part in parts}])


def _equal(one: State, other: State) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
