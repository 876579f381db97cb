"""Records what videos ask and what they get, beside them: the video never waits, and is the same as without."""

from __future__ import annotations

import atexit
import errno
import itertools
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, BinaryIO

from masklet.concurrency.threads import finish
from masklet.contract import VERSION
from masklet.info import ask
from masklet.recording.film import FilmWriter
from masklet.recording.frames import sent_frame
from masklet.recording.lines import FORMAT, SESSION, event_line, request_line, text
from masklet.transport.protocol import AsyncStream, Broken, Event, Request
from masklet.transport.servers import Servers

log = logging.getLogger("masklet")

_MOST_BYTES = 256 << 20  # that wait for the disk
_CLOSE_S = 60.0
_ABOUT_S = 5.0  # that a server may take to say what it is
_CHANGING = ("room", "draining", "url", "client_version")  # what a server says of this moment, and what the recording says by itself

About = Callable[[str], Mapping[str, Any]]  # what the server at a url says of itself


class Recorder:
    """The recordings of one tracker, below a folder: one for each stream, so a resilient video has one for each server that it was on.

    The first lies in the folder itself, the others in `2`, `3` and so on in it; where there is a recording already, they go on counting.

    folder  made if it is not there
    about   asked once for each url, in the thread that writes
    """

    def __init__(self, folder: str | Path, about: About) -> None:
        self._folder, self._about = Path(folder), about
        self._lock = threading.Lock()
        self._known: dict[str, Mapping[str, Any]] = {}
        self._open: list[Writer] = []
        if self._folder.exists() and not self._folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "recordings are written to a folder, and this is a file; choose another name", str(self._folder))
        self._folder.mkdir(parents=True, exist_ok=True)
        if not os.access(self._folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "no recording can be written there; choose another folder", str(self._folder))
        atexit.register(self.close)

    @classmethod
    def of(cls, servers: Servers, folder: str | Path) -> Recorder:
        """Records all streams of these servers. Raises OSError."""

        def about(url: str) -> Mapping[str, Any]:
            said = asdict(finish(ask(servers.blocking(url), _ABOUT_S)))
            return {name: value for name, value in said.items() if name not in _CHANGING}

        recorder = cls(folder, about)
        servers.recorded = recorder.stream
        return recorder

    def stream(self, stream: AsyncStream, url: str) -> AsyncStream:
        """The stream, recorded from its first request on."""
        return RecordedStream(stream, lambda: self._writer(url))

    def close(self) -> None:
        """Writes what is left, at most for a minute."""
        atexit.unregister(self.close)
        for writer in self._open:
            writer.close()

    def _writer(self, url: str) -> Writer:
        with self._lock:
            for number in itertools.count(1):
                folder = self._folder if number == 1 else self._folder / str(number)
                with suppress(FileExistsError):  # a recording, maybe of another process that begins just now
                    folder.mkdir(exist_ok=True)
                    writer = Writer(folder, lambda: self._identity(url))
                    break
            self._open = [*(one for one in self._open if one.is_open), writer]
            return writer

    def _identity(self, url: str) -> Mapping[str, Any]:
        if url not in self._known:
            try:
                self._known[url] = self._about(url)
            except Exception as error:  # such as of a transport for asyncio alone: what comes is recorded all the same
                self._known[url] = {"unknown": f"{type(error).__name__}: {error}"}
        return {"url": url, **self._known[url]}


class Writer:
    """Writes one recording in a thread. What cannot be written ends it with a warning."""

    def __init__(self, folder: Path, identity: Callable[[], Mapping[str, Any]]) -> None:
        self._folder, self._identity = folder, identity
        self._began = time.monotonic()
        self._queue: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._waiting = 0  # bytes
        self._film = FilmWriter(folder)
        self._session: BinaryIO = (folder / SESSION).open("xb")
        self._lock = threading.Lock()
        self.is_open = True
        self._thread = threading.Thread(target=self._run, name="masklet-recording", daemon=True)
        self._thread.start()

    def request(self, number: int, request: Request) -> None:
        """A request is about to be sent. Its tensors must not change any more."""
        seconds = time.monotonic() - self._began
        self._put(request.nbytes, lambda: self._write_request(number, request, seconds))

    def event(self, number: int, request: Request, event: Event) -> None:
        """Something came."""
        seconds = time.monotonic() - self._began
        size = 0 if isinstance(event, Broken) else sum(array.nbytes for array in getattr(event, "tensors", {}).values())
        self._put(size, lambda: self._line(event_line(number, request, event, seconds)))

    def finish(self) -> None:
        """Nothing more comes. Does not wait."""
        self._queue.put(None)

    def close(self) -> None:
        """Waits until all is written, at most for a minute."""
        self.finish()
        self._thread.join(_CLOSE_S)

    def _put(self, size: int, write: Callable[[], None]) -> None:
        if not self.is_open:
            return
        with self._lock:
            self._waiting += size
            late = self._waiting > _MOST_BYTES
        if late:
            self._stop(f"{_MOST_BYTES >> 20} MiB wait to be written: the disk is slower than the video. Send JPEG files, which are small.")
            return
        self._queue.put(lambda: self._done(size, write))

    def _done(self, size: int, write: Callable[[], None]) -> None:
        write()
        with self._lock:
            self._waiting -= size

    def _run(self) -> None:
        try:
            self._line({"recording": FORMAT, "client": VERSION, "began": datetime.now(timezone.utc).isoformat(), **self._identity()})
            while self.is_open and (write := self._queue.get()) is not None:
                write()
        except Exception as error:  # whatever it is, the video goes on
            self._stop(f"{type(error).__name__}: {error}")
        finally:
            self.is_open = False
            self._queue = queue.SimpleQueue()  # what was not written is no longer kept
            for file in (self._film, self._session):
                with suppress(OSError):  # a disk that is full
                    file.close()

    def _stop(self, why: str) -> None:
        with self._lock:
            if not self.is_open:
                return
            self.is_open = False
        log.warning("the recording in %s ends here, and the video goes on: %s", self._folder, why)

    def _write_request(self, number: int, request: Request, seconds: float) -> None:
        frame, state = sent_frame(request), request.tensors.get("STATE")
        place = None if frame is None else self._film.add(frame, int(1000 * seconds))
        file = None if state is None else self._film.add_file(state.tobytes(), "state")
        self._line(request_line(number, request, seconds, place, file))

    def _line(self, line: Mapping[str, Any]) -> None:
        self._session.write(text(line))
        self._session.flush()


class RecordedStream:
    """A stream whose requests and events are written down. See `AsyncStream`."""

    def __init__(self, stream: AsyncStream, begin: Callable[[], Writer]) -> None:
        self._stream, self._begin = stream, begin
        self._writer: Writer | None = None
        self._sent: dict[str, tuple[int, Request]] = {}
        self._count = 0
        self.receive, self.poll, self.wake = stream.receive, stream.poll, stream.wake

    def send(self, request: Request) -> None:
        """See `AsyncStream`. Written down before it is sent: the caller may use its array again afterwards."""
        if self._count == 0:
            self._begin_to_write()
        if self._writer and self._writer.is_open:
            self._write(self._writer, request)
        self._count += 1
        self._stream.send(request)

    def _begin_to_write(self) -> None:
        try:
            self._writer = self._begin()
        except OSError as error:
            log.warning("nothing is recorded of this video, which goes on: %s", error)

    def _write(self, writer: Writer, request: Request) -> None:
        kept = replace(request, tensors={name: array.copy() if name == "FRAME" else array for name, array in request.tensors.items()})
        writer.request(self._count, kept)
        self._sent[request.id] = self._count, replace(kept, tensors={name: kept.tensors[name] for name in ("FRAME_SIZE",) if name in kept.tensors})

    def advance(self) -> None:
        """See `AsyncStream`."""
        event = self._stream.poll()
        if event is not None and self._writer:
            number, request = self._sent.pop(getattr(event, "id", ""), (-1, _NOBODYS))
            self._writer.event(number, request, event)
        self._stream.advance()

    async def close(self, *, cancel: bool = False) -> None:
        """See `AsyncStream`."""
        await self._stream.close(cancel=cancel)
        if self._writer:
            self._writer.finish()


_NOBODYS = Request(0, False, False, {}, {}, "")
