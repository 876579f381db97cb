"""Recordings of what clients ask of a server in this process, and what they are explained to be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from masklet import Tracker, recording
from masklet.recording import Recording
from masklet_build.clips import make_clip
from masklet_build.explain import findings
from masklet_build.explain.explain import Question, explained
from masklet_build.explain.replay import found
from masklet_build.in_process import InProcess, Stages
from masklet_build.models.variants import served_name
from tests.explain.networks import small_network

NAME = "efficienttam_ti_512@64"
WEIGHTS = {"file": "random", "sha256": "0" * 64}
FRAMES = make_clip("test", 0, frames=12, height=48, width=64).frames


def played(
    folder: Path, play: Callable[[Tracker], None], name: str = NAME, *, stages: Stages | None = None, conditioning: int = 8, **said: str
) -> list[Recording]:
    """All of them below a folder, of what a function plays on a small network or on `stages`.

    conditioning  prompted frames that the server keeps
    said          what else it says of its engines
    """
    made, own = small_network(name)
    limits = {"max_conditioning": str(conditioning)}
    server = InProcess(made, stages or own, limits=limits, identity={"variant": served_name(made), **said})
    with Tracker("in this process", transport=server, record=folder) as tracker:
        play(tracker)
    return [recording.read(one) for one in recording.folders(folder)]


def recorded(folder: Path, play: Callable[[Any], None], name: str = NAME, *, state: bytes | None = None, **more: Any) -> list[Recording]:
    """The same, of one video."""

    def played_in_one(tracker: Tracker) -> None:
        with tracker.open(state=state) as video:
            play(video)

    return played(folder, played_in_one, name, **more)


def why(recordings: Sequence[Recording], object_id: int, frame: int, name: str = NAME, **more: Any) -> tuple[findings.Explanation, str]:
    """The explanation and its page, by the small network."""
    made, stages = small_network(name)
    question = Question(object_id, frame, **more)
    return explained(found(recordings, object_id, frame, question.video), question, made, stages, WEIGHTS, lambda line: None)


def click(video: Any, frames: Sequence[int] = range(12), **options: Any) -> None:
    """Object 1 from the first of the frames on."""
    video.prompt(1, points=[(20, 20)])
    for number in frames:
        video.track(FRAMES[number], frame_index=number, **options)
