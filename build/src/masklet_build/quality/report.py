"""The report of an evaluation: as JSON for programs, and as tables for people."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from masklet_build.quality import provenance
from masklet_build.quality.methods import FROZEN, TRACKED
from masklet_build.quality.run import Evaluation
from masklet_build.quality.scores import LEAST_ABSENCE, ClipScores, Mean, mean, presence, returns, subset_means

_PACKAGES = ("masklet-build", "numpy", "pillow", "tritonclient")
_COLUMNS = ("method", "prompt", "precision")

Row = dict[str, Any]


def content(evaluation: Evaluation, description: str) -> dict[str, Any]:
    """All that is known, ready for JSON. `description`: of the dataset."""
    rows = [{**series._asdict(), **_figures(clips)} for series, clips in evaluation.scores.items()]
    served = evaluation.served[0]
    return {
        "variant": served.variant,
        "checkpoint_sha256": served.checkpoint_sha256,
        "postprocess": served.postprocess,
        "dataset": description,
        "rows": rows,
        "agreement": [
            _agreement(rows, prompt, iou, [served.precision, precision]) for (precision, prompt), iou in evaluation.agreement.mean_iou().items()
        ],
        "command": shlex.join(["masklet-build", *sys.argv[1:]]),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": provenance.commit(),
        "machine": provenance.machine_facts(),
        "versions": provenance.versions(_PACKAGES),
    }


def write(out: Path, made: dict[str, Any]) -> None:
    """Writes quality.json and quality.md into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "quality.json").write_text(json.dumps(provenance.rounded(made), indent=1) + "\n", encoding="utf-8")
    (out / "quality.md").write_text(markdown(made), encoding="utf-8")


def markdown(made: dict[str, Any]) -> str:
    """Everything but the scores of single objects."""
    machine = made["machine"]
    parts = [
        f"# Quality of {made['variant']}",
        f"{made['dataset']}. J, F and J&F as DAVIS defines them: means over objects, first and last frame of each clip left out.",
        summary(made),
        "J&F clip by clip:",
        _table(*_clip_table(made["rows"])),
        f"{machine['cpu']}, {machine['cores']} cores, {machine['ram_gib']} GiB. "
        + ", ".join(f"{name} {version}" for name, version in made["versions"].items())
        + f". Checkpoint sha256 {made['checkpoint_sha256'][:16]}. Postprocess {made['postprocess']}.",
        f"`{made['command']}`, {made['date']}, commit {made['commit']}.",
    ]
    return "\n\n".join(parts) + "\n"


def summary(made: dict[str, Any]) -> str:
    """The tables that answer most questions."""
    subsets = sorted({name for row in made["rows"] for name in row["subsets"]})
    parts = [_table([*_COLUMNS, "J&F", "J", "F", "objects", *(f"J&F {name}" for name in subsets)], [_mean_row(row, subsets) for row in made["rows"]])]
    tracked = [row for row in made["rows"] if row["method"] == TRACKED]
    if any(row["presence"]["true"] for row in tracked):
        parts += [
            "Objects that are away (an empty true mask): how often saying so was right, how often it was noticed, and how many of those that came "
            f"back after {LEAST_ABSENCE} frames or more were found again.",
            _table(
                ["prompt", "precision", "precision of away", "recall of away", "absent object-frames", "came back", "found again"],
                [_presence_row(row) for row in tracked],
            ),
        ]
    if made["agreement"]:
        parts += [
            "The same clips in another precision. IoU is that of the two servers' masks, over all objects and tracked frames.",
            _table(["prompt", "mean IoU", "J&F", "J&F", "points lost"], [_agreement_row(item) for item in made["agreement"]]),
        ]
    return "\n\n".join(parts)


def _figures(clips: Sequence[ClipScores]) -> Row:
    away, back = presence(clips), returns(clips)
    return {
        **_mean(mean(clips)),
        "subsets": {name: _mean(value) for name, value in subset_means(clips).items()},
        "presence": {**away._asdict(), "precision": away.precision, "recall": away.recall},
        "returns": {**back._asdict(), "rate": back.rate},
        "clips": [{"name": clip.name, "subsets": sorted(clip.subsets), **_mean(mean([clip])), "each": _objects(clip)} for clip in clips],
    }


def _mean(value: Mean) -> Row:
    return {"JF": value.jf, "J": value.j, "F": value.f, "objects": value.objects}


def _objects(clip: ClipScores) -> list[Row]:
    return [{"object": object_id, "J": float(j), "F": float(f)} for object_id, j, f in zip(clip.object_ids, *clip.objects(), strict=True)]


def _agreement(rows: Sequence[Row], prompt: str, iou: float, precisions: Sequence[str]) -> Row:
    scored = {row["precision"]: row["JF"] for row in rows if (row["method"], row["prompt"]) == (TRACKED, prompt)}
    before, after = precisions
    lost = 100 * (scored[before] - scored[after])
    return {"prompt": prompt, "mask_iou": iou, "JF": {name: scored[name] for name in precisions}, "points_lost": lost}


def _mean_row(row: Row, subsets: Sequence[str]) -> list[str]:
    figures = [f"{row[name]:.3f}" for name in ("JF", "J", "F")]
    return [*_names(row), *figures, str(row["objects"]), *(_optional(row["subsets"].get(name, {}).get("JF")) for name in subsets)]


def _names(row: Row) -> list[str]:
    return [row[name] or "-" for name in _COLUMNS]


def _presence_row(row: Row) -> list[str]:
    away, back = row["presence"], row["returns"]
    again = f"{back['found']} ({back['rate']:.0%})" if back["total"] else "-"
    return [row["prompt"], row["precision"], _optional(away["precision"]), _optional(away["recall"]), str(away["true"]), str(back["total"]), again]


def _agreement_row(item: Row) -> list[str]:
    return [item["prompt"], f"{item['mask_iou']:.4f}", *(f"{name} {value:.4f}" for name, value in item["JF"].items()), f"{item['points_lost']:+.2f}"]


def _clip_table(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    shown = [row for row in rows if row["method"] in (TRACKED, FROZEN)]
    head = ["clip", "subsets", "objects", *(f"{row['prompt'] or row['method']} {row['precision']}".strip() for row in shown)]
    body = [
        [clips[0]["name"], ", ".join(clips[0]["subsets"]) or "-", str(clips[0]["objects"]), *(f"{clip['JF']:.3f}" for clip in clips)]
        for clips in zip(*(row["clips"] for row in shown), strict=True)
    ]
    return head, body


def _optional(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Markdown that can also be read as text: columns have equal widths."""
    widths = [max(len(line[column]) for line in [head, *body]) for column in range(len(head))]
    lines = [head, ["-" * width for width in widths], *body]
    return "\n".join("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines)
