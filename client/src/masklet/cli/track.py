"""`masklet track`: a video in, masks and an overlay video out."""

from __future__ import annotations

import argparse
import itertools
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from masklet.cli import resume
from masklet.cli.ages import Ages
from masklet.cli.connection import tls_of
from masklet.cli.failure import Failure, need
from masklet.cli.prompts import Prompts, collect
from masklet.cli.resume import Progress
from masklet.cli.stopping import Stopping
from masklet.cli.told import counted, told
from masklet.cli.tracking import Tracking
from masklet.cli.writers import Results, numbers, numbers_in
from masklet.connection.interruption import Interruption
from masklet.errors import MaskletError
from masklet.sources import Frame, Skipped, Source, open_source
from masklet.tracker import Tracker

_BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_noinv_fmt}]"  # frames per second also where that is less than one


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; gives its exit code. Raises Failure, MaskletError, OSError."""
    before = _before(arguments)
    if before == "finished":
        frames = counted((arguments.out / "masks.jsonl").read_bytes().count(b"\n"), "frame")
        print(f"{arguments.out} is finished, with {frames}; there is nothing to resume. To track more of the video, choose another folder.")
        return 0
    job = _Job(arguments, collect(arguments), before)
    with Stopping() as stopping:
        try:
            job.run(stopping)
        except KeyboardInterrupt:
            print(f"\nstopped after {counted(job.frames, 'frame')}{job.what_next()}", file=sys.stderr)
            if str(job.ages):
                print(job.ages, file=sys.stderr)
            return 0 if job.live else 128 + (stopping.signal or signal.SIGINT)
        except (MaskletError, Failure, OSError):
            if job.what_next():
                print(f"\nended after {counted(job.frames, 'frame')}{job.what_next()}", file=sys.stderr)
            raise
    return 0


def _before(arguments: argparse.Namespace) -> tuple[Progress, bytes] | str | None:
    """What a run before left in the folder, where it may go on: its progress and snapshot, or that it is finished. None: nothing. Raises Failure."""
    folder = arguments.out
    if resume.is_new(folder):
        return None
    unfinished = resume.file_of(folder).exists()
    if not arguments.resume:
        advice = "Add --resume to go on there, or choose" if unfinished else "Choose"
        raise Failure(f"{folder} is not empty. {advice} another folder for the results.")
    if not unfinished and (folder / "masks.jsonl").exists():
        return "finished"
    if not unfinished:
        raise Failure(f"{folder} holds something, but no results of masklet track to go on with. Choose another folder.")
    progress, state = resume.load(folder)
    if (settings := _settings(arguments)) != progress.settings:
        was = ", ".join(f"--{name.replace('_', '-')} {value}" for name, value in progress.settings.items() if value != settings.get(name))
        raise Failure(f"the results in {folder} were made with {was.replace(' None', ' not given')}. Say the same, or choose another folder.")
    return progress, state


def _options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Those of `Video.follow`."""
    return {"overlap": arguments.overlap, "deadline_s": arguments.deadline_s, "max_age_s": arguments.max_age_s}


def _settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """What must be the same for a run to go on with the results of another."""
    return {"max_side": arguments.max_side, "overlap": arguments.overlap, "fps": arguments.fps, "model": arguments.model}


class _Job:
    """One run of the command."""

    def __init__(self, arguments: argparse.Namespace, prompts: Prompts, before: tuple[Progress, bytes] | str | None) -> None:
        self._arguments, self._prompts = arguments, prompts
        self._done: Progress | None
        self._done, self._state = before if isinstance(before, tuple) else (None, b"")
        self._numbers = numbers(prompts.object_ids, numbers_in(arguments.out))
        self._results: Results | None = None
        self._skipped = 0
        self._bar: Any = None
        self.live = False
        self.ages = Ages()

    @property
    def frames(self) -> int:
        """How many were written."""
        return self._results.frames if self._results else 0

    def run(self, stopping: Stopping) -> None:
        """Tracks, and says how it was. Raises Failure, MaskletError, OSError, KeyboardInterrupt."""
        arguments, tqdm = self._arguments, need("tqdm").tqdm
        with ExitStack() as opened:
            tracker = opened.enter_context(_tracker(arguments))
            source = opened.enter_context(open_source(arguments.video, max_side=arguments.max_side, skipped=self._skip))
            self.live = source.live
            total = self._checked_total(source)
            film_fps = arguments.fps or source.fps
            self._results = results = opened.enter_context(Results(arguments.out, self._numbers, arguments.fps, film_fps))
            opened.callback(stopping.finish)
            settings = None if source.live else _settings(arguments)
            self._prompts.of_camera = source.live
            tracking = Tracking(arguments.out, self._prompts, results, stopping, settings, _options(arguments), source.live, _say)
            self.ages = tracking.ages
            frames = itertools.islice(source, arguments.max_frames)
            if self._done:
                _say(_goes_on(self._done))
                tracking.redraw(frames, self._done)
            self._bar = bar = opened.enter_context(
                tqdm(total=total, initial=results.frames, unit=" frames", bar_format=_BAR, mininterval=0.1 if sys.stderr.isatty() else 10)
            )
            interruptions = self._track(tracker, tracking, frames, bar.update)
            results.finish()
        self._end(interruptions)

    def what_next(self) -> str:
        """What became of the results that are there, and how to go on; empty where there are none."""
        if not self.frames:
            return ""
        kept = f"; what was written to {self._arguments.out} is kept"
        return kept + (". The same command with --resume goes on." if resume.file_of(self._arguments.out).exists() else "")

    def _track(self, tracker: Tracker, tracking: Tracking, frames: Iterator[Frame], advance: Any) -> list[Interruption]:
        if not self._state:
            frames = tracking.before_prompts(frames, advance)
        first = next(frames, None)
        if first is None:
            return []
        resilient = self._arguments.resilient or len(self._arguments.url) > 1
        with tracker.open(state=self._state or None, resilient=resilient) as video:
            tracking.track(video, itertools.chain([first], frames), advance)
        return video.interruptions

    def _checked_total(self, source: Source) -> int | None:
        """How many frames will come, where that is known. Raises Failure for prompts behind them."""
        if source.live and self._arguments.resume:
            raise Failure("a camera or stream cannot be resumed: its frames are gone. Leave out --resume, and choose another folder.")
        total = min((count for count in (source.count, self._arguments.max_frames) if count is not None), default=None)
        if total is not None and self._prompts.last >= total:
            raise Failure(f"there are prompts on frame {self._prompts.last}, but only {counted(total, 'frame')}, from 0 to {total - 1}.")
        return total

    def _skip(self, skipped: Skipped) -> None:
        """Tells of a frame that cannot be read, and has it written. In the thread that reads."""
        if self._done and skipped.index <= self._done.frame:  # it was told and written before
            return
        self._skipped += 1
        if self._bar is not None and self._bar.total is not None:
            self._bar.total -= 1
        _say(f"frame {skipped.index} ({skipped.name}) is skipped: {skipped.why}")
        if self._results:
            self._results.skip(skipped)

    def _end(self, interruptions: list[Interruption]) -> None:
        """Says how it was. Raises Failure where prompts were never used."""
        out = self._arguments.out
        for interruption in interruptions:
            print(f"survived: {_told(interruption)}", file=sys.stderr)
        if self._prompts.unused:
            raise Failure(f"the prompts of frame {', '.join(map(str, self._prompts.unused))} were not used: there is no such frame.")
        resume.remove(out)
        skipped = f" ({self._skipped} skipped)" if self._skipped else ""
        print(f"{counted(self.frames, 'frame')}{skipped}: {out}/masks, {out}/masks.jsonl, {out}/overlay.mp4")
        if str(self.ages):
            print(self.ages)
        if other := {object_id: number for object_id, number in self._numbers.items() if number != object_id}:
            pairs = ", ".join(f"object {object_id} is {number}" for object_id, number in other.items())
            print(f"in the PNG masks {pairs} ({out}/objects.json)")


def _say(text: str) -> None:
    """Tells people something, also while a bar shows progress."""
    need("tqdm").tqdm.write(text, file=sys.stderr)


def _goes_on(done: Progress) -> str:
    if done.frame < 0:
        return "beginning again with the first frame: the run before ended before its first snapshot"
    return f"going on after frame {done.frame}; the overlay is drawn again up to there"


def _told(interruption: Interruption) -> str:
    way = f"from {interruption.from_url} to {interruption.to_url} in {interruption.seconds:.1f} s"
    return f"{interruption.cause}: {way}, {counted(interruption.frames_replayed, 'frame')} computed again. {told(interruption.reason)}"


def _tracker(arguments: argparse.Namespace) -> Tracker:
    return Tracker(
        arguments.url,
        tls=tls_of(arguments),
        headers=dict(arguments.header),
        timeout_s=arguments.timeout_s,
        model=arguments.model,
        proxy=arguments.proxy,
        record=arguments.record,
    )
