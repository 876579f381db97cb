"""The kinds of hostile requests by name, and what they may use."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from benchmarks.fuzz.messages import Content, Message, Raw, VideoId

Outputs = dict[str, Raw]
INNER = ("preprocess", "image_encoder", "memory_bank", "postprocess")


@dataclass(frozen=True)
class Loot:
    """What an inner model answered, and the id and request id of what it was asked."""

    model: str
    outputs: Outputs
    video_id: VideoId
    token: str


@dataclass
class World:
    """What attackers know.

    honest    ids of the honest videos; these change where one is opened anew
    snapshot  of a video of one object, taken at the beginning
    models    the inputs of the inner models as the server describes them: name -> data type and dimensions, the batch first, -1 for any
    loot      answers of the inner models, newest last. They depend on the server and on timing, and so does what a few kinds send; all others follow
              from the seed
    tokens    request ids that were used lately, of all attackers
    dangerous whether that may be sent for which there is no defence but a gateway: END under the ids of honest videos, whose sequences Triton then
              ends, whoever asks
    """

    honest: list[VideoId] = field(default_factory=list)
    snapshot: bytes = b""
    models: dict[str, dict[str, tuple[str, tuple[int, ...]]]] = field(default_factory=dict)
    loot: deque[Loot] = field(default_factory=lambda: deque(maxlen=64))
    tokens: deque[str] = field(default_factory=lambda: deque(maxlen=64))
    dangerous: bool = False

    def somebody(self, rng: random.Random) -> VideoId:
        """The id of an honest video, as far as one lives now."""
        return rng.choice([*self.honest] or [1])

    def somebodys_token(self, rng: random.Random) -> str:
        """A request id that was used lately."""
        return rng.choice([*self.tokens] or [""])


ContentKind = Callable[[random.Random, World], Content]
ScriptKind = Callable[[random.Random, World], Iterator[Message]]
GoneKind = Callable[[random.Random, str], None]


@dataclass(frozen=True)
class Kind:
    """One kind. What `make` gives depends on `form`:

    content  what one request of any video says
    script   messages that belong together, in order
    gone     takes an address and leaves a client there that vanishes; counts as one request
    """

    name: str
    family: str
    form: str
    weight: float
    make: Callable[..., Any]


KINDS: dict[str, Kind] = {}


def kind(form: str, weight: float = 1.0) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds a function to the kinds, under its name and that of its file."""

    def added(function: Callable[..., Any]) -> Callable[..., Any]:
        family = function.__module__.rpartition(".")[2]
        name = f"{family}: {function.__name__.replace('_', ' ')}"
        assert name not in KINDS, name
        KINDS[name] = Kind(name, family, form, weight, function)
        return function

    return added


def chosen(families: list[str]) -> list[Kind]:
    """The kinds of some families or of some names; of all where none is given. Raises ValueError for a name that nobody has."""
    found = [one for one in KINDS.values() if not families or any(word in (one.family, one.name) for word in families)]
    unknown = [word for word in families if not any(word in (one.family, one.name) for one in KINDS.values())]
    if unknown:
        raise ValueError(f"no kind {unknown[0]!r}. Families: {', '.join(sorted({one.family for one in KINDS.values()}))}.")
    return found
