"""A resilient video without input or output: what to send to whom, and what an event means.

What the caller asks goes into the replay log, and to the current attempt. When that is lost a recovery makes attempts at other servers, one by one,
until one has taken the newest snapshot and then the entries of the log. A server that drains stays the current one until then.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from masklet.connection import keep_alive, losses
from masklet.connection.asking import Asking
from masklet.connection.interruption import Cause, Interruption
from masklet.connection.operations import Operation
from masklet.connection.pending import PendingResult
from masklet.errors import BadRequest, MaskletError, RequestError, ServerBusy, ServerFault, ServerUnavailable, VideoLost, copy_of, from_masklet
from masklet.pixels import Sendable
from masklet.recovery.attempt import Attempt
from masklet.recovery.attempts import Attempts, Command
from masklet.recovery.options import Resilience
from masklet.recovery.recovery import Recovery
from masklet.recovery.replay_log import Entry, ReplayLog
from masklet.results import TrackedFrame
from masklet.transport.protocol import Broken, Event, Refusal

_LOSSES = 3  # servers that may be lost with the same request in hand, before it is taken for the reason
_CLOSED = "this video is closed. Open a new one."


class ResilientSession(Asking):
    """One resilient video. After every call `commands` are to be carried out, in order. Not for two threads at once."""

    def __init__(self, urls: Sequence[str], video_id: int | str | None, timeout_s: float, settings: Resilience) -> None:
        super().__init__()
        self.interruptions: list[Interruption] = []
        self._attempts = Attempts(urls, video_id, timeout_s, settings)
        self._log = ReplayLog(settings.snapshot_every)
        self._give_up_s = settings.give_up_s
        self._fresh = False  # a snapshot has just come, with which to leave a server that drains
        self._limited = False  # what was asked last was refused since the end of its streams may be a gateway's limit
        self._over: VideoLost | None = None
        self._began = self._ending = False

    @property
    def commands(self) -> deque[Command]:
        """What is to be done."""
        return self._attempts.commands

    @property
    def video_id(self) -> int | str:
        """See `Attempts`."""
        return self._attempts.video_id

    @property
    def began(self) -> bool:
        """See `Asking`."""
        return self._began

    @property
    def attempts(self) -> list[Attempt]:
        """Those from which events may come."""
        return self._attempts.live

    def check(self) -> None:
        """See `Asking`."""
        if self._over:
            raise copy_of(self._over)

    def frame(self, frame: Sendable, **options: Any) -> PendingResult:
        """See `Asking`. Pixels are copied: the caller may use the array again, and a replay needs them as they were."""
        return super().frame(frame.copy() if isinstance(frame, np.ndarray) else frame, **options)

    def add(self, operation: Operation) -> PendingResult:
        """See `Asking`. `take` or `tick` give the result its outcome."""
        self._sweep()
        if not self.attempts and not self._attempts.recovery:
            self._attempts.begin()
        entry = Entry(operation, snapshot=operation.is_frame and self._log.due(soon=self._attempts.may_move))
        pending = entry.pending
        assert pending is not None
        self._log.entries.append(entry)
        self._attempts.send(entry)
        self._seek()
        self._began = True
        return pending

    def withdraw(self, pending: PendingResult) -> None:
        """Forgets what is asked for in a pending result, which could not be sent; its prompts stay."""
        for entry in [entry for entry in self._log.entries if entry.pending is pending]:
            self._drop(entry)
            self.operations.take_back(entry.operation, BadRequest(""), runs=True)

    @property
    def current(self) -> Attempt | None:
        """The one whose server has the video."""
        return self._attempts.current

    def give_sign(self) -> None:
        """Gives the server a sign of life if it is time. It is no entry of the log: there is nothing in it to replay."""
        attempt = self._attempts.current
        if attempt and not self._attempts.recovery and not self._ending and attempt.session.silence >= keep_alive.SILENCE_S:
            attempt.waiting.append(Entry.own(keep_alive.sign()))
            self._attempts.flush(attempt)

    def end(self) -> PendingResult | None:
        """Frees the video. The result of END; None if there is no server to tell."""
        self._sweep()
        recovery, self._attempts.recovery = self._attempts.recovery, None
        if recovery and recovery.reason and recovery.switched:
            self.interruptions.append(recovery.report(time.monotonic()))
        self._ending, self._over = True, self._over or VideoLost(_CLOSED)
        ends = {attempt: self._attempts.end(attempt) for attempt in self.attempts}
        return ends.get(self._attempts.current) if self._attempts.current else None

    def close(self) -> None:
        """Nothing more will be asked or answered."""
        self._attempts.close()
        self._finish(VideoLost(_CLOSED))

    def waits(self) -> tuple[Attempt | None, float]:
        """Whose event to wait for, None for nobody's, and for how many seconds; then comes `tick`."""
        return self._attempts.waits(self._deadline())

    def unsent(self, attempt: Attempt) -> None:
        """A request could not be sent, or only in part."""
        attempt.dirty = True

    def tick(self, *, waited: bool) -> None:
        """Does what time asks for. Only a caller that has `waited` for an event can tell silence from answers that it has not received yet."""
        self._sweep()
        for attempt in self.attempts:
            if waited and attempt.overdue():
                attempt.session.expire()
                self._lose_in_hand(attempt, "silent")
        self._seek()

    def take(self, attempt: Attempt, event: Event) -> None:
        """An event of an attempt. Those of attempts that were given up do not count."""
        if attempt not in self.attempts or attempt.dirty:
            return
        pending = attempt.session.resolve(event)
        entry = attempt.on_way.pop(pending, None) if pending else None
        if pending is None or entry is None:  # the same event may come twice, where an interrupt came before it was let go: then it says nothing new
            if attempt.session.lost:
                self._lose_in_hand(attempt, "broken" if isinstance(event, Broken) else "failed")
            return
        if isinstance(pending.outcome, TrackedFrame):
            self._answered(attempt, entry, pending.outcome)
        elif isinstance(pending.outcome, MaskletError):
            self._refused(attempt, entry, pending.outcome, own=not isinstance(event, Refusal) or from_masklet(event.text))
        self._attempts.flush(attempt)

    def _answered(self, attempt: Attempt, entry: Entry, result: TrackedFrame) -> None:
        if not attempt.accepted and not self._ending:
            self._attempts.accept(attempt, entry)
        if entry.frame_index not in (None, result.frame_index):
            self._lose(attempt, "failed", ServerFault(f"{attempt.url} answered frame {entry.frame_index} again, but as frame {result.frame_index}."))
            return
        if "STATE" in entry.operation.tensors:
            result = replace(result, snapshot=entry.operation.tensors["STATE"].tobytes())
        if result.snapshot is not None and self._log.rebase(entry, result):
            self._fresh = self._attempts.may_move
        self._give(entry, result)
        if result.draining and not self._attempts.recovery and not self._ending:
            self._attempts.move(attempt, ServerBusy(f"{attempt.url} is draining: it will stop."))

    def _refused(self, attempt: Attempt, entry: Entry, error: MaskletError, *, own: bool) -> None:
        """What an error means. `own`: masklet's, not Triton's, which may have failed before or after the video changed."""
        if entry.operation.options.keep_alive and isinstance(error, RequestError):
            return
        failed = isinstance(error, ServerFault | ServerUnavailable)
        if isinstance(error, VideoLost):
            self._lose(attempt, "forgotten", error)
        elif entry.answered and isinstance(error, RequestError):
            self._lose(attempt, "failed", error)
            if self._attempts.recovery:  # the same again would be refused again there: snapshots are large
                self._attempts.recovery.refused[attempt.url] = error
        elif entry.answered or failed or (isinstance(error, ServerBusy) and not (own and attempt.accepted)):
            self._lose(attempt, "failed", error)
            if isinstance(error, ServerFault) and (own or attempt.accepted):
                self._blame(entry, error)
        else:
            self._drop(entry)
            self._give(entry, self.operations.take_back(entry.operation, error, runs=attempt.accepted))

    def _sweep(self) -> None:
        """Gives up attempts that cannot be believed any more."""
        for attempt in [attempt for attempt in self.attempts if attempt.dirty]:
            self._lose(attempt, "broken", VideoLost(f"a request to {attempt.url} could not be sent."))

    def _lose_in_hand(self, attempt: Attempt, cause: Cause) -> None:
        """An attempt is lost, as its session knows why, and with whatever it had in hand."""
        error = attempt.session.lost
        assert error is not None
        in_hand = next(iter(attempt.on_way.values()), None) if attempt.accepted or losses.is_too_large(error) else None
        self._lose(attempt, cause, error)
        if in_hand:
            self._blame(in_hand, error)

    def _lose(self, attempt: Attempt, cause: Cause, error: MaskletError) -> None:
        oldest = self._log.oldest()
        self._attempts.lose(attempt, cause, error, time.monotonic() - oldest.asked if oldest else 0.0)

    def _blame(self, entry: Entry, error: MaskletError) -> None:
        """A request that servers do not survive must not be brought to all of them."""
        entry.losses += 1
        limited = losses.may_be_a_limit(error)
        if limited and self._log.save_before(entry):  # what comes before it on the stream may be the reason: there will be less
            return
        if entry.losses < _LOSSES or entry.answered:
            return
        what = f"{entry.losses} servers were lost with {entry.operation.waits_for} in hand, so it is not sent again; the last time: {error}"
        if limited and self._limited and self._attempts.recovery:  # it would be so with every frame
            self._give_up(self._attempts.recovery, f"{what} And so it was with the one before.")
            return
        self._limited = limited
        self._drop(entry)
        entry.give(ServerFault(f"{what} The video goes on without it and its prompts."))

    def _give(self, entry: Entry, outcome: TrackedFrame | MaskletError) -> None:
        """Tells the caller. The first new result ends a recovery."""
        recovery = self._attempts.recovery
        if not entry.answered and recovery and recovery.switched:
            self.interruptions.append(recovery.report(entry.asked))
            self._attempts.recovery = None
        if isinstance(outcome, TrackedFrame) and not entry.answered:
            self._limited = False
        entry.give(outcome)

    def _drop(self, entry: Entry) -> None:
        self._log.drop(entry)
        self._attempts.drop(entry)

    def _seek(self) -> None:
        """Asks the next server, when it is time."""
        recovery, deadline = self._attempts.recovery, self._deadline()
        if recovery is None or self._ending:
            return
        if recovery.hopeless:
            if not self._attempts.current:  # else it goes on where it is, as long as it can
                told = "; ".join(f"{url}: {error}" for url, error in recovery.refused.items())
                self._give_up(recovery, f"every server refused to take the video again ({told}).")
        elif deadline is not None and time.monotonic() >= deadline:
            tried, urls = f"within {self._give_up_s:g} s, in {recovery.attempts} attempts", ", ".join(dict.fromkeys(recovery.urls))
            self._give_up(recovery, f"no server took the video {tried} ({urls}). The last one: {recovery.last or 'no answer yet.'}")
        elif self._attempts.may_ask(self._fresh):
            self._fresh = False
            self._attempts.open(recovery, self._log.replay())

    def _deadline(self) -> float | None:
        """When somebody will have waited for a server for too long."""
        recovery, oldest = self._attempts.recovery, self._log.oldest()
        return max(recovery.since, oldest.asked) + self._give_up_s if recovery and oldest and not self._attempts.current else None

    def _give_up(self, recovery: Recovery, why: str) -> None:
        last, log = recovery.last, self._log
        advice = "Its newest snapshot is `state` of this error: open a new video from it." if log.state else "Open a new one and prompt again."
        self._over = VideoLost(f"{why} {advice}")
        self._over.state, self._over.state_index, self._over.__cause__ = log.state, log.frame_index, last
        if self._attempts.candidate:
            self._attempts.lose(self._attempts.candidate, "silent", self._over, 0.0)
        self._attempts.recovery = None
        self._finish(self._over)

    def _finish(self, error: VideoLost) -> None:
        for entry in self._log.entries:
            entry.give(error)
        self._log.entries.clear()
