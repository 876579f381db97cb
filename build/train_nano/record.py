"""What a training reports: a line per so many steps in metrics.jsonl, and curves."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from train_nano.episode import Outcome

METRICS, CURVES = "metrics.jsonl", "curves.png"

PANELS = {
    "loss": ("loss", "focal", "dice", "iou", "presence", "identity"),
    "IoU by prompt": ("iou_point", "iou_box", "iou_mask"),
    "away: precision and recall": ("away_precision", "away_recall"),
}


class Record:
    """Collects outcomes and writes means of them. A line has "kind": "training" or "validation"."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self._sums: defaultdict[str, float] = defaultdict(float)
        self._counts: Counter[str] = Counter()

    def step(self, outcome: Outcome, prompt: str) -> None:
        """One step's outcome."""
        for name, value in outcome.terms.items():
            self._add(name, float(value.detach()))
        self._add("loss", float(outcome.total.detach()))
        ious = torch.stack([row.nanmean() for row in outcome.ious])
        self._add(f"iou_{prompt}", float(ious.nanmean()))
        both, away, claimed = outcome.away
        self._add("away_recall", both, away)
        self._add("away_precision", both, claimed)

    def _add(self, name: str, value: float, count: int = 1) -> None:
        self._sums[name] += value
        self._counts[name] += count

    def log(self, **facts: float) -> str:
        """Writes the means since the last call beside `facts`, and returns them in words."""
        means = {name: round(self._sums[name] / count, 4) for name, count in self._counts.items() if count}
        self._sums.clear()
        self._counts.clear()
        self._write({"kind": "training", **facts, **means})
        return ", ".join(f"{name} {value:.3f}" for name, value in means.items())

    def validation(self, **facts: float) -> None:
        """Writes the figures of a validation."""
        self._write({"kind": "validation", **facts})

    def _write(self, line: dict[str, Any]) -> None:
        with (self.out / METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def cut(self, step: int) -> None:
        """Drops lines of steps after `step`: they are about to be done again."""
        if (self.out / METRICS).exists():
            kept = [line for line in read_metrics(self.out) if line["step"] <= step]
            (self.out / METRICS).write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")

    def plot(self) -> None:
        """Draws loss, IoU and presence over time into curves.png."""
        from matplotlib.figure import Figure

        lines = read_metrics(self.out)
        figure = Figure(figsize=(12, 4), layout="constrained")
        for axes, (title, names) in zip(figure.subplots(1, len(PANELS)), PANELS.items(), strict=True):
            for label, style, minutes, values in _curves(lines, names):
                axes.plot(minutes, values, style, label=label, linewidth=1, markersize=3)
            axes.set(title=title, xlabel="minutes")
            axes.grid(alpha=0.3)
            if axes.lines:
                axes.legend(fontsize=7)
        figure.savefig(self.out / CURVES, dpi=110)


def _curves(lines: list[dict[str, Any]], names: tuple[str, ...]) -> Iterator[tuple[str, str, list[float], list[float]]]:
    """Label, style, minutes and values of every curve that has a point."""
    for name in names:
        for kind, style in (("training", "-"), ("validation", "o--")):
            found = [line for line in lines if line["kind"] == kind and name in line]
            if found:
                yield f"{name}, {kind}", style, [line["seconds"] / 60 for line in found], [line[name] for line in found]


def read_metrics(out: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl; none where there is no such file. A last line that was cut off in the writing is left out."""
    path = out / METRICS
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
