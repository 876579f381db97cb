"""Whether a server that runs is alive: its metrics every few seconds, and a frame at the start and where they leave doubt."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from masklet import vitals
from masklet.errors import MaskletError
from masklet.gauges import scrape
from masklet.health import GIVEN_UP, probe
from masklet.vitals import Finding, Health, Watch
from masklet_build.serve.processes import Bell

LOOK_S = 5.0
_FIRST_S = 3600.0  # for the first frame; whether the server lives meanwhile the counters tell
_LOOKS = 3  # without a beat before it counts
_SCRAPE_S = 5.0  # Triton answers in milliseconds
_PAUSE_S = 2.0  # what takes longer by more than this was a pause of ours, as when the machine stands still, and proves nothing
_GIVEN_UP = " Its process has not ended: it was stopped, or got no CPU, for over a second, after which Triton gives it up."
_FRAMES = 3  # that fail, one after the other, before a doubt is none


class Lookout:
    """Looks at one server, in a thread of its own, until it is closed or finds it dead: then `dead` says why, and `bell` rings.

    `measured` rings when the first frames are answered, or are known to fail.

    url, metrics_url   where the server is
    trackers           its public models; where there are none no frame is sent
    patience_s         for how long work may not get on, and signs of life be missing; more where work took long before (masklet.vitals)
    say                takes one line for people
    """

    def __init__(self, url: str, metrics_url: str, trackers: list[str], patience_s: float, say: Callable[[str], None]) -> None:
        self.bell, self.measured = Bell(), Bell()
        self.dead = ""
        self._url, self._metrics_url, self._trackers, self._say = url, metrics_url, trackers, say
        self._watch = Watch(patience_s, max(patience_s, _LOOKS * LOOK_S), patience_s)
        self._failed = 0  # frames, one after the other
        self._quiet_s = 0.0  # for so long no doubt asks again: a frame was answered
        self._closing = threading.Event()
        threading.Thread(target=self._run, name="lookout", daemon=True).start()  # never waited for: what it asks ends with the server

    def close(self) -> None:
        """No word comes after this."""
        self._closing.set()

    def _run(self) -> None:
        threading.Thread(target=self._first_frames, name="first frame", daemon=True).start()
        last = time.monotonic()
        while not (self._closing.wait(LOOK_S) or self.dead):
            began = time.monotonic()
            seconds, last = min(began - last, LOOK_S + _SCRAPE_S + _PAUSE_S), began
            finding = self._look(seconds)
            if finding.health is Health.DOUBTFUL and self._quiet_s <= 0:
                finding, last = self._asked(finding), time.monotonic()
            self._quiet_s -= seconds
            if finding.health is Health.DEAD:
                self._end(finding.text)

    def _end(self, why: str) -> None:
        if not self._closing.is_set():
            self.dead = why + (_GIVEN_UP if GIVEN_UP in why else "")
            self.bell.set()

    def _first_frames(self) -> None:
        """What a frame takes is then known, to people and, as the longest work so far, to the counters."""
        for tracker in self._trackers:
            began = time.monotonic()
            finding = probe(self._url, _FIRST_S, tracker)
            if self._closing.is_set():
                return
            if finding.health is Health.DEAD:
                self._end(f"the first frame of {tracker}: {finding.text}")
            elif finding.health is Health.ALIVE:
                self._say(f"a first frame of {tracker} took {time.monotonic() - began:.1f} s")
            else:
                self._say(f"a first frame of {tracker} failed after {time.monotonic() - began:.1f} s: {finding.text}")
        self.measured.set()

    def _look(self, seconds: float) -> Finding:
        try:
            return self._watch.look(vitals.read(scrape(self._metrics_url, _SCRAPE_S)), seconds)
        except (MaskletError, ValueError) as error:
            return self._watch.silent(seconds, str(error))

    def _asked(self, doubt: Finding) -> Finding:
        """What frames say. As often as they are answered the server is well, whatever clients made the counters say."""
        for tracker in self._trackers:
            finding = probe(self._url, self._watch.waits_at_most, tracker)
            if finding.health is Health.DEAD:
                return finding
            if finding.health is not Health.ALIVE:
                self._failed += 1
                return Finding(Health.DEAD if self._failed >= _FRAMES else Health.DOUBTFUL, f"{doubt.text}; a frame: {finding.text}")
        self._failed, self._quiet_s = 0, self._watch.patience_s
        self._watch.forget_waiting()
        return Finding(Health.ALIVE)
