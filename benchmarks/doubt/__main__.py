"""Does it show in an answer that its object is lost, and does more than the predicted IoU show it?

nano tracks drawn clips with true masks, in this process. On some of them logistic regressions learn to tell lost objects from what each answer
gives: predicted IoU, presence score, stability of the mask under a shifted threshold, agreement of the candidate masks, jumps since the frame before.
On others they are judged, beside the predicted IoU alone.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import RESULTS
from benchmarks.doubt import models
from benchmarks.doubt.collect import rows
from benchmarks.doubt.signs import Rows
from benchmarks.report import facts, save, table

BOUNDS = (0.5, 0.3)
FLAGS = (0.3, 0.5, 0.7, 0.8, 0.9)
MAIN = (models.JUDGED, models.GIVEN)


def within(value: float, ends: Sequence[float], sign: str = "") -> str:
    """A value and its interval."""
    return f"{value:{sign}.3f} ({ends[0]:{sign}.3f} to {ends[1]:{sign}.3f})"


def count(test: Rows, bound: float) -> str:
    """How much there is to find."""
    wrong = models.lost(test, bound)
    objects = {*zip(test["clip"][wrong].tolist(), test["object"][wrong].tolist(), strict=True)}
    clips, absent = len({clip for clip, _ in objects}), int((wrong & (test["truth"] == 0)).sum())
    share = f"{int(wrong.sum()):,} of {len(wrong):,} object-frames are lost"
    return f"{share} ({absent} of them masks of an absent object), of {len(objects)} objects in {clips} clips."


def study(calibration: Rows, test: Rows) -> dict[str, Any]:
    """All figures, for JSON."""
    judged = []
    rows_of = [models.populations(one) for one in (calibration, test)]
    for bound in BOUNDS:
        for name in rows_of[0]:
            train, held = (models.chosen(one, of[name]) for one, of in zip((calibration, test), rows_of, strict=True))
            asked = tuple(models.COMBINED) if bound == BOUNDS[0] and name in MAIN else models.KEY
            found = models.judged(train, held, bound, asked)
            judged.append({"bound": bound, "rows": name, "count": count(held, bound), "values": {key: one._asdict() for key, one in found.items()}})
    foretold = models.foretold(models.chosen(calibration, rows_of[0][models.JUDGED]), test, BOUNDS[0], models.KEY)
    given = models.chosen(test, rows_of[1][models.GIVEN])
    return {
        "judged": judged,
        "foretold": {name: [one._asdict() for one in each] for name, each in foretold.items()},
        "losses": len(models.losses(test, BOUNDS[0])[0][0]),
        "flagged": {bound: {at: models.flagged(given, bound, at) for at in FLAGS} for bound in BOUNDS},
        "sure_and_lost": models.sure_and_lost(test, BOUNDS[0], 0.5),
        "agreement": float(np.mean(given["agreement"])),
        "mean_j": {int(clip): float(np.mean(test["j"][test["clip"] == clip])) for clip in np.unique(test["clip"])},
    }


def comparison(part: Mapping[str, Any]) -> list[str]:
    """The table of one bound on one kind of rows."""
    lines = [
        (
            *(name, within(one["auc"], one["within"]), "" if name == models.PLAIN else within(one["ahead"], one["ahead_within"], "+")),
            *(f"{value:.3f}" for value in one["precision"]),
        )
        for name, one in part["values"].items()
    ]
    heads = ("value", "AUC (95 %)", "ahead of predicted IoU (95 %)", *(f"precision at recall {recall}" for recall in models.RECALLS))
    return [f"Lost: IoU below {part['bound']}. Rows: {part['rows']}. {part['count']}", "", *table(heads, lines)]


def verdict(judged: Sequence[Mapping[str, Any]], name: str) -> str:
    """Whether a combination is ahead of the predicted IoU by more than chance explains in both main tables."""
    lows = [part["values"][name]["ahead_within"][0] for part in judged if part["bound"] == BOUNDS[0] and part["rows"] in MAIN]
    return f"* {name}: {'ahead' if min(lows) > 0 else 'not ahead'} of the predicted IoU by more than chance explains in both tables."


def markdown(content: Mapping[str, Any]) -> list[str]:
    """The report."""
    sure = content["sure_and_lost"]
    main, further = ([part for part in content["judged"] if (part["bound"] == BOUNDS[0] and part["rows"] in MAIN) == kind] for kind in (True, False))
    return [
        "# Does it show that an object is lost?",
        "",
        f"nano (fp32, PyTorch); {content['calibration_clips']} drawn validation clips to calibrate, {content['test_clips']} test clips to judge, "
        f"{content['frames']} frames each; stories and kinds of prompt (click, box, mask) take turns. AUC: area under the ROC curve. "
        f"Intervals: 95 % of {models.RESAMPLES:,} resamples over whole test clips; differences are paired.",
        "",
        *(line for part in main for line in comparison(part)),
        *(verdict(content["judged"], name) for name in (models.SERVED, models.ALL)),
        "",
        "## Other bounds and rows",
        "",
        *(line for part in further for line in comparison(part)),
        "## Before the loss",
        "",
        f"The {content['losses']} losses (IoU below {BOUNDS[0]}) after {models.FREE_FRAMES} right frames or more, against right frames with "
        f"{models.FREE_FRAMES} right ones behind them. AUC (95 %), and how far ahead of predicted IoU; by frames before the loss, 0: its first.",
        "",
        *table(("value", *range(models.FREE_FRAMES)), ((name, *map(foretelling, each)) for name, each in content["foretold"].items())),
        "Precision at recall 0.5:",
        "",
        *table(
            ("value", *range(models.FREE_FRAMES)),
            ((name, *(f"{one['precision'][0]:.3f}" for one in each)) for name, each in content["foretold"].items()),
        ),
        "## A bound on the predicted IoU",
        "",
        "Of object-frames with a mask: the share of lost ones that is flagged, the share flagged, the share of flagged ones that is lost (95 %).",
        "",
        *(line for bound in BOUNDS for line in flag_table(bound, content["flagged"][bound])),
        f"Of {sum(sure):,} lost masks (IoU below {BOUNDS[0]}) with a predicted IoU of 0.5 or more, {sum(sure[:8]) / max(sum(sure), 1):.2f} "
        f"are of eight of the {len(sure)} objects. Three candidate masks agree with each other to a mean IoU of {content['agreement']:.3f}.",
        "",
    ]


def foretelling(one: Mapping[str, Any]) -> str:
    """A cell of the table of losses to come."""
    return within(one["auc"], one["within"]) + (f"; {within(one['ahead'], one['ahead_within'], '+')}" if one["ahead"] else "")


def flag_table(bound: float, found: Mapping[float, Mapping[str, Any]]) -> list[str]:
    """What bounds on the predicted IoU catch of what is lost."""
    heads = (f"lost: IoU below {bound}", "caught", "flagged", "right")
    return table(heads, ((f"predicted IoU below {at}", *(within(*one) for one in each.values())) for at, each in found.items()))


def main() -> int:
    """Runs the study. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.doubt", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calibrate", type=int, default=20, metavar="N", help="validation clips (default: %(default)s)")
    parser.add_argument("--test", type=int, default=60, metavar="N", help="test clips (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=48, metavar="N", help="of each clip (default: %(default)s)")
    parser.add_argument("--rows", type=Path, metavar="DIR", help="keeps what was tracked, by clip, and takes what is there (default: keeps nothing)")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="DIR", help="for doubt.json and doubt.md (default: benchmarks/results)")
    args = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="masklet-doubt-") as scratch:
        folder = args.rows or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        calibration = rows("validation", args.calibrate, args.frames, folder, print)
        test = rows("test", args.test, args.frames, folder, print)
    content = {
        "calibration_clips": args.calibrate,
        "test_clips": args.test,
        "frames": args.frames,
        **study(calibration, test),
        **facts(load, threads=1),
    }
    save(args.out, "doubt", content, markdown(content))
    return 0


if __name__ == "__main__":
    sys.exit(main())
