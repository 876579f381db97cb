"""A selftest from its first call to its verdict."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from masklet_build.check.clip_check import check_clip
from masklet_build.check.engine_check import check_engines
from masklet_build.check.report import Report
from masklet_build.check.subject import Subject
from masklet_build.check.timing import frame_rates, time_engines
from masklet_build.check.verdict import judge
from masklet_build.export.fixtures import fixtures as known

NO_NANO = (
    "the long clip: these are not engines of nano, whose fixtures hold one; theirs holds {frames} frames. To see what this precision does to masks "
    "over a whole clip, run `masklet-build selftest` without a path, in the same precision."
)


def run(subject: Subject, file: Path | None, runs: int, progress: Callable[[str], None]) -> Report:
    """Tests engines. `file`: fixtures, if not those beside the engines; `runs` of each timed call, 0: nothing is timed. Raises FixturesError."""
    fixtures = known.find([file] if file else [subject.home], subject.variant.name, subject.checkpoint_sha256)
    engines = check_engines(subject.variant, subject.stages, fixtures, subject.table, subject.held_to, progress)
    progress(f"tracking the clip, {len(fixtures.clip.frames)} frames")
    clip = check_clip(subject.variant, subject.stages, fixtures, subject.held_to, subject.objects_per_call)
    verdict = judge(subject.variant, subject.precision, subject.attention, engines, [clip])
    not_run = [NO_NANO.format(frames=len(fixtures.clip.frames))] if subject.variant.official else []
    if not runs or engines.failed:
        not_run.append(f"timing: {'--runs 0' if not runs else 'the engines are wrong'}")
        return Report(subject, engines, [clip], [], {}, verdict, not_run)
    timed = time_engines(subject, fixtures, runs, progress)
    return Report(subject, engines, [clip], timed, frame_rates(subject, fixtures, runs), verdict, not_run)
