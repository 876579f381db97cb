"""What a compiler made of a network, by profile: kernels by kind, and working memory. Read from the builder's log, or from TensorRT's inspector.

Both list the same, one entry per kernel: `Name`, `LayerType`, its tensors, `TacticName`. Nobody documents the words in them. Those used here are what
TensorRT for RTX 1.7 writes, which the tests ask; TensorRT's own code generator (Myelin) is the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

_LINE = re.compile(r"Name: (?P<name>.*?), LayerType: (?P<type>\w+), .*?(TacticName: (?P<tactic>[^,]*))?, StreamId:.*")
_MEMORY = re.compile(r"Constructing optimization profile number (\d+) |Total Activation Memory: (\d+) bytes")
_TAG = re.compile(r"\[profile (\d+)\]")  # at names of a profile's own tensors and layers; the first profile has no tag
_GROUP = re.compile(r"_myl(\d+)_\d+$")  # at the name of a kernel: the part of the network that was generated together, for one profile
_NO_KERNELS = ("signal", "wait", "shape_call")  # order between streams, and sizes of tensors on the host


@dataclass(frozen=True)
class Kernels:
    """What runs in a call of one profile.

    total      kernels
    attention  fused attention kernels
    softmax    softmax kernels: of attention that is not fused
    casts      kernels that change the type, alone or among other work
    reformats  copies that change the layout
    """

    total: int
    attention: int
    softmax: int
    casts: int
    reformats: int


@dataclass(frozen=True)
class _Entry:
    """A kernel in a list: its name, its type, what it is called by (name, type, tactic; lower case), and all that is said of it."""

    name: str
    type: str
    words: str
    said: str


def of_log(text: str, profiles: int) -> tuple[Kernels, ...]:
    """Kernels by profile from a builder's log (severity VERBOSE, profiling verbosity DETAILED). Raises ValueError where they are not told."""
    lines = text.partition("] Layers:\n")[2].partition("\n\n")[0].splitlines()
    found = [match for line in lines if (match := _LINE.fullmatch(line))]
    return _by_profile((_entry(one["name"], one["type"], one["tactic"] or "", one[0]) for one in found), profiles)


def of_inspector(text: str, profiles: int) -> tuple[Kernels, ...]:
    """Kernels by profile from `EngineInspector.get_engine_information(JSON)`. Raises ValueError where they are not told."""
    layers = [{"Name": layer} if isinstance(layer, str) else layer for layer in json.loads(text)["Layers"]]  # with less verbosity: names alone
    return _by_profile((_entry(one["Name"], one.get("LayerType", ""), one.get("TacticName", ""), json.dumps(one)) for one in layers), profiles)


def memory_of_log(text: str, profiles: int) -> tuple[int, ...]:
    """Bytes of activation memory by profile, from a builder's log. Raises ValueError where they are not told."""
    memory: dict[int, int] = {}
    profile = 0
    for begun, amount in _MEMORY.findall(text):
        if begun:
            profile = int(begun)
        else:
            memory[profile] = int(amount)
    if sorted(memory) != list(range(profiles)):
        raise ValueError(f"the log tells the activation memory of {len(memory)} profiles, not of {profiles}")
    return tuple(memory[index] for index in range(profiles))


def _entry(name: str, kind: str, tactic: str, said: str) -> _Entry:
    return _Entry(name, kind.lower(), f"{name} {kind} {tactic}".lower(), said)


def _by_profile(entries: Iterable[_Entry], profiles: int) -> tuple[Kernels, ...]:
    """A profile is told by tags at the tensors of a kernel, or of one that was generated together with it."""
    groups: dict[str, list[_Entry]] = {}
    for entry in entries:
        match = _GROUP.search(entry.name)
        groups.setdefault(match[1] if match else entry.said, []).append(entry)
    found: dict[int, list[_Entry]] = {}
    for members in groups.values():
        tags = {int(tag) for entry in members for tag in _TAG.findall(entry.said)}
        if len(tags) > 1:
            raise ValueError(f"{members[0].name} belongs to the profiles {sorted(tags)} at once")
        found.setdefault(next(iter(tags), 0), []).extend(entry for entry in members if entry.type not in _NO_KERNELS)
    if sorted(found) != list(range(profiles)):
        together = _counted([entry for kernels in found.values() for entry in kernels])
        raise ValueError(f"kernels are told of {len(found)} profiles, not of {profiles}; in all of them together {together}")
    return tuple(_counted(found[index]) for index in range(profiles))


def _counted(entries: list[_Entry]) -> Kernels:
    words = [entry.words for entry in entries]
    return Kernels(
        total=len(words),
        attention=sum("mha" in said for said in words),
        softmax=sum(("maxrsubexpsum" in said or "softmax" in said) and "mha" not in said for said in words),
        casts=sum("cast" in said.replace("broadcast", "") for said in words),
        reformats=sum("reformat" in said for said in words),
    )
