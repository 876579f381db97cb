"""Golden scenarios through a real server, over gRPC, as a table of figures."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from masklet import families
from masklet.tracker import Tracker
from masklet_build.checkpoints.random_weights import save_official
from masklet_build.export.onnx_export import CHECKED_SIZES, export
from masklet_build.export.programs import export_programs
from masklet_build.models import variants
from masklet_build.repository.assemble import assemble
from masklet_build.serve import Server
from tests.golden import rebuilt, scenarios
from tests.golden.compare import EARLY, LATE, Comparison, Difference
from tests.golden.replay import Planner, play
from tests.golden.scenarios import GoldenError, Scenario


@dataclass(frozen=True)
class Report:
    """What a scenario gave. `left_out`: reason -> number of records that no live video can reproduce."""

    scenario: str
    comparison: Comparison
    left_out: Counter[str]


def verify(
    variant_name: str,
    folder: Path,
    names: Iterable[str] = (),
    *,
    runtime: str = "openvino",
    precision: str = "fp32",
    python: str | None = None,
    progress: Callable[[str], None] = print,
) -> list[Report]:
    """Rebuilds the checkpoint of a golden folder, exports, assembles and serves it, and replays scenarios (all of them by default).

    Raises GoldenError and whatever the steps raise. Needs torch.
    """
    variant = variants.variant(variant_name)
    loaded = [scenarios.load(folder, name) for name in names or scenarios.scenarios(folder)]
    if not loaded:
        raise GoldenError(f"{folder} has no expected_<scenario>.npz.")
    _check_selection(variant, loaded)
    with tempfile.TemporaryDirectory(prefix="masklet-verify-") as scratch:
        engines = export_golden(variant, folder, loaded[0], Path(scratch), progress, programs=runtime == "torch")
        repository = assemble(variant.name, engines, Path(scratch) / "repository", runtime=runtime, precision=precision)
        progress("starting the server")
        with Server(repository, python=python, grpc_port=0, http_port=0, metrics_port=0) as server:
            return [replay(server.grpc_url, scenario, progress) for scenario in loaded]


def _check_selection(variant: families.Variant, scenarios: Iterable[Scenario]) -> None:
    selects = variant.family.selection is not None
    for scenario in scenarios:
        if scenario.meta.get("memory_selection", False) != selects:
            how = "without memory selection, which {} has" if selects else "with memory selection, which {} lacks"
            raise GoldenError(f"{scenario.name} was recorded {how.format(variant.name)}. Name scenarios and a variant that go together.")


def export_golden(
    variant: families.Variant, folder: Path, scenario: Scenario, scratch: Path, progress: Callable[[str], None], *, programs: bool = False
) -> Path:
    """Engines of the folder's weights, or programs for PyTorch. Raises GoldenError if they, or the size of images, are not the recorded ones."""
    if (side := scenario.meta["image_size"]) != variant.image_size:
        base = variant.name.partition("@")[0]
        raise GoldenError(f"{scenario.name} was recorded with images of {side} pixels, {variant.name} takes {variant.image_size}. Try {base}@{side}.")
    progress("rebuilding the checkpoint")
    state = rebuilt.rebuild(folder)
    if (found := rebuilt.weights_sha256(state)) != scenario.meta["weights_sha256"]:
        raise GoldenError(f"the rebuilt weights have sha256 {found}, recorded is {scenario.meta['weights_sha256']}. Has numpy changed its generator?")
    checkpoint = scratch / "checkpoint.pt"
    save_official(state, checkpoint)
    del state  # up to a gigabyte, and the export needs several times as much
    made = export_programs if programs else export
    made(variant, checkpoint, scratch / "engines", sizes=CHECKED_SIZES[:1], progress=progress)  # the replay itself is the check
    return scratch / "engines"


def replay(url: str, scenario: Scenario, progress: Callable[[str], None] = lambda line: None, timeout_s: float = 120, *, at_least: int = 1) -> Report:
    """Replays one scenario through a running server. at_least: tracked records with the object present, or it is not within."""
    planner = Planner(scenario)
    comparison = Comparison(at_least)
    for number, requests in enumerate(planner.plays, 1):
        progress(f"replaying {scenario.name}: video {number} of {len(planner.plays)}, {len(requests)} requests")
        with Tracker(url, timeout_s=timeout_s) as tracker:
            comparison.add(scenario, play(tracker, scenario, requests))
    return Report(scenario.name, comparison, Counter(planner.left_out.values()))


def table(reports: Iterable[Report]) -> str:
    """The reports as text."""
    lines = [
        f"bars: early IoU >= {EARLY.iou}, median < {EARLY.median}, maximum < {EARLY.maximum}; "
        f"late IoU >= {LATE.iou}, median < {LATE.median}, maximum < {LATE.maximum}",
        f"{'scenario':<10}{'frames':<12}{'records':>8}{'tracked':>9}{'present':>9}{'IoU min':>10}{'median':>9}{'maximum':>9}{'flips':>7}  verdict",
    ]
    for report in reports:
        compared = report.comparison.differences
        early, late = ([item for item in compared if item.bar is bar] for bar in (EARLY, LATE))
        flips = len(report.comparison.flipped)
        lines.append(_row(report.scenario, "early", early, f"{flips:>7}  {'within' if report.comparison.within else 'OUTSIDE'}"))
        if late:
            lines.append(_row("", "late", late, ""))
        lines += [f"    outside: {item}" for item in report.comparison.failures]
        if report.comparison.present < report.comparison.at_least:
            found = f"{report.comparison.present} tracked records have the object present"
            lines.append(f"    too few: {found}, wanted are {report.comparison.at_least}; empty masks prove little")
        lines += [f"    no answer for {key}" for key in report.comparison.missing]
        if report.comparison.skipped:
            lines.append(f"    left out: {report.comparison.skipped} records of an object after a near tie")
        lines += [f"    left out: {count} records: {reason}" for reason, count in report.left_out.items()]
    return "\n".join(lines)


def _row(scenario: str, bar: str, items: list[Difference], rest: str) -> str:
    """Records compared, those of tracked frames, those of them with the object present, and the worst of all."""
    tracked, present = sum(item.kind == "track" for item in items), sum(item.tracked for item in items)
    span = f" {min(item.frame for item in items)}-{max(item.frame for item in items)}" if items else ""
    counts = f"{scenario:<10}{bar + span:<12}{len(items):>8}{tracked:>9}{present:>9}"
    if not items:
        return f"{counts}{'':>28}{rest}"
    worst = min(item.iou for item in items), max(item.median for item in items), max(item.maximum for item in items)
    return f"{counts}{worst[0]:>10.4f}{worst[1]:>9.4f}{worst[2]:>9.4f}{rest}"
