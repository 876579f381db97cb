"""Small components of masks are cleaned by the official rule, at the official moment: not before and not after."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest

from masklet.families import EFFICIENTTAM, SAM3, VARIANTS
from masklet_bank.arrays import HOST
from masklet_bank.cleaning import Cleaner
from tests.fakes.bank_driver import VARIANT, Client, RecordingStages, click, mask, on_host, service
from tests.fakes.cleaned import cleaned, components

HOLES, BOTH = EFFICIENTTAM.cleaning, SAM3.cleaning
RULES = {"holes": HOLES, "holes and sprinkles": BOTH, "of one pixel": replace(BOTH, area=1)}


def test_the_families_do_what_their_official_code_does():
    """The builders of all but SAM 3 fill holes of 8 pixels (build_sam.py:129), its video model of 16, and removes as small sprinkles."""
    rules = {name: (made.family.cleaning.area, made.family.cleaning.sprinkles) for name, made in VARIANTS.items()}
    assert rules == {name: (16, True) if name.startswith("sam3") else (8, False) for name in VARIANTS}


def picture(text: str) -> np.ndarray:
    """Logits: 2 at "#", 0 at "0", -3 elsewhere."""
    return np.array([[{"#": 2, "0": 0}.get(sign, -3) for sign in line] for line in text.split()], np.float32)


def show(low: np.ndarray) -> list[str]:
    """As `picture`, with "+" where a logit is 0.1 and "-" where it is -0.1."""
    signs = {2.0: "#", -3.0: ".", 0.0: "0", float(np.float32(0.1)): "+", float(np.float32(-0.1)): "-"}
    return ["".join(signs[value] for value in row) for row in low.tolist()]


EMPTY = ".......... .......... .........."


@pytest.mark.parametrize(
    ("given", "holes", "both"),
    [
        pytest.param("##### #...# #.0.# ##### ####.", "##### #+++# #+++# ##### ####+", None, id="zero is no mask, a corner a hole"),
        pytest.param("###### #..... ###### ......", "###### #+++++ ###### ++++++", None, id="a hole at the edge"),
        pytest.param("########## #........# ##########", "########## #++++++++# ##########", None, id="eight pixels"),
        pytest.param("########### #.........# ###########", "########### #.........# ###########", None, id="nine"),
        pytest.param("####### #....## #....## #####.#", "####### #....## #....## #####.#", None, id="nine by a corner"),
        pytest.param(".......... .#......## ........##", None, ".......... .-......## ........##", id="a sprinkle"),
        pytest.param(".......... .##....##. ..........", None, ".......... .--....--. ..........", id="two halves"),
        pytest.param(".......... .##....### ..........", None, ".......... .--....### ..........", id="more than half"),
        pytest.param(".......... .##....... ..........", None, ".......... .##....... ..........", id="all there is"),
        pytest.param("##### #.#.# #...# ##### .....", None, "##### #+#+# #+++# ##### +++++", id="a part of a hole's shape"),
        pytest.param(EMPTY, EMPTY, EMPTY, id="no mask"),
    ],
)
def test_masks_drawn_by_hand(given, holes, both):
    for rule, expected in ((HOLES, holes), (BOTH, both)):
        if expected is not None:
            assert show(Cleaner(rule, HOST)(picture(given))) == expected.split()


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("seed", range(60))
def test_any_mask_is_as_flood_fill_makes_it(name, seed):
    rule, rng = RULES[name], np.random.default_rng(seed)
    side, coarse = int(rng.integers(1, 28)), int(rng.integers(1, 4))
    low = np.kron(rng.normal(rng.normal(0, 1), 1, (side, side)), np.ones((coarse, coarse))).astype(np.float32)
    low[: int(rng.integers(0, side))] = -9  # part of the picture is empty
    low[rng.random(low.shape) < 0.02] = 0
    before = low.copy()
    made = Cleaner(rule, HOST)(low)
    assert made.dtype == np.float32
    np.testing.assert_array_equal(made, cleaned(low, rule.area, sprinkles=rule.sprinkles))
    np.testing.assert_array_equal(low, before)


@pytest.mark.parametrize("gap", [1, 7, 8, 9, 10, 16, 17, 18, 30])
@pytest.mark.parametrize("name", RULES)
def test_what_lies_beside_a_mask_is_counted_whole_however_far_it_goes_on(name, gap):
    """Strips between the mask and the edges, one pixel wide and `gap` long: only what is near the mask is looked at."""
    rule = RULES[name]
    for turn in range(4):
        low = np.full((gap + 3, 4), -3, np.float32)
        low[-3:] = low[:, 1:3] = 2
        low = np.rot90(low, turn).copy()
        np.testing.assert_array_equal(Cleaner(rule, HOST)(low), cleaned(low, rule.area, sprinkles=rule.sprinkles))
        row = np.full((1, gap + 3), -3, np.float32)
        row[0, :2] = 2
        row = np.rot90(row, turn).copy()
        np.testing.assert_array_equal(Cleaner(rule, HOST)(row), cleaned(row, rule.area, sprinkles=rule.sprinkles))


def test_where_nothing_is_small_the_logits_are_the_very_same_array():
    low = picture("##### #.### #.... .....")
    assert Cleaner(replace(HOLES, area=1), HOST)(low) is low
    assert len(components(low <= 0)) == 1


def test_without_scipy_the_server_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(ModuleNotFoundError, match=r"--postprocess official-cuda, which needs scipy.* Install scipy there, or assemble without"):
        service(RecordingStages(), cleans=True)
    service(RecordingStages())  # which needs none


SIDE = VARIANT.low_size
HOLED = np.full((SIDE, SIDE), -5, np.float32)
HOLED[:6, :6] = 5
HOLED[2, 2:4] = -1
FILLED = np.where(HOLED == -1, np.float32(0.1), HOLED)
SPRINKLED = HOLED.copy()
SPRINKLED[7, 7] = 4
CLEAN = FILLED.copy()
CLEAN[7, 7] = -0.1


class Holed(RecordingStages):
    """Every mask has a hole and a sprinkle, a user's too."""

    def mask_prompt(self, inputs):
        out = super().mask_prompt(inputs)
        return out | {"LOW": np.broadcast_to(SPRINKLED, out["LOW"].shape).copy()}

    def mask_decoder(self, inputs):
        out = super().mask_decoder(inputs)
        return out | {"LOW": np.broadcast_to(SPRINKLED, out["LOW"].shape).copy()}


FILLED[7, 7] = HOLED[7, 7] = 4  # of families that leave sprinkles
CASES = {
    # variant, cleans: answers of prompted frames, of tracked frames; what memories of both are made of
    "off": (VARIANT, False, HOLED, HOLED, HOLED, HOLED),
    "as most": (VARIANT, True, FILLED, FILLED, FILLED, HOLED),
    "as the video model of SAM 3": (replace(VARIANT, family=replace(VARIANT.family, cleaning=BOTH)), True, HOLED, CLEAN, HOLED, CLEAN),
}


@pytest.fixture(params=CASES)
def case(request):
    variant, cleans, *expected = CASES[request.param]
    stages = Holed()
    return (stages, Client(service(stages, variant=variant, cleans=cleans)), *expected)


def encoded(stages: Holed) -> np.ndarray:
    """What the newest memory was made of."""
    return stages.named("memory_encoder")[-1]["LOW"]


def seen(stages: Holed) -> np.ndarray:
    """The mask that the newest prompt saw."""
    return stages.named("mask_decoder")[-1]["MASK_PROMPT"][0, 0]


@pytest.mark.parametrize("prompt", [click(1, (10, 20)), mask(1), click(1, (1, 1), (9, 9), labels=[2, 3])], ids=["click", "mask", "box"])
def test_a_prompted_frame_is_cleaned_before_its_memory_is_made_or_not_at_all(case, prompt):
    stages, client, prompted, _, of_prompted, _ = case
    np.testing.assert_array_equal(client.send(prompt)["LOW"], [prompted])
    np.testing.assert_array_equal(encoded(stages), [of_prompted])
    held = client.service.videos.find(client.video).objects[1]
    np.testing.assert_array_equal(on_host(held.conditioning[0].result.low), prompted)


def test_a_tracked_frame_is_cleaned_as_it_is_shown_and_stays_so(case):
    stages, client, _, tracked, _, of_tracked = case
    client.send(click(1, (10, 20)))
    for _ in range(2):
        np.testing.assert_array_equal(client.send()["LOW"], [tracked])
        np.testing.assert_array_equal(encoded(stages), [of_tracked])
    repeated = client.send(click(2, (5, 5)), refine=True, number=client.sent - 1)
    np.testing.assert_array_equal(repeated["LOW"][0], tracked)


def test_a_correction_sees_the_mask_that_is_shown_and_is_a_prompted_frame(case):
    stages, client, prompted, tracked, of_prompted, _ = case
    client.send(click(1, (10, 20)))
    client.send(click(1, (11, 20)), refine=True, number=0)
    np.testing.assert_array_equal(seen(stages), prompted)
    client.send()
    np.testing.assert_array_equal(client.send(click(1, (12, 20)), refine=True, number=1)["LOW"], [prompted])
    np.testing.assert_array_equal(seen(stages), tracked)
    np.testing.assert_array_equal(encoded(stages), [of_prompted])


def test_objects_of_one_execution_are_cleaned_each_by_itself(case):
    _, client, prompted, *_ = case
    answer = client.send(*[click(number, (number, 20)) for number in range(11)])
    np.testing.assert_array_equal(answer["LOW"], [prompted] * 11)


def test_a_mask_that_is_not_finite_fails_its_frame_also_where_masks_are_cleaned():
    stages = Holed()
    client = Client(service(stages, cleans=True))
    client.send(click(1, (10, 20)))
    spoilt = np.where(SPRINKLED == 5, np.float32(np.nan), SPRINKLED)
    stages.mask_decoder = lambda inputs: RecordingStages.mask_decoder(stages, inputs) | {"LOW": spoilt[None].copy()}
    with pytest.raises(Exception, match="not finite: LOW"):
        client.send()
    with pytest.raises(Exception, match="not finite: LOW"):
        client.send(click(1, (9, 9)))
