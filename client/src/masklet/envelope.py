"""What travels with a frame from stage to stage of the server, in one tensor, ENVELOPE: whose request it is, what was asked, what became of it.

    preprocess -> image_encoder, where that is a python model -> memory_bank -> postprocess

On the wire it is a signature, a space, and JSON. Any client may call an inner model by its name; only a stage of the same server can sign, so what
is in a signed envelope was checked by preprocess and need not be checked again.
"""

from __future__ import annotations

import hmac
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

from masklet.errors import BadRequest
from masklet.wire import Options

_SIGNATURE_BYTES = 16
MAX_BYTES = 4 << 20  # read of an envelope, before it is known who signed it; by its limits preprocess makes none over 0.2 MiB


@dataclass(frozen=True)
class Prompt:
    """What a request asks of one object, checked.

    points, labels  x, y in pixels of the model image, float32 values; 1 on the object, 0 beside it, 2 and 3 corners of a box, which come first
    mask            the next row of PROMPT_MASKS (and PROMPT_LOW) belongs to this prompt
    append          the points are added to those that the object has on this frame
    clear           the object's prompts on this frame are forgotten first
    remove          the object is forgotten
    """

    object_id: int
    points: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()
    mask: bool = False
    append: bool = False
    clear: bool = False
    remove: bool = False


@dataclass(frozen=True)
class Sender:
    """The process that signed an envelope.

    stopped  it saw itself stopped a short while ago (see `masklet.stage`)
    sent     when it signed, in monotonic seconds of this machine
    """

    stage: str
    pid: int
    stopped: bool
    sent: float


@dataclass(frozen=True)
class Envelope:
    """One request on its way through the stages.

    token      id of the request, chosen by the client; may be empty
    video      its correlation id
    error      what memory_bank answers the request with, as `MaskletError.wire` writes it; empty: nothing is wrong so far
    restores   the request carries a snapshot, so that after an error no empty video begins in its place
    size       height and width of the frame; None for a control request
    options    the request's parameters, but for `owner`, which every stage reads from its own request
    prompts    in the order of the request
    limits     of preprocess, where the request asks for information
    received, preprocessed   monotonic seconds at which preprocessing of this request began and ended
    objects    how many objects the answer has; set by memory_bank, as
    times      the first six of contract.TIMING_FIELDS, milliseconds
    """

    token: str = ""
    video: int | str = 0
    error: str = ""
    restores: bool = False
    size: tuple[int, int] | None = None
    options: Options = field(default_factory=Options)
    prompts: tuple[Prompt, ...] = ()
    limits: Mapping[str, int] = field(default_factory=dict)
    received: float = 0.0
    preprocessed: float = 0.0
    objects: int = 0
    times: tuple[float, ...] = ()


def server_key() -> bytes:
    """A key that the python models of one Triton have in common, being its children, and that nobody can guess from outside this machine.

    boot_id has 122 random bits (Linux, drivers/char/random.c); process and start time tell servers of one machine apart.
    """
    parent = os.getppid()
    started = Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[19]
    boot = Path("/proc/sys/kernel/random/boot_id").read_text()
    return blake2b(f"{boot} {parent} {started}".encode(), digest_size=32).digest()


def sign(envelope: Envelope, sender: Sender, key: bytes) -> bytes:
    """The bytes of ENVELOPE."""
    text = json.dumps([_plain(envelope), vars(sender)], separators=(",", ":")).encode()
    return _signature(text, key) + b" " + text


def verify(data: bytes, key: bytes) -> tuple[Envelope, Sender]:
    """The envelope, and who signed it. Raises BadRequest where no stage of this server did."""
    signature, _, text = data.partition(b" ")
    if not hmac.compare_digest(signature, _signature(text, key)):
        raise BadRequest("this model takes requests from other models of its server only. Send yours to the model `tracker`.")
    envelope, sender = json.loads(text)
    return _envelope(envelope), Sender(**sender)


def _signature(text: bytes, key: bytes) -> bytes:
    return blake2b(text, digest_size=_SIGNATURE_BYTES, key=key).hexdigest().encode()


def _plain(envelope: Envelope) -> dict[str, Any]:
    """What differs from the defaults, for JSON."""
    made = {name: value for name, value in vars(envelope).items() if value != _DEFAULTS[name]}
    if "options" in made:
        made["options"] = envelope.options.parameters()
    if "prompts" in made:
        made["prompts"] = [list(vars(prompt).values()) for prompt in envelope.prompts]
    return made


def _envelope(plain: Mapping[str, Any]) -> Envelope:
    made = dict(plain)
    for name in {"size", "times"} & set(made):
        made[name] = tuple(made[name])
    if "options" in made:
        made["options"] = Options(**made["options"])
    if "prompts" in made:
        made["prompts"] = tuple(_prompt(*item) for item in made["prompts"])
    return Envelope(**made)


def _prompt(object_id: int, points: list[list[float]], labels: list[int], *flags: bool) -> Prompt:
    return Prompt(object_id, tuple((x, y) for x, y in points), tuple(labels), *flags)


_DEFAULTS = vars(Envelope())
