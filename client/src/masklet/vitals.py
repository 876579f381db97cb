"""What the counters of a server say of its life, look after look. No clocks are compared, and no request is sent; see docker/operations.md, "Health".

A stage is an instance of a python model, by its own metrics (masklet.stage); a model is any of the server's, by Triton's.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from masklet.contract import TRACKER

PATIENCE_S = 60.0  # for work that does not get on
TIMES = 20  # as long as the longest so far is a hang: up to eight frames share a call of image_encoder, beside what else runs
SLOW_S = 5.0
UNANSWERED = "no answer within"  # begins what is said of a frame to which nothing came
FAULTS = 3  # requests in a row that end with a fault of the server: it may answer no other any more

_LINE = re.compile(
    r"^(masklet_(?:beats_total|work_seconds|longest_work_seconds|faults_in_a_row)"
    r"|nv_inference_(?:exec_count|pending_request_count|request_success|compute_infer_duration_us))(?:\{(.*?)\})? (\S+)$",
    re.MULTILINE,
)
_LABEL = re.compile(r'(?:stage|model)="([^"]*)"')
_INSTANCE = re.compile(r"_\d+_\d+$")  # ends the name of a stage: device and number
_MODELS = ("preprocess", "image_encoder", "memory_bank", "mask_prompt", "memory_attention", "mask_decoder", "memory_encoder", "postprocess")


class Health(Enum):
    """How a server is."""

    ALIVE = "alive"
    SLOW = "slow"  # alive, and somebody waits
    DOUBTFUL = "doubtful"  # only a frame can tell, or none could
    DEAD = "dead"


@dataclass(frozen=True)
class Finding:
    """How a server is, and why where it is not well."""

    health: Health
    text: str = ""


@dataclass(frozen=True)
class Look:
    """The numbers of one moment.

    beats, work, longest   by stage: see masklet.stage
    ended, waiting, mean   by model: executions that ended, requests that wait for one, mean seconds of one
    faults                 requests in a row that ended with a fault of the server, of the bank with most
    trackers               the public models that are loaded
    """

    beats: dict[str, float]
    work: dict[str, float]
    longest: dict[str, float]
    ended: dict[str, float]
    waiting: dict[str, float]
    mean: dict[str, float]
    faults: float
    trackers: list[str]


def read(text: str, tracker: str | None = None) -> Look:
    """The numbers in the text of /metrics; `tracker`: of what stands behind this public model only."""
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for name, labels, value in _LINE.findall(text):
        label = _LABEL.search(labels)
        found[name][label[1] if label else ""] = float(value)

    def own(name: str) -> dict[str, float]:
        return {label: number for label, number in found[name].items() if tracker is None or _behind(tracker, label)}

    made = own("nv_inference_request_success")
    return Look(
        own("masklet_beats_total"),
        own("masklet_work_seconds"),
        own("masklet_longest_work_seconds"),
        own("nv_inference_exec_count"),
        own("nv_inference_pending_request_count"),
        {model: us / 1e6 / made[model] for model, us in own("nv_inference_compute_infer_duration_us").items() if made.get(model)},
        max(own("masklet_faults_in_a_row").values(), default=0.0),
        sorted(model for model in found["nv_inference_exec_count"] if model.startswith(TRACKER.name)),
    )


def _behind(tracker: str, label: str) -> bool:
    suffix = tracker.removeprefix(TRACKER.name)
    return label in ("", tracker) or _INSTANCE.sub("", label) in {model + suffix for model in _MODELS}


@dataclass
class Watch:
    """Judges a server by what changes between looks.

    patience_s   for how long work may not get on; more where it took longer before: `_bound`
    silence_s    for how long beats may stand still, and metrics be silent
    waiting_s    for how long requests may wait while no execution ends, before only a frame can tell; more where executions take longer
    """

    patience_s: float
    silence_s: float
    waiting_s: float
    _last: Look | None = None
    _silent: float = 0.0
    _alive: set[str] = field(default_factory=set)  # stages of which a beat was seen
    _still: dict[str, float] = field(default_factory=dict)  # by stage, seconds since its last beat was seen
    _stuck: dict[str, float] = field(default_factory=dict)  # by model, seconds that requests wait and none is done

    def silent(self, seconds: float, why: str) -> Finding:
        """The metrics did not answer, for so many seconds more."""
        self._silent += seconds
        return Finding(Health.DEAD if self._silent >= self.silence_s else Health.SLOW, why)

    def look(self, now: Look, seconds: float) -> Finding:
        """What the numbers say, so many seconds after those before. Time in which the one who looks stood still himself does not count."""
        before, self._last, self._silent = self._last, now, 0.0
        if before is not None:
            moved = {stage for stage, beats in now.beats.items() if beats != before.beats.get(stage)}
            self._alive |= moved
            self._still = {stage: 0.0 if stage in moved else self._still.get(stage, 0.0) + seconds for stage in now.beats}
            stuck = (model for model, n in now.waiting.items() if n and before.waiting.get(model) and now.ended.get(model) == before.ended.get(model))
            self._stuck = {model: self._stuck.get(model, 0.0) + seconds for model in stuck}
        return next(self._signs(now), Finding(Health.ALIVE))

    @property
    def decided(self) -> bool:
        """Whether looking on would tell no more: every stage gave a sign of life, and no requests wait that the next looks may find stuck."""
        complete = self._last is not None and self._last.beats.keys() <= self._alive
        return complete and not (self._doubted and self.waits_at_most <= self.waiting_s)

    @property
    def waits_at_most(self) -> float:
        """For how many seconds requests may wait for a model while none of its executions ends."""
        now = self._last
        return self._bound(self.waiting_s, max([*now.longest.values(), *now.mean.values()], default=0.0) if now else 0.0)

    @property
    def _doubted(self) -> dict[str, float]:
        """Those of `_stuck` of which no stage says that it is at work: else that is judged, by how it gets on, however many share an execution."""
        at_work = {_INSTANCE.sub("", stage) for stage, work in (self._last.work.items() if self._last else ()) if work}
        return {model: waited for model, waited in self._stuck.items() if model not in at_work}

    def forget_waiting(self) -> None:
        """A frame was answered since, whatever waits."""
        self._stuck = {}

    def _bound(self, least: float, longest: float) -> float:
        """How long is too long where this was the longest so far. While nothing has ended yet: a large network's first frame takes minutes."""
        return max(least, TIMES * (longest or self.patience_s))

    def _signs(self, now: Look) -> Iterator[Finding]:
        """What is wrong, the worst first."""
        for stage, still in self._still.items():
            if still >= self.silence_s:
                yield Finding(Health.DEAD, f"{stage} gave no sign of life for {still:.0f} s: its process died, hangs, or gets no CPU")
        for stage, work in now.work.items():
            if work > self._bound(self.patience_s, now.longest.get(stage, 0.0)):
                yield Finding(Health.DEAD, f"{stage} hangs: {_at_work(now, stage)}")
        if now.faults >= FAULTS:
            yield Finding(Health.DOUBTFUL, f"{now.faults:.0f} requests in a row ended with a fault of the server")
        model, waited = max(self._doubted.items(), key=lambda item: item[1], default=("", 0.0))
        if waited and waited >= self.waits_at_most:
            yield Finding(Health.DOUBTFUL, _waiting(model, waited))
        stage, work = max(now.work.items(), key=lambda item: item[1], default=("", 0.0))
        if work > SLOW_S:
            yield Finding(Health.SLOW, _at_work(now, stage))
        model, waited = max(self._stuck.items(), key=lambda item: item[1], default=("", 0.0))
        if waited > SLOW_S:
            yield Finding(Health.SLOW, _waiting(model, waited))


def _waiting(model: str, waited: float) -> str:
    return f"requests wait for {model}, and no execution of it has ended for {waited:.0f} s"


def _at_work(now: Look, stage: str) -> str:
    longest = f"the longest so far took {now.longest[stage]:.1f} s" if now.longest.get(stage) else "none has ended so far"
    return f"an execution of {stage} has not got on for {now.work[stage]:.0f} s; {longest}"
