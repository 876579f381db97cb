"""All live videos of this server: who may open one, who owns it, when it is forgotten.

Triton never tells a model that a sequence timed out or that its client is gone, so the clock here decides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from masklet.errors import NotOwner, ServerBusy, VideoLost
from masklet_bank.video import Video

VideoId = int | str


@dataclass(frozen=True)
class Capacity:
    """What the server holds at most: videos, bytes of all memories, and seconds that a video may stay silent.

    object_bytes: what an object grows to; so much is set aside for it from its first frame on.
    """

    max_videos: int
    max_bytes: int
    idle_seconds: float
    object_bytes: int


class Videos:
    """Live videos by correlation id. `clock` is monotonic, in seconds."""

    def __init__(self, capacity: Capacity, clock: Callable[[], float] = monotonic) -> None:
        self._capacity = capacity
        self._clock = clock
        self._videos: dict[VideoId, Video] = {}
        self._last_used: dict[VideoId, float] = {}

    def __len__(self) -> int:
        return len(self._videos)

    def expire(self) -> list[VideoId]:
        """Forgets the videos that were silent for too long, and returns their ids."""
        oldest = self._clock() - self._capacity.idle_seconds
        silent = [video_id for video_id, used in self._last_used.items() if used < oldest]
        for video_id in silent:
            self.end(video_id)
        return silent

    def admit(self, video_id: VideoId, owner: str | None, *, passing: bool = False) -> None:
        """Whether a video may begin under this id now. Raises NotOwner or ServerBusy; changes nothing.

        passing: it ends with the request that begins it, so that there is always room for it, though not for its objects.
        """
        live = self._videos.get(video_id)
        if live is not None:
            _check_owner(live, owner)
            return  # START on a live video of one's own takes its place
        if passing:
            return
        if len(self._videos) >= self._capacity.max_videos:
            raise ServerBusy(f"{len(self._videos)} videos are live, which is this server's limit. Retry later, or open the video on another server.")
        if not self.has_room(1):
            raise ServerBusy(
                f"memories fill {self.reserved() >> 20} MiB of the {self._capacity.max_bytes >> 20} MiB that this server may use. "
                "Retry later, or open the video on another server."
            )

    def begin(self, video_id: VideoId, video: Video) -> None:
        """Holds a video from now on; one of the same id before it is forgotten."""
        self._videos[video_id] = video
        self._last_used[video_id] = self._clock()

    def get(self, video_id: VideoId, owner: str | None) -> Video:
        """The live video of that id; its silence ends. Raises VideoLost or NotOwner."""
        video = self._videos.get(video_id)
        if video is None:
            raise VideoLost(
                f"no video is live under id {video_id!r}: it ended, was silent for over {self._capacity.idle_seconds:g} s, "
                "or was refused when it began. Open a new one."
            )
        _check_owner(video, owner)
        self._last_used[video_id] = self._clock()
        return video

    def find(self, video_id: VideoId) -> Video | None:
        """The live video of that id, if there is one, for those who only look; its silence goes on."""
        return self._videos.get(video_id)

    def owned(self, video_id: VideoId, owner: str | None) -> Video | None:
        """The live video of that id, if it is this owner's."""
        video = self._videos.get(video_id)
        return video if video is not None and video.owner in (None, owner) else None

    def end(self, video_id: VideoId, video: Video | None = None) -> bool:
        """Forgets a video. Returns whether it was there. `video`: only this one, not another that has begun under its id."""
        if video is not None and self._videos.get(video_id) is not video:
            return False
        self._last_used.pop(video_id, None)
        return self._videos.pop(video_id, None) is not None

    def nbytes(self) -> int:
        """Bytes of all memories."""
        return sum(video.nbytes() for video in self._videos.values())

    def reserved(self) -> int:
        """Bytes that the live videos will need, or hold already."""
        return sum(video.reserved(self._capacity.object_bytes) for video in self._videos.values())

    def has_room(self, objects: int, extra: int = 0) -> bool:
        """Whether the byte budget allows so many further objects, and `extra` bytes more."""
        return self.reserved() + objects * self._capacity.object_bytes + extra <= self._capacity.max_bytes


def _check_owner(video: Video, owner: str | None) -> None:
    """Raises NotOwner if the video was begun with another token. A video that was begun without one is everybody's."""
    if video.owner is not None and owner != video.owner:
        raise NotOwner("this video id is in use by another client. Open your video under another id; random ids do not collide.")
