"""What happened, as it is told by clients, supervisors and those who look at memory. Written by many threads."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.soak.scripts import Script

LIVE, WHOLE, STOPPED, REFUSED, LOST, KILLED = "live", "whole", "stopped", "refused", "lost", "killed with its client"
_KEPT = 50  # wrong answers that are told one by one


@dataclass
class Watched:
    """One video as its client told of it. Times: `time.time()`.

    client     the process that it lives in
    script     which one, and `wanted` steps of it
    ended      LIVE; WHOLE: every step was answered; STOPPED: the run was over; REFUSED: there was no place for it; LOST; KILLED
    busy       how often it came again because there was no place
    moves      how often its owner took a snapshot and went on elsewhere from it
    video_id   on the server, when it was opened or moved last
    """

    client: str
    resilient: bool
    script: int
    wanted: int
    begun: float
    answered: int = 0
    ended: str = LIVE
    error: str = ""
    at: float = 0.0
    busy: int = 0
    moves: int = 0
    video_id: int | str = 0
    interruptions: list[dict[str, Any]] = field(default_factory=list)

    @property
    def frames_lost(self) -> int:
        """Frames that it wanted and did not get."""
        return self.wanted - self.answered if self.ended == LOST else 0


@dataclass(frozen=True)
class Struck:
    """A fault that was done: from when to when, what, to whom, and what became of it at once."""

    kind: str
    target: str
    begin: float
    end: float
    said: str


@dataclass(frozen=True)
class Look:
    """The memory of one process tree at one time: `life` tells it from the one that takes its place after a restart."""

    at: float
    life: str
    sizes: Mapping[str, int]  # bytes by process


class Record:
    """Holds what the threads share.

    waits  when each answer came, and how long its request had waited
    """

    def __init__(self, scripts: Sequence[Script]) -> None:
        self.videos: dict[str, Watched] = {}
        self.wrong: list[str] = []
        self.wrong_count = 0
        self.waits: list[tuple[float, float]] = []
        self.struck: list[Struck] = []
        self.looks: list[Look] = []
        self.broken: list[str] = []  # what should have worked and did not: a client that does not end, a fault that could not be done
        self.left_behind: dict[str, int] = {}  # server -> videos that it still held when all were closed
        self.mistakes: dict[str, float] = {}  # server's life -> what its bank found in what it holds
        self._scripts = scripts
        self._lock = threading.Lock()

    def hear(self, client: str, event: Mapping[str, Any]) -> None:
        """Takes what a client tells of a video (see `play`)."""
        name = f"{client} {event['video']}"
        with self._lock:
            if event["what"] == "begin":
                self.videos[name] = Watched(client, event["resilient"], event["script"], event["wanted"], event["at"])
                return
            video = self.videos[name]
            if event["what"] == "answer":
                self._answered(name, video, event)
            elif event["what"] == "busy":
                video.busy += 1
            elif event["what"] in ("opened", "moved"):
                video.video_id = event["id"]
                video.moves += event["what"] == "moved"
            else:
                assert event["what"] == "end", event
                video.ended, video.error, video.at = event["how"], event["error"], event["at"]
                video.interruptions = event["interruptions"]

    def _answered(self, name: str, video: Watched, event: Mapping[str, Any]) -> None:
        self.compare(f"{name}, script {video.script}, step {video.answered}", video.script, video.answered, (event["index"], event["digest"]))
        video.answered += 1
        self.waits.append((event["at"], event["waited"]))

    def compare(self, place: str, script: int, step: int, answer: tuple[int, str]) -> None:
        """Counts an answer as wrong that is not as alone."""
        wanted = self._scripts[script].expected[step]
        if answer != wanted:
            self.is_wrong(f"{place}: {answer}, alone {wanted}")

    def is_wrong(self, what: str) -> None:
        """Counts a wrong answer."""
        self.wrong_count += 1
        if len(self.wrong) < _KEPT:
            self.wrong.append(what)

    def killed(self, client: str, at: float) -> None:
        """The videos of a client that was killed are over."""
        with self._lock:
            for video in self.videos.values():
                if video.client == client and video.ended == LIVE:
                    video.ended, video.at = KILLED, at

    def live_ids(self) -> list[int | str]:
        """Of the videos that live."""
        return [video.video_id for video in [*self.videos.values()] if video.ended == LIVE]

    def count(self, ended: str, *, resilient: bool | None = None) -> int:
        """Videos that ended so; of the resilient or plain ones only, if that is given."""
        return sum(video.ended == ended and resilient in (None, video.resilient) for video in [*self.videos.values()])
