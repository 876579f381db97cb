"""Processes that stand still for a second and more: no video gets the answer of another, and resilient ones go on with the same bits."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.stalls import LONGEST_S, SHORTEST_S, VIDEOS, WHOLE, run

pytestmark = [pytest.mark.server, pytest.mark.engines]

SEED = 3
FIRST = ("preprocess_0_0", "image_encoder_0_0", "memory_bank_0_0", "postprocess_0_0", WHOLE)


@pytest.mark.parametrize("only", [FIRST, pytest.param((), marks=pytest.mark.slow)], ids=["of a process of each kind", "of all"])
def test_after_a_stall_every_answer_is_that_of_the_video_alone(only: tuple[str, ...], serving_python: Path, tmp_path: Path) -> None:
    rounds = run(tmp_path, each=1, seed=SEED, only=only, python=serving_python)
    stopped = [one.target for one in rounds]
    assert set(FIRST) <= set(stopped)
    assert len(stopped) == len(FIRST) if only else len(stopped) > len(FIRST)  # preprocess and postprocess run twice
    assert all(SHORTEST_S <= one.stopped_s <= LONGEST_S for one in rounds)
    assert [one.wrong for one in rounds if one.wrong] == []
    assert [one.errors for one in rounds if one.errors] == []
    assert all(one.answered == one.frames > VIDEOS for one in rounds)
    assert all(len(one.still_s) == len(one.causes) and min(one.still_s, default=1) > 0 for one in rounds)
