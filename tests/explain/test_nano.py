"""The model in the package on a drawn clip, recorded with its engines and explained with its weights."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

from masklet import Tracker, recording
from masklet.families import NANO
from masklet_build import nano
from masklet_build.check.subject import OnnxStages, engine_files
from masklet_build.checkpoints.loading import checkpoint_sha256, load_checkpoint
from masklet_build.clips import inner_point, make_clip
from masklet_build.explain.explain import Question, explained
from masklet_build.explain.replay import found
from masklet_build.in_process import InProcess
from masklet_build.models.stages import TorchStages

pytestmark = [pytest.mark.torch, pytest.mark.engines]


def test_a_tracked_object_looks_at_itself(tmp_path: Path) -> None:
    """In the newest memory and in the prompted one, attention is strongest on the object; and engines and network agree."""
    clip = make_clip("test", 3, frames=8, story="roam", objects=2)
    sha256 = checkpoint_sha256(nano.CHECKPOINT)
    said = {"precision": "fp32", "checkpoint_sha256": sha256}
    server = InProcess(NANO, OnnxStages(engine_files(nano.ENGINES, NANO)), identity=said)
    with Tracker("in this process", transport=server, record=tmp_path) as tracker, tracker.open() as video:
        for index in range(2):
            video.prompt(index + 1, points=[inner_point(clip.masks[0, index])])
        for frame in clip.frames:
            video.track(frame)
    stages = TorchStages(load_checkpoint(nano.CHECKPOINT, NANO), NANO)
    chosen = found([recording.read(tmp_path)], 1, 7, None)
    for object_id, point in ((1, None), (2, None), (2, inner_point(clip.masks[7, 1]))):
        question = Question(object_id, 7, point=point)
        made, _ = explained(chosen, question, NANO, stages, {"file": "nano", "sha256": sha256}, lambda line: None)
        assert made.warnings == []
        assert min(one.agreement for one in made.moments if one.agreement is not None) > 0.99
        (answer,) = made.answers
        assert answer.attention is not None
        for one in (answer.attention.memories[0], answer.attention.memories[-1]):
            x, y = one.peak
            assert clip.masks[one.frame, object_id - 1, int(y), int(x)], f"object {object_id} looked beside itself on frame {one.frame}"
