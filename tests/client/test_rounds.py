"""Work that fails ends, and is told where it is our mistake; the other works of the thread go on."""

from __future__ import annotations

import threading

from masklet import VideoLost
from masklet.concurrency.rounds import Rounds


class Work:
    def __init__(self, error: Exception | None = None) -> None:
        self.calls, self.error, self.often = 0, error, threading.Event()

    async def again(self) -> bool:
        self.calls += 1
        if self.error:
            raise self.error
        if self.calls == 3:
            self.often.set()
        return not self.often.is_set()


def test_what_fails_is_not_called_again_and_our_own_mistakes_are_logged(caplog):
    rounds, lost, mistaken, fine = Rounds(0.01), Work(VideoLost("the stream broke")), Work(KeyError("sister")), Work()
    for work in (lost, mistaken, fine):
        rounds.add(work.again)
    assert fine.often.wait(60)
    assert (lost.calls, mistaken.calls) == (1, 1)
    assert "KeyError: 'sister'" in caplog.text
    assert "the stream broke" not in caplog.text
