"""A resilient video's connection: carries out what its session wants."""

from __future__ import annotations

from collections.abc import Callable

from masklet.concurrency.protocol import Concurrency
from masklet.connection import keep_alive
from masklet.connection.connection import SessionConnection
from masklet.connection.pending import PendingResult
from masklet.recovery.attempt import Attempt
from masklet.recovery.attempts import Close, Command, Open, Send
from masklet.recovery.session import ResilientSession
from masklet.transport.inbox import Inbox
from masklet.transport.protocol import AsyncStream, Event


class ResilientConnection(SessionConnection):
    """A stream for each attempt. `_lock` is held around all that touches the session or the streams.

    open_stream  opens one to a url, for a video id
    """

    _session: ResilientSession

    def __init__(self, session: ResilientSession, open_stream: Callable[[str, int | str], AsyncStream], concurrency: Concurrency) -> None:
        super().__init__(concurrency)
        self._session = session
        self._open_stream = open_stream
        self._streams: dict[Attempt, AsyncStream] = {}
        self._nobody = Inbox(concurrency.condition())  # listened to where no server is there to listen to: `wake` ends that too

    def wake(self) -> None:
        """See `Connection`."""
        self._nobody.wake()
        with self._lock:
            for stream in self._streams.values():
                stream.wake()
        self._turns.wake()

    async def close(self) -> None:
        """See `Connection`. A server that is lost by now frees the video by itself, after a while: that is no error."""
        try:
            with self._lock:
                pending = self._session.end()
                self._carry_out()
            if pending:
                await self.settle(pending)
        finally:
            with self._lock:
                self._session.close()
                self._carry_out()
            await self._concurrency.join()

    async def _give_sign(self) -> None:
        with self._lock:
            attempt = self._session.current
            stream = self._streams.get(attempt) if attempt else None
            while attempt and stream and (event := stream.poll()) and keep_alive.is_harmless(event):
                self._take(attempt, event)
                stream.advance()
                self._carry_out()
            self._session.give_sign()
            self._carry_out()

    def _send(self, ask: Callable[[], PendingResult]) -> PendingResult:
        with self._lock:
            pending = ask()
            try:
                self._carry_out()
            except BaseException:  # such as Ctrl-C, or a message that is too large
                self._session.withdraw(pending)
                raise
            return pending

    async def _receive(self) -> None:
        """Waits for what the session waits for, and does what follows from it."""
        with self._lock:
            attempt, seconds = self._session.waits()
            stream = self._streams.get(attempt, self._nobody) if attempt else self._nobody
        try:
            waited = await stream.receive(seconds) is not None  # it is taken below
        except TimeoutError:
            waited = True
        with self._lock:
            self._deal_with_all(waited=waited)

    async def _catch_up(self, pending: PendingResult) -> None:
        with self._lock:
            self._deal_with_all(waited=False)

    def _deal_with_all(self, *, waited: bool) -> None:
        """Takes all events that are there, and does what has to be done."""
        for attempt in self._session.attempts:
            while (stream := self._streams.get(attempt)) and (event := stream.poll()):
                self._take(attempt, event)
                stream.advance()
                self._carry_out()
        self._session.tick(waited=waited)
        self._carry_out()

    def _take(self, attempt: Attempt, event: Event) -> None:
        try:
            self._session.take(attempt, event)
        except BaseException:  # such as Ctrl-C half way: what the server said is forgotten, and asked again elsewhere
            self._session.unsent(attempt)
            raise

    def _carry_out(self) -> None:
        """Does what the session wants to have done."""
        while self._session.commands:
            command = self._session.commands.popleft()
            try:
                self._do(command)
            except BaseException:  # what comes over this stream could belong to another request
                self._session.unsent(command.attempt)
                raise

    def _do(self, command: Command) -> None:
        match command:
            case Open(attempt):
                self._streams[attempt] = self._open_stream(attempt.url, attempt.video_id)
            case Send(attempt, request):
                self._streams[attempt].send(request)
            case Close(attempt, cancel):  # its last answers take a while, and nobody needs to wait for them
                stream = self._streams.pop(attempt)
                self._concurrency.spawn(lambda: stream.close(cancel=cancel))
