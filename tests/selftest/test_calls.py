"""Calls that are put together from rows."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from masklet.contract import Model, engines
from masklet.families import NANO
from masklet_build.check.calls import Call, calls, compose
from masklet_build.export.fixtures.fixtures import Fixtures
from masklet_build.export.profiles import Limits, Profile, choose, profiles
from masklet_build.models.samples import Sizes

Table = dict[str, tuple[Profile, ...]]
TABLE = profiles(NANO, Limits.of(NANO, videos=5, objects=7))
WIDE = profiles(NANO, Limits.of(NANO, videos=5, objects=7), wide=True)
MODELS = {model.name: model for model in engines(NANO)}


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> Model:
    return MODELS[request.param]


@pytest.fixture(params=[TABLE, WIDE], ids=["narrow", "wide"])
def table(request: pytest.FixtureRequest) -> Table:
    return request.param


def all_calls(shipped: Fixtures, model: Model, table: Table = TABLE) -> list[Call]:
    return list(calls(shipped, model, table[model.name]))


def test_calls_are_named_after_the_profile_that_a_runtime_takes(shipped: Fixtures, model: Model, table: Table) -> None:
    rows = table[model.name]
    for call in all_calls(shipped, model, table):
        assert rows[choose(rows, {name: array.shape for name, array in call.inputs.items()})].name == call.profile


def test_the_smallest_the_tuned_and_the_largest_batch_are_called(shipped: Fixtures, model: Model, table: Table) -> None:
    symbol = "V" if model.batched else "B"
    for profile in table[model.name]:
        found = {getattr(call.sizes, symbol) for call in all_calls(shipped, model, table) if call.profile == profile.name}
        assert found == set(profile.sizes[symbol])


def test_the_largest_batch_is_called_with_many_videos_and_with_one(shipped: Fixtures, model: Model, table: Table) -> None:
    for profile in table[model.name]:
        if "B" in profile.sizes and "V" in profile.sizes:
            videos = {
                call.sizes.V for call in all_calls(shipped, model, table) if call.profile == profile.name and profile.sizes["B"].max == call.sizes.B
            }
            assert {profile.sizes["V"].min, profile.sizes["V"].max} <= videos, profile.name


def test_inputs_are_those_of_the_rows(shipped: Fixtures, model: Model, table: Table) -> None:
    for call in all_calls(shipped, model, table):
        for index, row in enumerate(call.rows):
            assert all(np.array_equal(call.inputs[name][index], array) for name, array in row.inputs.items())
            if "VIDEO" in call.inputs:
                assert row.frame is not None
                video = call.inputs["VIDEO"][index]
                assert np.array_equal(call.inputs["EMBEDDING"][video], shipped.frames[row.frame]["EMBEDDING"])


def test_each_profile_of_several_rows_is_called_with_rows_that_differ_from_their_neighbours(shipped: Fixtures, model: Model, table: Table) -> None:
    """So that an engine which mixes them up is seen."""
    for profile in table[model.name]:
        batches = [call for call in all_calls(shipped, model, table) if call.profile == profile.name and len(call.rows) > 1]
        if profile.sizes["V" if model.batched else "B"].max > 1:
            assert any(all(one is not other for one, other in pairwise(call.rows)) for call in batches), profile.name


def test_objects_of_one_video_differ_where_most_calls_are(shipped: Fixtures) -> None:
    calls_ = [call for call in all_calls(shipped, MODELS["memory_attention"]) if call.profile == "steady b5-7" and _one_video(call)]
    assert calls_
    assert all(one is not other for call in calls_ for one, other in pairwise(call.rows))


def _one_video(call: Call) -> bool:
    return "VIDEO" in call.inputs and call.sizes.V == 1


def test_more_videos_than_stored_frames_are_all_used(shipped: Fixtures) -> None:
    rows = [row for row in shipped.of("memory_attention") if (row.sizes.F, row.sizes.P) == (7, 16)]
    call = compose(shipped, MODELS["memory_attention"], "any", Sizes(V=4, B=8, F=7, P=16), rows)
    assert set(call.inputs["VIDEO"].tolist()) == {0, 1, 2, 3}
    assert len(call.inputs["EMBEDDING"]) == 4


def test_several_objects_of_one_video_share_its_features(shipped: Fixtures) -> None:
    single = [call for call in all_calls(shipped, MODELS["memory_attention"]) if _one_video(call) and call.sizes.B > 1]
    assert single
    assert all(set(call.inputs["VIDEO"].tolist()) == {0} for call in single)
