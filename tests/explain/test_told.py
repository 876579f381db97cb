"""What is told: the page, its numbers, warnings, and why something cannot be explained."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, fields, is_dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from masklet import Tracker
from masklet.recording import Recording
from masklet_build.checkpoints.random_weights import random_checkpoint
from masklet_build.explain.explain import recorded_variant
from masklet_build.explain.replay import ExplainError, ranges
from masklet_build.models.stages import TorchStages
from masklet_build.models.variants import variant
from tests.explain.recordings import NAME, click, played, recorded, why

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def eleven(tmp_path_factory: pytest.TempPathFactory) -> list[Recording]:
    return recorded(tmp_path_factory.mktemp("eleven"), click)


def test_other_weights_are_told_with_the_agreement_of_masks(tmp_path: Path) -> None:
    made = variant(NAME)
    other = TorchStages(random_checkpoint(made, seed=2), made)
    recording = recorded(tmp_path, lambda video: click(video, range(4)), stages=other, checkpoint_sha256="f" * 64, precision="bf16")
    weights, precision, masks = why(recording, 1, 3)[0].warnings
    assert weights == "The server had weights ffffffffffff, and this is a replay with 000000000000 (random), another file."
    assert precision == "The server computed in bf16; this is a replay in float32."
    found = why(recording, 1, 3)[0]
    worst = min(one.agreement for one in found.moments if one.agreement is not None)
    assert f"{worst:.4f} at worst" in masks
    assert f"and {found.answers[0].agreement:.4f} on this frame" in masks


def test_without_recorded_masks_the_replay_has_its_own(tmp_path: Path) -> None:
    found, page = why(recorded(tmp_path, lambda video: click(video, range(3), masks="none")), 1, 2)
    (answer,) = found.answers
    assert (answer.recorded.area, answer.agreement) == (None, None)
    assert answer.replayed.area
    assert found.warnings == ["No masks were recorded, so it is not known whether the replay made the same ones."]
    assert "outline of the recorded one" not in page


def test_of_several_videos_the_last_is_meant_or_the_one_that_is_named(tmp_path: Path) -> None:
    def play(tracker: Tracker) -> None:
        for name, frames in (("one", 4), ("other", 3), ("last", 1)):
            with tracker.open(name) as video:
                click(video, range(frames))

    recordings = played(tmp_path, play)
    assert why(recordings, 1, 2)[0].video == "other"
    assert why(recordings, 1, 2, video="one")[0].video == "one"
    with pytest.raises(ExplainError, match=r"no video 'none'\. Its videos: one, other, last\."):
        why(recordings, 1, 2, video="none")


@pytest.mark.parametrize(
    ("object_id", "frame", "told"),
    [(7, 3, r"object 7 is in no answer of the recording\. Its objects: 1\."), (1, 12, r"no answer on frame 12\. It has them on frames 0 to 11\.")],
)
def test_what_is_not_there_is_answered_with_what_is(eleven: list[Recording], object_id: int, frame: int, told: str) -> None:
    with pytest.raises(ExplainError, match=told):
        why(eleven, object_id, frame)


def test_a_recording_of_an_unknown_model_is_refused() -> None:
    with pytest.raises(ExplainError, match=r"cut does not say which model the server had \('image_size'\)"):
        recorded_variant(Recording(Path("cut"), {"variant": "nano"}, []))


def test_ranges_are_told_as_people_say_them() -> None:
    assert ranges([5, 0, 1, 2, 9, 8, 2]) == "0 to 2, 5, 8 to 9"


class Tags(HTMLParser):
    """Open tags, and what pictures show."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("img", "meta", "br"):
            self.open.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_needs_nothing_beside_it(eleven: list[Recording]) -> None:
    found, page = why(eleven, 1, 9)
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert len(tags.sources) == 1 + 7 + 4, "the frame, the memories, the candidates"
    assert all(source.startswith("data:image/jpeg;base64,") for source in tags.sources)
    for one in found.answers[0].attention.memories:
        assert f"<b>{one.share:.1%}</b> frame {one.frame} (" in page


def values(made: Any) -> Iterator[Any]:
    if is_dataclass(made):
        for field in fields(made):
            yield from values(getattr(made, field.name))
    elif isinstance(made, list | tuple):
        for one in made:
            yield from values(one)
    else:
        yield made


def test_the_numbers_are_plain_json(eleven: list[Recording]) -> None:
    found, _ = why(eleven, 1, 9)
    assert {type(one) for one in values(found)} == {int, float, str, bool, dict, type(None)}, "no numpy"
    assert json.loads(json.dumps(asdict(found)))["answers"][0]["attention"]["memories"][0]["frame"] == 0
