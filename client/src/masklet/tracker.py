"""The client for threads: `Tracker` knows a server, and opens videos on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from types import TracebackType

from masklet.async_video import Videos
from masklet.concurrency.threads import Threads, finish
from masklet.connection import keep_alive
from masklet.contract import TRACKER
from masklet.errors import MaskletError
from masklet.history.log import HISTORY_BYTES
from masklet.info import ServerInfo
from masklet.recording.recorder import Recorder
from masklet.recovery.options import Resilience
from masklet.transport.grpc_transport import GrpcTransport
from masklet.transport.protocol import Tls, Transport
from masklet.transport.servers import Servers
from masklet.video import Video


class Tracker:
    """A masklet server, or several that are alike. Makes no connection itself: every video has its own.

    url        "host:port" of Triton's gRPC port; or several of them, in the order in which resilient videos try them. Others take the first
    tls        None: no TLS
    headers    sent with every stream, for gateways (authorisation, routing)
    timeout_s  how long an answer may take, counted from when its request was sent or the answer before it came
    model      name of the server's public model: tracker_VARIANT where it serves several variants
    proxy      "http://HOST:PORT" of an HTTP proxy to go through. None: straight to the server; http_proxy and its like do not count
    keep_alive_s  for so long after its last request an open video is kept alive: a server forgets those that are silent for its `idle_seconds` (75 s
               by default), so it gets a request without a frame after every 20 s of silence. 0: none. Not while an event loop stands still
    record     folder in which all that videos ask and get is written down, with their frames; None: nothing is. `masklet replay` sends it again.
               See recording.md: it has pictures of whatever was filmed. Pixels, not files, need the extra `video`
    transport  another way to reach the server, or a dict by url, for tests: see `masklet.testing`

    Videos of one tracker may be used in different threads, and a video in several, though its frames then have no certain order. In a forked child
    they raise RuntimeError, and a new tracker warns: gRPC does not survive every fork. RuntimeError also where gevent has patched gRPC's threads.
    """

    def __init__(
        self,
        url: str | Sequence[str],
        *,
        tls: Tls | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 30,
        model: str = TRACKER.name,
        proxy: str | None = None,
        keep_alive_s: float = keep_alive.FOR_S,
        transport: Transport | Mapping[str, Transport] | None = None,
        record: str | Path | None = None,
    ) -> None:
        servers = Servers(url, transport, partial(GrpcTransport, tls=tls, model=model, proxy=proxy), headers or {}, blocking=True)
        self._recorder = None if record is None else Recorder.of(servers, record)
        self._videos = Videos(servers, timeout_s, keep_alive_s, Threads)

    def open(
        self,
        video_id: int | str | None = None,
        state: bytes | None = None,
        *,
        resilient: bool | Resilience = False,
        history_s: float | None = None,
        history_bytes: int = HISTORY_BYTES,
    ) -> Video:
        """A new video. Nothing is sent before its first frame, unless there is a `state`: then the server's answer is waited for.

        video_id   integer from 1 to 2**63 - 1 or string of 1 to 128 bytes, random by default; a name in use by another client is refused. Choose
                   names only where all clients are yours: who knows one can end the video (Triton ends a sequence for whoever asks), not see it.
                   A resilient video gets another one with each further server that it is on; one without a name whose first request is refused
                   for want of room begins under two more, at once, since behind a gateway each may be another server's: `Video.video_id` says which
        state      a snapshot of another video, to go on where it was taken
        resilient  the video survives its server: see `Resilience`, which is also how to set it
        history_s  so many seconds of the video are kept for `Video.rewind`: the frames as they were sent, and snapshots. None: nothing is
        history_bytes  that they may take; what is oldest is given up first. 10 s of 640 x 360 at 30 frames/s: 15 MB as JPEG, 210 MB as pixels

        Raises ValueError, BadVideoId, and with a state also BadState and whatever `Video.track` raises.
        """
        connect = self._videos.connector(video_id, resilient, history_s, history_bytes)
        return Video(finish(self._videos.open(connect, state)))

    def info(self) -> ServerInfo:
        """What the server, of several the first, says of itself: its variant, versions, limits, and room now. Takes no video's place.

        Raises ServerUnavailable, and ServerFault for a server of a version that says nothing.
        """
        return finish(self._videos.info())

    def close(self) -> None:
        """Closes the videos that are still open, all of them, whatever error one of them has. Recordings are whole then."""
        try:
            finish(self._videos.close())
        finally:
            if self._recorder:
                self._recorder.close()

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        with suppress(MaskletError) if error else nullcontext():  # the first error is the one to see
            self.close()
