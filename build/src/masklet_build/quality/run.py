"""Scores servers on a dataset: every clip, every kind of prompt, every method, one video after the other."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import NamedTuple

from masklet.tracker import Tracker
from masklet_build.quality.agreement import Agreement
from masklet_build.quality.datasets import Dataset, LabelledClip
from masklet_build.quality.methods import FROZEN, METHODS, NO_MEMORY, PROMPTED_FRAME_ONLY, TRACKED, Answer, frozen
from masklet_build.quality.scores import ClipScores, mean, score
from masklet_build.quality.served import Served

_PATIENCE_S = 120  # for one answer; a large variant on a busy CPU takes seconds

Say = Callable[[str], None]


class Series(NamedTuple):
    """What one row of the report is about. The baseline has neither prompt nor precision: ""."""

    method: str
    prompt: str
    precision: str


@dataclass
class Evaluation:
    """The scores of each series, clip by clip; how much the masks of the others agree with the first server's; and which servers these were."""

    scores: dict[Series, list[ClipScores]] = field(default_factory=lambda: defaultdict(list))
    agreement: Agreement = field(default_factory=Agreement)
    served: list[Served] = field(default_factory=list)

    def line(self, precision: str, number: int) -> str:
        """J&F of the baseline and of what tracks, on a clip and (in brackets) on all clips up to it."""
        return ", ".join(
            f"{series.prompt or series.method} {mean([clips[number]]).jf:.3f} ({mean(clips[: number + 1]).jf:.3f})"
            for series, clips in self.scores.items()
            if series.method in (TRACKED, FROZEN) and series.precision in (precision, "")
        )


class Progress:
    """Says how far the work is and how long the rest will take, if frames go on to take as long as they did."""

    def __init__(self, frames: int, say: Say) -> None:
        self._frames, self._done, self._begin = frames, 0, time.monotonic()
        self.say = say

    def counted(self, answers: Iterable[Answer]) -> Iterator[Answer]:
        """Passes the answers on and counts them."""
        for answer in answers:
            self._done += 1
            yield answer

    def left(self) -> str:
        """Time that is left."""
        seconds = (time.monotonic() - self._begin) / max(self._done, 1) * (self._frames - self._done)
        return f"{seconds:.0f} s left" if seconds < 90 else f"{seconds / 60:.0f} min left"


def plan(prompts: Sequence[str], controls: bool) -> list[tuple[str, str]]:
    """Method and kind of prompt of everything that a server is asked. A mask without memory would be the baseline, so that control is left out."""
    tracked = [(TRACKED, prompt) for prompt in prompts]
    if not controls:
        return tracked
    return tracked + [(NO_MEMORY, prompt) for prompt in prompts if prompt != "mask"] + [(PROMPTED_FRAME_ONLY, prompt) for prompt in prompts]


def score_server(tracker: Tracker, precision: str, dataset: Dataset, tasks: Sequence[tuple[str, str]], into: Evaluation, progress: Progress) -> None:
    """Scores one server on all clips. Call it again with another server to compare the two.

    With the first one the baseline is scored too. Raises DatasetError and any MaskletError.
    """
    first = not into.scores
    for number in range(len(dataset.lengths)):
        clip = dataset.clip(number)
        if first:
            into.scores[Series(FROZEN, "", "")].append(score(clip, frozen(clip)))
        for method, prompt in tasks:
            answers = progress.counted(METHODS[method](tracker, clip, prompt))
            if method == TRACKED:
                answers = _watched(into.agreement, first, precision, clip, prompt, answers)
            into.scores[Series(method, prompt, precision)].append(score(clip, answers))
        counter = f"{precision}, clip {number + 1} of {len(dataset.lengths)}"
        progress.say(f"{counter}: {clip.name}, J&F (mean so far) {into.line(precision, number)}; {progress.left()}")


def _watched(agreement: Agreement, first: bool, precision: str, clip: LabelledClip, prompt: str, answers: Iterable[Answer]) -> Iterator[Answer]:
    return agreement.kept(clip.name, prompt, answers) if first else agreement.compared(precision, clip.name, prompt, answers)


def evaluate(servers: Sequence[AbstractContextManager[Served]], dataset: Dataset, prompts: Sequence[str], *, controls: bool, say: Say) -> Evaluation:
    """Scores one server after the other: each is entered, used and left before the next. Controls are scored with the first one only.

    Raises DatasetError, any MaskletError, and what entering a server raises.
    """
    result, tasks = Evaluation(), plan(prompts, controls)
    progress = Progress(sum(dataset.lengths) * (len(tasks) + (len(servers) - 1) * len(prompts)), say)
    for server in servers:
        say("waiting for the server")
        with server as served, Tracker(served.url, timeout_s=_PATIENCE_S, transport=served.transport) as tracker:
            say(f"{served.url} serves {served.variant} in {served.precision}; {dataset.description}")
            score_server(tracker, served.precision, dataset, tasks, result, progress)
            result.served.append(served)
        tasks = plan(prompts, controls=False)
    return result
