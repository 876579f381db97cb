"""A selftest from its first call to its verdict: one screen for people, and selftest.json, beside the engines, for programs."""

from __future__ import annotations

import json
import math
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from masklet.contract import CONTRACT_VERSION
from masklet_build.check.clip_check import LEAST_IOU, MOST_LOST, ClipReport, check_clip
from masklet_build.check.engine_check import EngineReport, check_engines
from masklet_build.check.subject import Subject
from masklet_build.export.bars import BARS
from masklet_build.export.fixtures import fixtures as known
from masklet_build.quality import provenance

JSON = "selftest.json"
_TOLD = 8  # findings on the screen; the file has all
_NEXT = """Do not serve these engines. Make others, from fast to sure: masklet-build export with --attention bf16, --attention fp32 (hardly
ever fused), --precision bf16, --precision fp32; then masklet-build engine, and this test again. If fp32 fails,
too, report it (TensorRT: try another --level)."""


@dataclass(frozen=True)
class Report:
    """Everything that a selftest found."""

    subject: Subject
    engines: EngineReport
    clip: ClipReport

    @property
    def problems(self) -> list[str]:
        """What is wrong; nothing: the engines are right."""
        return [*self.engines.problems, *self.clip.problems]


def examine(subject: Subject, file: Path | None, progress: Callable[[str], None]) -> Report:
    """Tests engines. `file`: fixtures, if not those beside the engines. Raises FixturesError."""
    fixtures = known.find([file] if file else [subject.home], subject.variant.name, subject.checkpoint_sha256)
    engines = check_engines(subject.variant, subject.stages, fixtures, subject.table, subject.held_to, progress)
    for kernels, stages in subject.further.items():
        more = check_engines(subject.variant, stages, fixtures, subject.table, subject.held_to, progress, kernels)
        engines = replace(engines, checked=[*engines.checked, *more.checked])
    progress(f"tracking the clip, {len(fixtures.clip.frames)} frames")
    return Report(subject, engines, check_clip(subject.variant, subject.stages, fixtures, subject.held_to, subject.objects_per_call))


def write(report: Report) -> Path:
    """Writes selftest.json beside the engines. `files` in it: sha256 of what was tested, by which a server knows that the report is theirs."""
    subject = report.subject
    content = {
        "passed": not report.problems,
        "variant": subject.variant.name,
        "checkpoint_sha256": subject.checkpoint_sha256,
        "contract_version": CONTRACT_VERSION,
        "precision": subject.precision,
        "attention": subject.attention,
        "runtime": subject.runtime,
        "files": dict(subject.files),
        "bar": {"held_to": subject.held_to, **asdict(BARS[subject.held_to])},
        "calls": [asdict(call) for call in report.engines.checked],
        "unchecked_profiles": {engine: list(names) for engine, names in report.engines.unchecked.items()},
        "clip": {**asdict(report.clip), "problems": report.clip.problems},
        "machine": dict(subject.machine),
        "command": shlex.join(["masklet-build", *sys.argv[1:]]),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": provenance.commit(),
    }
    path = subject.home / JSON
    path.write_text(json.dumps(_plain(content), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return path


def _plain(value: Any) -> Any:
    """Numbers to four significant digits, and null where they are not finite, which JSON cannot say."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.4g}") if math.isfinite(value) else None
    return value


def text(report: Report) -> str:
    """One screen; its last paragraph is the verdict."""
    parts = [report.subject.told, _engines(report.engines), _clip(report.clip)]
    if problems := report.problems:
        rest = [f"  and {len(problems) - _TOLD} more, in {JSON}"] if len(problems) > _TOLD else []
        parts.append("\n".join(["wrong:", *(f"  {problem}" for problem in problems[:_TOLD]), *rest]))
    for engine, names in report.engines.unchecked.items():
        parts.append(f"not checked: {engine}, profiles {', '.join(names)}: the fixtures have nothing for them")
    if problems:
        parts.append(f"FAIL: {', '.join(report.engines.failed) or 'no engine by itself, but the masks of a whole clip'}. {_NEXT}")
    else:
        parts.append("PASS: every engine answers as the float32 network does, within the bars.")
    return "\n\n".join(parts)


def _engines(report: EngineReport) -> str:
    bar = BARS[report.precision]
    lines = [
        f"engines beside the float32 network; errors in units of the output, bars of {report.precision}: {bar.typical:g}, {bar.largest:g}",
        f"{'':18}{'calls':>7}{'typical':>10}{'largest':>10}  verdict",
    ]
    for engine in dict.fromkeys(call.engine for call in report.checked):
        of = [call for call in report.checked if call.engine == engine]
        figures = [one for call in of for one in call.figures.values()]
        typical, largest = (max((getattr(one, name) for one in figures), default=math.nan) for name in ("typical", "largest"))
        wrong = sum(call.problem is not None for call in of)
        lines.append(f"{engine:18}{len(of):>7}{typical:>10.2g}{largest:>10.2g}  {f'{wrong} WRONG' if wrong else 'right'}")
    return "\n".join(lines)


def _clip(clip: ClipReport) -> str:
    what = f"clip of {clip.frames} frames, {clip.objects} objects: "
    if clip.error:
        return what + "NOT TRACKED"
    return what + (
        f"mean IoU with float32's masks {clip.mean_iou:.4f} (bar {LEAST_IOU[clip.precision]}), least {clip.least_iou:.4f}; "
        f"presence wrong {clip.flips} times; J&F {clip.jf:.1f}, float32 {clip.jf_expected:.1f} (at most {MOST_LOST} less)"
    )
