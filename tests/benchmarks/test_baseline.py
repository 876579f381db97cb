"""What the server is compared with goes on as it should, in the precision that is asked for, and is compared only where masks are the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from benchmarks import speed
from benchmarks.baseline import baseline, plain
from benchmarks.comparisons import Result
from benchmarks.steady import Setting
from benchmarks.triton_times import PHASES, Counts
from masklet.contract import TIMING_FIELDS
from masklet.families import NANO, variant
from masklet_build import nano

pytestmark = pytest.mark.torch

SETTING = Setting(2, 48, 64)
STAGES = ["embed", "attend", "decode", "memory"]


@pytest.fixture(autouse=True)
def compiled(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What was given to torch.compile, which leaves it as it is here: compiling takes a minute."""
    seen: list[str] = []
    monkeypatch.setattr(plain.torch, "compile", lambda stage, dynamic: seen.append(stage.__name__) or stage)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield seen
    torch.set_num_threads(threads)


def test_every_stage_is_compiled_and_twins_go_on_from_the_same_memory(compiled: list[str]) -> None:
    video = baseline(NANO, nano.CHECKPOINT, "fp32").begin(SETTING)
    assert compiled == STAGES
    first = video.track()
    assert (first.shape, first.dtype) == ((2, 48, 64), bool)
    late = video.late(videos=3)
    assert {way: len(videos) for way, videos in late.items()} == {"eager PyTorch": 3, "torch.compile": 3}
    frame = [next(video._frames)]
    for twin in [twin for twins in late.values() for twin in twins]:
        twin._frames = iter(frame)
    eager, other = late["eager PyTorch"][0].track(), late["torch.compile"][2].track()
    assert eager.any()
    assert (eager == other).all()


def test_bf16_is_autocast_within_a_block_only() -> None:
    video = baseline(NANO, nano.CHECKPOINT, "bf16").begin(SETTING)
    with video.block():
        assert torch.is_autocast_enabled("cpu")
        assert video.late()["eager PyTorch"][0].track().any()
    assert not torch.is_autocast_enabled("cpu")


def test_a_family_without_a_way_in_pytorch_is_named() -> None:
    with pytest.raises(ValueError, match="edgetam: PyTorch has no way here"):
        baseline(variant("edgetam"), nano.CHECKPOINT, "fp32")


class Masks:
    """A video that has these masks in every frame."""

    def __init__(self, *masks: np.ndarray) -> None:
        self._masks = np.array(masks)

    def track(self) -> np.ndarray:
        return self._masks

    def block(self) -> nullcontext[None]:
        return nullcontext()


def test_speed_is_compared_only_where_masks_are_the_same_and_there_are_some() -> None:
    whole, nothing = np.ones((10, 20), bool), np.zeros((10, 20), bool)
    most = whole.copy()
    most[0, :3] = False  # 197 of 200
    assert speed.same_masks(Masks(whole, nothing), Masks(whole, nothing)) == 1.0
    for ours, theirs in ((whole, most), (whole, nothing), (nothing, nothing)):
        with pytest.raises(SystemExit, match="means nothing"):
            speed.same_masks(Masks(ours), Masks(theirs))


class Answer:
    """Every stage took 3 ms."""

    timing = dict.fromkeys(TIMING_FIELDS, 3.0)


class Video:
    """Answers at once."""

    def track(self, frame: object) -> Answer:
        return Answer()


def test_hops_are_what_a_frame_takes_besides_engines_resizing_and_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame of 50 ms: three engines, preprocess and postprocess of 3 ms each, and by Triton's count 20 ms in the image encoder's model."""
    clock = iter(0.05 * number for number in range(100))
    monkeypatch.setattr(speed.time, "perf_counter", lambda: next(clock))
    looks = iter([Counts(0, 0, dict.fromkeys(PHASES, 0.0)), Counts(4, 4, dict.fromkeys(PHASES, 80.0))])
    monkeypatch.setattr(speed, "read", lambda client: {"image_encoder": next(looks)})
    served, result = speed.Served.__new__(speed.Served), Result("fp32", 1, {"server": []})
    served._video, served._client, served._frames = Video(), None, iter(range(10))
    served.block(4, result)
    assert result.ways["server"] == [pytest.approx([50.0] * 3)], "the first frame of a block is not counted"
    assert result.hops == [pytest.approx(50.0 - 5 * 3.0 - 20.0)]
