"""All live videos of this server: who may open one, who owns it, when it is forgotten.

Triton never tells a model that a sequence timed out or that its client is gone, so the clock here decides.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from time import monotonic

from masklet.errors import NotOwner, ServerBusy, VideoLost
from masklet_bank.ledger import Ledger, VideoId
from masklet_bank.video import Video

_RECENT = 64  # frames by which the server knows how slow it is
_SLOWEST_S = 600.0  # what a frame counts for at most
_ENDS = 16  # videos by whose ends the server knows how often there is room
_RETRY_S = (1, 30)  # in how many seconds who was refused is to ask again, at least and at most
# A frame waits for those of all other videos, at the encoder and here, and the bank hears of it only when it comes. So long as a frame takes, so
# long the next one of that video may be away; three times that is silence.
_ROUNDS = 3


@dataclass(frozen=True)
class Capacity:
    """What the server holds at most: videos, bytes of all memories, and seconds that a video may stay silent.

    object_bytes: what an object grows to with so many prompted frames (Variant.object_bytes); so much is set aside for it when it is prompted.
    """

    max_videos: int
    max_bytes: int
    idle_seconds: float
    object_bytes: Callable[[int], int]


class Videos:
    """Live videos by correlation id.

    live       the videos; changed here only
    last_used  when each had its last answer, on the clock, which is monotonic, in seconds
    working    videos that a request of the execution under way was admitted to
    ledger     what videos take
    """

    def __init__(self, capacity: Capacity, clock: Callable[[], float] = monotonic) -> None:
        self.ledger = Ledger(capacity.max_bytes)
        self._capacity = capacity
        self._clock = clock
        self.live: dict[VideoId, Video] = {}
        self.last_used: dict[VideoId, float] = {}
        self.working: set[VideoId] = set()
        self._recent: deque[float] = deque(maxlen=_RECENT)
        self._ends: deque[float] = deque(maxlen=_ENDS)  # when videos ended or expired, oldest first

    def __len__(self) -> int:
        return len(self.live)

    def took(self, seconds: float) -> None:
        """A frame got its answer, so many seconds after it reached the server."""
        self._recent.append(min(seconds, _SLOWEST_S))

    @property
    def patience(self) -> float:
        """Seconds that a video may be silent: `idle_seconds`, or longer while the server itself is slow."""
        return max(self._capacity.idle_seconds, _ROUNDS * max(self._recent, default=0.0))

    @property
    def retry_s(self) -> int:
        """In how many seconds there may be room: as long as a video took of late to end after another, or until the most silent one expires."""
        now = self._clock()
        gap = (now - self._ends[0]) / len(self._ends) if self._ends else math.inf
        expiry = min(self.last_used.values(), default=math.inf) + self.patience - now
        least, most = _RETRY_S
        return max(least, math.ceil(min(most, gap, expiry)))

    def expire(self, waiting: Collection[VideoId] = ()) -> list[VideoId]:
        """Forgets the videos that were silent for too long, and returns their ids. `waiting`: ids that have a request now, so that they are not."""
        oldest = self._clock() - self.patience
        silent = [video_id for video_id, used in self.last_used.items() if used < oldest and video_id not in waiting]
        for video_id in silent:
            self.end(video_id)
        return silent

    def admit(self, video_id: VideoId, owner: str | None, *, draining: bool = False, passing: bool = False) -> None:
        """Whether a video may begin under this id now. Raises NotOwner or ServerBusy; changes nothing.

        draining: none may
        passing: it ends with the request that begins it, so that there is always room for it, though not for its objects.
        """
        live = self.live.get(video_id)
        if live is not None:  # first: who hears ServerBusy frees the id with END, and Triton would end another's video
            _check_owner(live, owner)
        if passing:
            return
        if draining:
            raise ServerBusy("this server is draining: it will stop, and takes no new videos. Open the video on another server.")
        if live is not None:
            return  # START on a live video of one's own takes its place
        if len(self.live) >= self._capacity.max_videos:
            raise ServerBusy(f"{len(self.live)} videos are live, which is this server's limit. {self._retry}")
        if not self.ledger.has_room(self._capacity.object_bytes(1)):
            raise ServerBusy(
                f"memories fill {self.ledger.taken >> 20} MiB of the {self.ledger.limit >> 20} MiB that this server may use. {self._retry}"
            )

    @property
    def _retry(self) -> str:
        return f"Retry in {self.retry_s} s, or open the video on another server."

    def begin(self, video_id: VideoId, video: Video) -> None:
        """Holds a video from now on, in place of one of the same id. It takes nothing yet: reserve for what it brings."""
        self.live[video_id] = video
        self.ledger.begin(video_id)
        self._use(video_id)

    def reserve(self, video_id: VideoId, nbytes: int) -> None:
        """Sets bytes aside for what a request adds to a video, until `settle`. Raises ServerBusy, and then changes nothing."""
        try:
            self.ledger.reserve(video_id, nbytes)
        except ServerBusy as full:
            raise ServerBusy(f"{full} Retry in {self.retry_s} s, or remove objects.") from None

    def settle(self, video_ids: Iterable[VideoId]) -> None:
        """The execution with requests of these videos is done: each takes what it really is, and its silence begins now."""
        for video_id in set(video_ids):
            video = self.live.get(video_id)
            self.ledger.settle(video_id, video.footprint(self._capacity.object_bytes) if video else None)
            if video and video_id in self.working:
                self.last_used[video_id] = self._clock()
        self.working.clear()

    def change(self, video_id: VideoId, before: Video, after: Video) -> None:
        """A request was carried out; unless the video ended with it, or another has begun under its id."""
        if self.live.get(video_id) is before:
            self.live[video_id] = after

    def get(self, video_id: VideoId, owner: str | None) -> Video:
        """The live video of that id; its silence ends. Raises VideoLost or NotOwner."""
        video = self.live.get(video_id)
        if video is None:
            raise VideoLost(
                f"no video is live under id {video_id!r}: it ended, was silent for over {self._capacity.idle_seconds:g} s (idle_seconds "
                "of memory_bank, in the server's settings), or was refused when it began. Open a new one."
            )
        assert video_id not in self.working, "Triton gives an execution one request of a video at most"
        _check_owner(video, owner)
        self._use(video_id)
        return video

    def find(self, video_id: VideoId) -> Video | None:
        """The live video of that id, if there is one, for those who only look; its silence goes on."""
        return self.live.get(video_id)

    def owned(self, video_id: VideoId, owner: str | None) -> Video | None:
        """The live video of that id, if it is this owner's."""
        video = self.live.get(video_id)
        return video if video is not None and video.owner in (None, owner) else None

    def end(self, video_id: VideoId, video: Video | None = None) -> bool:
        """A video has ended, and others may have its room. For the rest see `forget`."""
        ended = self.forget(video_id, video)
        if ended:
            self._ends.append(self._clock())
        return ended

    def forget(self, video_id: VideoId, video: Video | None = None) -> bool:
        """Forgets a video. Returns whether it was there. `video`: only this one, not another that has begun under its id."""
        if video is not None and self.live.get(video_id) is not video:
            return False
        self.ledger.release(video_id)
        self.last_used.pop(video_id, None)
        return self.live.pop(video_id, None) is not None

    def _use(self, video_id: VideoId) -> None:
        self.working.add(video_id)
        self.last_used[video_id] = self._clock()


def _check_owner(video: Video, owner: str | None) -> None:
    """Raises NotOwner if the video was begun with another token. A video that was begun without one is everybody's."""
    if video.owner is not None and owner != video.owner:
        raise NotOwner("this video id is in use by another client. Open your video under another id; random ids do not collide.")
