"""One attempt to have the video on one server."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Iterable, Iterator

from masklet.connection.pending import PendingResult
from masklet.connection.session import Session
from masklet.inputs import random_id
from masklet.recovery.replay_log import Entry
from masklet.transport.protocol import Request

_SUSPECT = 2  # losses


class Attempt:
    """A video on a server, or on its way to it: one stream, one session. An answer may take `patience_s`.

    accepted  the server has answered, so it holds the video
    waiting   what is sent once it is accepted
    on_way    what is sent and not answered, by the session's pending result, oldest first
    dirty     a request may have been sent in part, or an answer was taken in part: nothing that comes can be believed
    """

    def __init__(self, url: str, video_id: int | str, patience_s: float, entries: Iterable[Entry]) -> None:
        self.url = url
        self.patience_s = patience_s
        self.session = Session(url, video_id, patience_s)
        self.accepted = False
        self.waiting = deque(entries)
        self.on_way: dict[PendingResult, Entry] = {}
        self.dirty = False

    @property
    def video_id(self) -> int | str:
        """The correlation id."""
        return self.session.video_id

    def requests(self) -> Iterator[Request]:
        """What can be sent now. Until the server has taken the video that is one request: a refused one costs it and us least.

        One by one as well while there is one that ended two streams: then the next end tells whether it is the reason.
        """
        while self.waiting and (not self.on_way or (self.accepted and not self._suspects())):
            entry = self.waiting.popleft()
            pending, request = self.session.issue(entry.operation)
            self.on_way[pending] = entry
            yield request

    def _suspects(self) -> bool:
        return any(entry.losses >= _SUSPECT for entry in (*self.waiting, *self.on_way.values()))

    def overdue(self) -> bool:
        """Whether the server was silent for too long."""
        return bool(self.on_way) and self.session.patience() <= 0


def fresh_id(first: int | str) -> int | str:
    """Another id for the video that began as `first`.

    Never the old one. Frames of the old stream may still be on their way to a server that only seemed dead; under the same id they would be taken
    for frames of the restored video. And gateways choose the server by the id: a new one is a new choice, before they know who is dead.
    """
    if isinstance(first, int):
        return random_id()
    return f"{first.encode()[:119].decode(errors='ignore')}~{secrets.token_hex(4)}"  # Triton takes 128 bytes
