"""What of the server's memory is spoken for. Bookkeeping of bytes; knows nothing of videos but their ids.

A video holds less at first than it will: an object's memories fill up over sixteen frames. So bytes are reserved for what a video grows to, when the
request that makes it grow is planned, before anything is computed; requests of one execution see one another's reservations. When the execution
is done each of its videos is settled: what it reserved gives way to what it really is.
"""

from __future__ import annotations

from typing import NamedTuple

from masklet.errors import ServerBusy

VideoId = int | str


class Footprint(NamedTuple):
    """What a video takes: objects, bytes of their memories, and bytes that they hold or will grow to."""

    objects: int
    nbytes: int
    reserved: int


NOTHING = Footprint(0, 0, 0)


class Ledger:
    """Reservations by video id. Every operation takes the same time, however many videos there are.

    limit   bytes that may be reserved at most
    held    of all videos together, without what is under way
    taken   bytes that are reserved, with what is under way
    settled    what each video takes, without what is under way
    under_way  what videos come to by the requests of this execution; empty between executions
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = NOTHING
        self.taken = 0
        self.settled: dict[VideoId, Footprint] = {}
        self.under_way: dict[VideoId, int] = {}

    def begin(self, video_id: VideoId) -> None:
        """A video begins from nothing. One of the same id before it keeps its bytes until it is settled: it comes back if the new one is refused."""
        self.taken -= self._charged(video_id) - self._of(video_id).reserved
        self.under_way[video_id] = 0

    def reserve(self, video_id: VideoId, nbytes: int) -> None:
        """Sets so many bytes more aside for a video, until it is settled. Raises ServerBusy, without advice, and then changes nothing."""
        comes_to = self.under_way.get(video_id, self._of(video_id).reserved) + nbytes
        taken = self.taken - self._charged(video_id) + max(comes_to, self._of(video_id).reserved)
        if taken > max(self.limit, self.taken):
            raise ServerBusy(
                f"the objects of this request grow by {_size(nbytes)}, and memories fill {_size(self.taken)} of the {_size(self.limit)} that this "
                "server may use."
            )
        self.under_way[video_id], self.taken = comes_to, taken

    def release(self, video_id: VideoId) -> None:
        """The video is gone. What its last request was promised is held until that is settled: it may still be computed."""
        under_way = self.under_way.get(video_id)
        self.settle(video_id, None)
        if under_way is not None:
            self.under_way[video_id] = under_way
            self.taken += under_way

    def settle(self, video_id: VideoId, footprint: Footprint | None) -> None:
        """The video takes so much now, whatever was reserved for it; None: it is gone."""
        before, after = self._of(video_id), footprint or NOTHING
        self.taken += after.reserved - self._charged(video_id)
        self.held = Footprint(*(total - old + new for total, old, new in zip(self.held, before, after, strict=True)))
        self.under_way.pop(video_id, None)
        self.settled.pop(video_id, None)
        if footprint is not None:
            self.settled[video_id] = footprint

    def has_room(self, nbytes: int) -> bool:
        """Whether so many bytes more could be reserved."""
        return self.taken + nbytes <= self.limit

    def _of(self, video_id: VideoId) -> Footprint:
        return self.settled.get(video_id, NOTHING)

    def _charged(self, video_id: VideoId) -> int:
        return max(self._of(video_id).reserved, self.under_way.get(video_id, 0))


def _size(nbytes: int) -> str:
    return f"{nbytes / 2**20:.1f} MiB" if nbytes >= 2**20 else f"{nbytes / 2**10:.1f} KiB"
