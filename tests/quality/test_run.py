"""Every clip, every prompt, every method: what is asked of a tracker, and what becomes of its answers."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest

from masklet_build.quality.agreement import Agreement
from masklet_build.quality.datasets import DrawnClips
from masklet_build.quality.methods import METHODS, Answer, prompts
from masklet_build.quality.run import Evaluation, Progress, Series, plan, score_server
from masklet_build.quality.scores import mean, presence, returns
from tests.quality.made_clip import MadeClip, squares
from tests.quality.oracle import Oracle

DATASET = DrawnClips(count=4, frames=9, side=40)


def evaluated(oracles: dict[str, Oracle], tasks: list[tuple[str, str]]) -> tuple[Evaluation, list[str]]:
    """One server after the other, by precision; and the lines that were said."""
    result, lines = Evaluation(), []
    progress = Progress(sum(DATASET.lengths) * len(tasks) * len(oracles), lines.append)
    for precision, oracle in oracles.items():
        score_server(oracle.tracker(), precision, DATASET, tasks, result, progress)
    return result, lines


def clips() -> Iterator[object]:
    return (DATASET.clip(index) for index in range(4))


def test_a_tracker_that_knows_the_truth_scores_1() -> None:
    tasks = plan(["point", "box", "mask"], controls=True)
    result, _ = evaluated({"fp32": Oracle(clips())}, tasks)
    assert [(series.method, series.prompt) for series in result.scores] == [("frozen", ""), *tasks]
    for series, scored in result.scores.items():
        assert len(scored) == 4
        if series.method != "frozen":
            assert mean(scored)[:2] == (1, 1)
            assert presence(scored).precision == presence(scored).recall == 1
            assert returns(scored).total == returns(scored).found
        else:
            assert mean(scored).jf < 0.8


def test_controls_see_what_a_video_forgets() -> None:
    """This tracker is right on the first two frames that a video sees, which are all that the controls ever show it of one."""
    clip = MadeClip(squares([[4, 5, 6, 7, 8], [4, 5, 6, 7, 8]]))
    oracle = Oracle([clip], spoil=lambda masks, seen: masks if seen < 2 else masks & False)

    def right(method: str) -> list[bool]:
        answers = METHODS[method](oracle.tracker(), clip, "point")
        return [np.array_equal(answer.masks, clip.masks[index]) for index, answer in enumerate(answers)]

    assert right("tracked") == [True, True, False, False, False]
    assert right("no memory") == [True] * 5
    assert right("prompted frame only") == [True] * 5


def test_no_memory_prompts_a_video_of_its_own_on_every_frame() -> None:
    clip = MadeClip(squares([[4, 5, 6]]))
    oracle = Oracle([clip])
    list(METHODS["no memory"](oracle.tracker(), clip, "box"))
    starts = [request for request in oracle.transport.requests if request.start]
    assert len({request.video_id for request in starts}) == len(starts) == 3
    assert [json.loads(request.tensors["PROMPTS"][0, 0])[0]["box"] for request in starts] == [[0, 0, 4, 4]] * 3
    assert oracle.videos == {}, "every video was ended"


def test_prompted_frame_only_goes_on_from_frame_0_every_time() -> None:
    clip = MadeClip(squares([[4, 5, 6, 7]]))
    oracle = Oracle([clip])
    list(METHODS["prompted frame only"](oracle.tracker(), clip, "mask"))
    requests = oracle.transport.requests
    assert [request.tensors["STATE"][0].tolist() for request in requests if "STATE" in request.tensors] == [[1, 1]] * 3
    tracked = [request.parameters for request in requests if "FRAME" in request.tensors]
    assert [parameters.get("frame_index") for parameters in tracked] == [None, 1, 2, 3]
    assert sum("mask" in item for request in requests for item in json.loads(request.tensors["PROMPTS"][0, 0])) == 1
    assert oracle.videos == {}, "every video was ended"


@pytest.mark.parametrize("method", METHODS)
def test_masks_that_overlap_are_scored_without_overlap_and_kept_as_they_came(method: str) -> None:
    clip = MadeClip(squares([[4, 5, 6], [4, 5, 6]]))
    for answer in METHODS[method](Oracle([clip], lambda masks, seen: masks | True).tracker(), clip, "point"):
        assert (answer.masks.sum(axis=0).max(), answer.masks.any(axis=0).all(), answer.raw.all()) == (1, True, True)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("point", {"points": [(5, 2)]}), ("box", {"box": (3, 1, 8, 4)}), ("mask", {"mask": None})],
)
def test_objects_are_prompted_by_what_is_true_on_frame_0(kind: str, expected: dict[str, object]) -> None:
    masks = np.zeros((2, 1, 9, 12), np.bool_)
    masks[0, 0, 1:4, 3:8] = True
    clip = MadeClip(masks)
    made = prompts(kind, clip)
    assert list(made) == [1]
    if kind == "mask":
        assert np.array_equal(made[1]["mask"], masks[0, 0])
    else:
        assert made[1] == expected


def test_a_mask_has_no_control_without_memory_since_that_is_the_baseline() -> None:
    assert ("no memory", "mask") not in plan(["point", "mask"], controls=True)
    assert ("prompted frame only", "mask") in plan(["point", "mask"], controls=True)
    assert plan(["box"], controls=False) == [("tracked", "box")]


def test_a_second_server_is_compared_with_the_first() -> None:
    """The second one loses the lower half of every mask."""

    def upper(masks: np.ndarray, seen: int) -> np.ndarray:
        return masks & (np.arange(masks.shape[1]) < masks.shape[1] // 2)[:, None]

    result, lines = evaluated({"fp32": Oracle(clips()), "bf16": Oracle(clips(), upper)}, [("tracked", "box")])
    assert set(result.scores) == {Series("frozen", "", ""), Series("tracked", "box", "fp32"), Series("tracked", "box", "bf16")}
    assert len(result.scores[Series("frozen", "", "")]) == 4, "the baseline is scored once"
    lost = result.scores[Series("tracked", "box", "bf16")]
    assert mean(result.scores[Series("tracked", "box", "fp32")]).j == 1
    assert mean(lost).j < 0.9
    assert result.agreement.mean_iou()["bf16", "box"] == pytest.approx(np.mean(np.concatenate([scored.similarity[:, 1:].ravel() for scored in lost])))
    assert len(lines) == 8
    assert lines[3].startswith("fp32, clip 4 of 4: 03-return, J&F (mean so far) frozen 0.")
    assert "box 1.000 (1.000)" in lines[3]
    assert lines[7].endswith("0 s left")
    baseline = [line.split("frozen ")[1].split(",")[0] for line in lines]
    assert baseline[:4] == baseline[4:], "the baseline of the same clip, and of the clips up to it, stands beside each"
    assert baseline[0] != baseline[1]


def test_agreement_counts_empty_masks_as_equal_and_leaves_the_prompted_frame_out() -> None:
    first, second = squares([[4, 4, 4, 0, 0]]), squares([[0, 4, 4, 0, 4]])
    agreement = Agreement()
    list(agreement.kept("clip", "box", [Answer(masks, masks, np.ones(1, np.float32)) for masks in first]))
    list(agreement.compared("bf16", "clip", "box", [Answer(masks & False, masks, np.ones(1, np.float32)) for masks in second]))
    assert agreement.mean_iou() == {("bf16", "box"): 0.75}
