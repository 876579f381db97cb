"""Work that is done again and again, beside whatever goes on: one thread of this process for all of it."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

from masklet.errors import MaskletError

_log = logging.getLogger(__name__)

Work = Callable[[], Coroutine[Any, Any, bool]]  # a method; whether it is to be done again


class Rounds:
    """Calls methods every `every_s` seconds, one after another; none of them waits. The thread ends with the last of them.

    They are held weakly: who is forgotten is called no more.
    """

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._works: list[weakref.WeakMethod[Work]] = []
        self._lock = threading.Lock()
        self._running = False

    def add(self, work: Work) -> None:
        """Calls this one too, first in `every_s` seconds."""
        with self._lock:
            self._works.append(weakref.WeakMethod(work))
            if not self._running:
                threading.Thread(target=self._run, name="masklet-keep-alive", daemon=True).start()
                self._running = True

    def _run(self) -> None:
        while True:
            time.sleep(self._every_s)
            with self._lock:
                works = list(self._works)
            done = [work for work in works if not _again(work)]
            with self._lock:
                self._works = [work for work in self._works if work not in done]
                if not self._works:
                    self._running = False
                    return


def _again(work: weakref.WeakMethod[Work]) -> bool:
    call = work()
    try:
        return call is not None and _finished(call())
    except MaskletError:  # the next call of the video shows it to its user
        return False
    except Exception:  # ours to mend; the other videos of this thread go on
        _log.exception("a video gives no signs of life any more")
        return False


def _finished(work: Coroutine[Any, Any, bool]) -> bool:
    try:
        work.send(None)
    except StopIteration as end:
        return bool(end.value)
    raise AssertionError(f"{work} waits")


_rounds: dict[tuple[int, float], Rounds] = {}


def rounds(every_s: float) -> Rounds:
    """Those of this process: a forked child has no thread of its parent's."""
    return _rounds.setdefault((os.getpid(), every_s), Rounds(every_s))
