"""Signs of life: a server forgets a video that is silent for `memory_bank.idle_seconds`, and a person may look at a frame for longer.

A sign is a request without a frame. It computes nothing where the image encoder is a python model (elsewhere that encodes a black image), uses no
frame index, and changes neither the video nor what a resilient one would replay.
A server that does not know the parameter refuses it, and by then has heard of the video all the same.
"""

from __future__ import annotations

from masklet.connection.operations import Operation
from masklet.errors import RequestError, from_server
from masklet.transport.protocol import Answer, Event, Refusal
from masklet.wire import Options

SILENCE_S = 20.0  # after which a sign is sent; servers forget after 75 s by default, gateways cut after 60
FOR_S = 3600.0  # how long after a caller's last request
LOOK_S = SILENCE_S / 4


def sign() -> Operation:
    """The operation."""
    return Operation("a sign of life", Options(masks="none", keep_alive=True))


def is_harmless(event: Event | None) -> bool:
    """Whether an event can be dealt with while nobody asks: what ends or moves a video waits for its caller."""
    return isinstance(event, Answer) or (isinstance(event, Refusal) and isinstance(from_server(event.text), RequestError))
