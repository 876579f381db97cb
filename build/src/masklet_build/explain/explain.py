"""From a recording and a question to explain.html and explain.json."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from masklet import recording
from masklet.families import Variant
from masklet.recording import Recording
from masklet_build import nano
from masklet_build.checkpoints.loading import checkpoint_sha256, load_checkpoint
from masklet_build.explain import findings
from masklet_build.explain.evidence import evidence
from masklet_build.explain.page import page
from masklet_build.explain.replay import ExplainError, Found, found, replayed
from masklet_build.explain.timeline import timeline
from masklet_build.in_process import InProcess
from masklet_build.models import variants
from masklet_build.models.stages import TorchStages

_AGREES = 0.95  # IoU of masks that only rounding tells apart, and then some


@dataclass(frozen=True)
class Question:
    """What is asked. `video`: its id in the recording, None for the last one; `point`: x, y in pixels of the frame whose attention it is, None for
    the mask's."""

    object_id: int
    frame: int
    video: str | None = None
    point: tuple[float, float] | None = None


def explain(folder: Path, question: Question, checkpoint: Path | None, weights: str | None, out: Path, say: Callable[[str], None]) -> Path:
    """Writes explain.html and explain.json into `out`. Returns the path of the page. Raises ExplainError, CheckpointError, MaskletError, OSError."""
    chosen = found([recording.read(one) for one in recording.folders(folder)], question.object_id, question.frame, question.video)
    variant = recorded_variant(chosen.recording)
    if checkpoint is None:
        if variant.official:
            raise ExplainError(
                f"this was recorded with {variant.name}, and the package has weights of nano only. Name those that the server's engines were "
                "exported from, with --checkpoint."
            )
        checkpoint = nano.CHECKPOINT
    stages = TorchStages(load_checkpoint(checkpoint, variant, weights=weights, say=say), variant)
    used = {"file": checkpoint.name, "sha256": checkpoint_sha256(checkpoint, weights)}
    made, html = explained(chosen, question, variant, stages, used, say)
    out.mkdir(parents=True, exist_ok=True)
    (out / "explain.json").write_text(json.dumps(asdict(made), indent=1) + "\n", encoding="utf-8")
    (out / "explain.html").write_text(html, encoding="utf-8")
    return out / "explain.html"


def recorded_variant(read: Recording) -> Variant:
    """The variant that a recording was made with. Raises ExplainError."""
    try:
        return variants.variant(variants.commanded_name(read.identity["variant"], read.identity["image_size"]))
    except (KeyError, ValueError) as error:
        raise ExplainError(f"{read.folder} does not say which model the server had ({error}), so it cannot be replayed.") from error


def explained(
    chosen: Found, question: Question, variant: Variant, stages: TorchStages, weights: Mapping[str, str], say: Callable[[str], None]
) -> tuple[findings.Explanation, str]:
    """The explanation and its page. `weights`: file and sha256 of those in `stages`. Raises ExplainError."""
    said = chosen.recording.identity
    server = InProcess(variant, stages, 1, limits=_limits(said), identity=_identity(said))
    again = replayed(chosen.steps, question.object_id, question.frame, server, say)
    over_time = timeline(again.moments, question.object_id)
    figures = {moment.number: one for moment, one in over_time}
    frame = again.picture(question.frame)
    assert frame is not None
    answers, shown = [], []
    for moment, how in again.asked:
        made, one = evidence(how, stages, variant, (frame.shape[0], frame.shape[1]), question.point), figures[moment.number]
        assert one.replayed is not None
        answers.append(findings.Answer(moment.number, made.kind, made.told, made.attention, made.choice, one.recorded, one.replayed, one.agreement))
        shown.append((moment, made))
    moments = [one for _, one in over_time]
    explanation = findings.Explanation(
        object_id=question.object_id,
        frame=question.frame,
        video=chosen.steps[0].request.video_id,
        variant=variant.name,
        weights=weights,
        recorded=dict(said),
        warnings=_warnings(said, weights, answers, moments),
        answers=answers,
        moments=moments,
    )
    say("drawing the page")
    return explanation, page(explanation, shown, again)


def _limits(server: Mapping[str, Any]) -> dict[str, str]:
    """Those of the server by which a bank forgets, as parameters of its config."""
    names = {"prompted_frames": "max_conditioning", "objects": "max_objects", "points": "max_points"}
    return {ours: str(server["limits"][theirs]) for theirs, ours in names.items() if theirs in server.get("limits", {})}


def _identity(server: Mapping[str, Any]) -> dict[str, str]:
    """What snapshots of the server say of it."""
    return {name: str(server[name]) for name in ("variant", "checkpoint_sha256", "precision") if name in server}


def _warnings(
    server: Mapping[str, Any], weights: Mapping[str, str], answers: Sequence[findings.Answer], moments: Sequence[findings.Moment]
) -> list[str]:
    told = []
    theirs = server.get("checkpoint_sha256")
    if theirs and theirs != weights["sha256"]:
        told.append(f"The server had weights {theirs[:12]}, and this is a replay with {weights['sha256'][:12]} ({weights['file']}), another file.")
    if server.get("precision") not in (None, "", "fp32"):
        told.append(f"The server computed in {server['precision']}; this is a replay in float32.")
    known = [one.agreement for one in moments if one.agreement is not None]
    if not known:
        return [*told, "No masks were recorded, so it is not known whether the replay made the same ones."]
    here = [one.agreement for one in answers if one.agreement is not None]
    worst = min((one for one in moments if one.agreement is not None), key=lambda one: one.agreement or 0)
    agree = f"Replayed masks have an IoU of {fmean(known):.4f} with the recorded ones, {worst.agreement:.4f} at worst (frame {worst.frame})"
    if min([*here, fmean(known)]) < _AGREES:
        at = "".join(f", and {one:.4f} on this frame" for one in here)
        told.append(f"{agree}{at}: what follows explains the replay, and the server may have done something else.")
    return told
