"""The streaming session of transformers, which the server is compared with."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("transformers")

import torch

from benchmarks.baseline.session import Session, Sessions
from benchmarks.steady import Setting
from tests.reference import transformers_models

pytestmark = pytest.mark.torch

SIDE, HEIGHT, WIDTH = 256, 40, 60


@pytest.fixture(scope="module")
def model():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # more gain little at this size, and wait for each other for long where the machine is busy
    yield transformers_models.made(f"sam2.1_t@{SIDE}").theirs
    torch.set_num_threads(threads)


def test_masks_have_the_size_of_the_video_and_every_frame_is_kept(model):
    session = Session(model, HEIGHT, WIDTH)
    frames = [session.pixels(frame) for frame in np.random.default_rng(0).integers(0, 256, (4, HEIGHT, WIDTH, 3), dtype=np.uint8)]
    masks = [session.track(frames[0], [(30, 20), (10, 10)])]
    held = [session.kept_bytes()]
    for frame in frames[1:]:
        masks.append(session.track(frame))
        held.append(session.kept_bytes())
    assert {mask.shape for mask in masks} == {(2, HEIGHT, WIDTH)}
    assert masks[0].dtype == bool
    least = 4 * (3 * SIDE * SIDE + 2 * SIDE * SIDE)  # the frame and two masks at its size, fp32
    assert np.diff(held).min() > least
    assert np.ptp(np.diff(held)[1:]) == 0  # after the first tracked frame each costs the same


def test_a_click_decides_what_is_tracked(model):
    frame = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    found = []
    for click in ((5, 5), (50, 30)):
        session = Session(model, HEIGHT, WIDTH)
        found.append(session.track(session.pixels(frame), [click]))
    assert (found[0] != found[1]).any()


def test_a_video_of_a_session_begins_with_a_click_on_every_object_and_goes_on_as_itself(model):
    sessions = Sessions.__new__(Sessions)
    sessions._model = model
    setting = Setting(2, HEIGHT, WIDTH)
    video = sessions.begin(setting)
    alone = Session(model, HEIGHT, WIDTH)
    alone.track(alone.pixels(setting.frames[0]), setting.clicks)
    assert (video.track() == alone.track(alone.pixels(setting.frames[1]))).all()
    assert video.kept_bytes() == alone.kept_bytes() > 0
    assert video.late() == {"session of transformers": [video]}
