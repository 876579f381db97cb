"""The report: one screen for people, selftest.json for programs, both beside the engines."""

from __future__ import annotations

import json
import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from masklet.contract import CONTRACT_VERSION
from masklet_build.check.clip_check import LEAST_IOU, MOST_LOST, ClipReport
from masklet_build.check.engine_check import EngineReport
from masklet_build.check.layers import remarks
from masklet_build.check.subject import Subject
from masklet_build.check.timing import Timed
from masklet_build.check.verdict import Verdict
from masklet_build.export.fixtures.bars import BARS
from masklet_build.quality import provenance

JSON, TEXT = "selftest.json", "selftest.md"
_TOLD = 8  # findings on the screen; the file has all


@dataclass(frozen=True)
class Report:
    """Everything that a selftest found. `not_run`: what was left out, in words."""

    subject: Subject
    engines: EngineReport
    clips: Sequence[ClipReport]
    timed: Sequence[Timed]
    frame_rates: Mapping[int, float]
    verdict: Verdict
    not_run: Sequence[str]

    @property
    def remarks(self) -> list[str]:
        """About attention; nothing for ONNX engines, whose runtime does not fuse."""
        subject = self.subject
        return remarks(subject.variant, subject.layers, subject.table, subject.attention)


def write(report: Report, folder: Path) -> None:
    """Writes selftest.json and selftest.md into `folder`."""
    (folder / JSON).write_text(json.dumps(_plain(content(report)), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    (folder / TEXT).write_text(f"# Selftest of {report.subject.variant.name}\n\n```\n{text(report)}\n```\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    """Numbers to four significant digits, and null where they are not finite, which JSON cannot say."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.4g}") if math.isfinite(value) else None
    return value


def content(report: Report) -> dict[str, Any]:
    """All that is known, ready for JSON. `files`: sha256 of the engines that were tested, by which a server knows that the report is theirs."""
    subject = report.subject
    return {
        "passed": report.verdict.passed,
        "verdict": asdict(report.verdict),
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
        "clips": [{**asdict(clip), "problems": clip.problems} for clip in report.clips],
        "layers": {engine: asdict(layers) for engine, layers in subject.layers.items()},
        "attention_remarks": report.remarks,
        "milliseconds": [asdict(one) for one in report.timed],
        "frames_per_second": {str(objects): rate for objects, rate in report.frame_rates.items()},
        "not_run": list(report.not_run),
        "machine": dict(subject.machine),
        "command": shlex.join(["masklet-build", *sys.argv[1:]]),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": provenance.commit(),
    }


def text(report: Report) -> str:
    """One screen."""
    parts = [report.subject.told, _engines(report.engines), *map(_clip, report.clips), *report.remarks]
    if report.timed:
        parts.append(_timing(report))
    problems = [*report.engines.problems, *(problem for clip in report.clips for problem in clip.problems)]
    if problems:
        parts.append("\n".join(["wrong:", *(f"  {problem}" for problem in problems[:_TOLD]), *_rest(problems)]))
    for engine, names in report.engines.unchecked.items():
        parts.append(f"not checked: {engine}, profiles {', '.join(names)}: the fixtures have nothing for them")
    parts += [f"not run: {what}" for what in report.not_run]
    return "\n\n".join([*parts, _verdict(report.verdict)])


def _rest(problems: Sequence[str]) -> list[str]:
    return [f"  and {len(problems) - _TOLD} more, in {JSON}"] if len(problems) > _TOLD else []


def _engines(report: EngineReport) -> str:
    bar = BARS[report.precision]
    lines = [
        f"engines beside the float32 network; errors in units of the output, bars of {report.precision}: {bar.typical:g} and {bar.largest:g}",
        f"{'':18}{'calls':>7}{'typical':>10}{'largest':>10}{'cosine':>9}  verdict",
    ]
    for engine in dict.fromkeys(call.engine for call in report.checked):
        of = [call for call in report.checked if call.engine == engine]
        figures = [one for call in of for one in call.figures.values()]
        wrong = sum(call.problem is not None for call in of)
        worst = "".join(
            (
                f"{max((one.typical for one in figures), default=float('nan')):>10.2g}",
                f"{max((one.largest for one in figures), default=float('nan')):>10.2g}",
                f"{min((one.cosine for one in figures), default=float('nan')):>9.4f}",
            )
        )
        lines.append(f"{engine:18}{len(of):>7}{worst}  {f'{wrong} WRONG' if wrong else 'right'}")
    return "\n".join(lines)


def _clip(clip: ClipReport) -> str:
    what = f"clip of {clip.frames} frames, {clip.objects} objects, {clip.variant}: "
    if clip.error:
        return what + "NOT TRACKED"
    return what + (
        f"mean IoU with float32's masks {clip.mean_iou:.4f} (bar {LEAST_IOU[clip.precision]}), least {clip.least_iou:.4f}; "
        f"presence wrong {clip.flips} times; J&F {clip.jf:.1f}, float32 {clip.jf_expected:.1f} (at most {MOST_LOST} less)"
    )


def _timing(report: Report) -> str:
    lines = [f"milliseconds {'on the GPU, without copies' if report.subject.layers else 'by the clock'}: half of all runs lie between fast and slow"]
    lines.append(f"{'':18}{'profile':20}{'V':>3}{'B':>3}{'F':>3}{'P':>4}{'N':>4}{'median':>10}{'fast':>9}{'slow':>9}")
    for one in report.timed:
        sizes = one.sizes
        counts = f"{sizes.V:>3}{sizes.B:>3}{sizes.F:>3}{sizes.P:>4}{sizes.N:>4}"
        lines.append(f"{one.engine:18}{one.profile:20}{counts}{one.median:>10.2f}{one.fast:>9.2f}{one.slow:>9.2f}")
    rates = ", ".join(f"{rate:.0f} with {objects}" for objects, rate in report.frame_rates.items())
    return "\n".join([*lines, f"frames per second that the engines alone allow, by objects of one video: {rates}"])


def _verdict(verdict: Verdict) -> str:
    lines = [verdict.said, *(f"  {command}" for command in verdict.commands)]
    if verdict.later:
        lines += ["If that fails, too:", *(f"  {step}" for step in verdict.later)]
    return "\n".join(lines)
