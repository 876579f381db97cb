"""When to send the next frame of a live video: soon enough that the server never runs dry, late enough that no frame waits there for long."""

from __future__ import annotations

from collections import deque

_MOST = 2  # frames on their way: one that the server works on, and one that waits
_WEIGHT = 0.25  # of the newest answer in the smoothed time
_HALF = 0.5  # of the time of an answer, after which the next frame follows


class Flow:
    """Frames on their way to one server, which answers them in order. Times are of `time.monotonic()`, in seconds.

    A frame is sent when nothing else is on its way, or when the one before has been worked on for half the time that an answer takes. So a frame
    waits for half that time, and its answer is one and a half of it old, while the server goes from one frame to the next without a pause. Where the
    server becomes slow in the middle of that, it is twice its time: never more than two frames are on their way.

    deadline_s  a frame is not sent before its answer can be expected within so many seconds; None: none
    answer_s    what an answer takes while nothing waits before it, transport included, smoothed; None before the first
    """

    def __init__(self, deadline_s: float | None = None) -> None:
        self.answer_s: float | None = None
        self._deadline_s = deadline_s
        self._sent: deque[float] = deque()
        self._answered = 0.0  # when the newest answer came
        self._late: float | None = None  # since when every frame would have come too late

    @property
    def due(self) -> float | None:
        """When the next frame may be sent; None: not before an answer comes."""
        if not self._sent:
            return self._answered
        if self.answer_s is None or len(self._sent) >= _MOST:
            return None
        after = _HALF * self.answer_s
        if self._deadline_s is not None:  # what is left of the frame before, and the answer itself, fit into the deadline
            after = max(after, 2 * self.answer_s - self._deadline_s)
        return self._begun + after if after < self.answer_s else None

    @property
    def beyond(self) -> bool:
        """Whether the server cannot keep the deadline even for a frame that has just come while nothing else is on its way."""
        return self._deadline_s is not None and self.answer_s is not None and self.answer_s > self._deadline_s

    def in_time(self, arrived_s: float, now: float) -> bool:
        """Whether the answer to a frame that came at `arrived_s` can be expected within the deadline, if it is sent now.

        Also where it was true of no frame for a whole deadline, and nothing is on its way: only an answer says that the server is faster again.
        """
        if self._deadline_s is None or self.answer_s is None:
            return True
        waits = max(0.0, self._begun + self.answer_s - now) if self._sent else 0.0
        if now - arrived_s + waits + self.answer_s <= self._deadline_s:
            return True
        self._late = now if self._late is None else self._late
        return not self._sent and now - self._late > self._deadline_s

    def sent(self, now: float) -> None:
        """A frame was sent."""
        self._sent.append(now)
        self._late = None

    def answered(self, now: float, *, unwatched: bool = False) -> None:
        """The oldest frame on its way has its answer. unwatched: it was there before somebody looked, so it took less than it seems."""
        took = now - self._begun
        if self.answer_s is None:
            self.answer_s = took
        elif not unwatched or took < self.answer_s:
            self.answer_s += _WEIGHT * (took - self.answer_s)
        self._sent.popleft()
        self._answered = now

    @property
    def _begun(self) -> float:
        """When the server could begin with the oldest frame on its way."""
        return max(self._sent[0], self._answered)
