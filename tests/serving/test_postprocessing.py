"""What is done to masks besides what the network does, where it is asked for: that, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as grpc

from masklet import BadState, TrackedFrame, Tracker, Video
from masklet_build.quality import report
from masklet_build.quality.run import Evaluation
from masklet_build.quality.served import running
from masklet_build.serve import Server
from tests.fakes.cleaned import cleaned
from tests.serving.small import VARIANT, Serve

pytestmark = [pytest.mark.server, pytest.mark.torch]

FRAMES, SIZE, AREA = 9, (72, 96), 8
RNG = np.random.default_rng(5)
CLIP = [RNG.integers(0, 256, (*SIZE, 3), np.uint8) for _ in range(FRAMES)]
RING = np.zeros(SIZE, bool)  # a mask with a hole that is small at the size of the logits, where a pixel is 4.5 x 6 of these
RING[10:60, 12:84] = True
RING[28:36, 36:48] = False
WHOLE = RING.copy()
WHOLE[28:36, 36:48] = True


@pytest.fixture(scope="module")
def cleaning_server(serve_small: Serve) -> Iterator[Server]:
    with serve_small({}, postprocess="official-cuda") as server:
        yield server


@pytest.fixture
def cleaning(cleaning_server: Server) -> Iterator[Tracker]:
    with Tracker(cleaning_server.grpc_url) as tracker:
        yield tracker


CLICKS = [{"points": [(x, y)]} for x in (8, 28, 48, 68, 88) for y in (8, 22, 36, 50, 64)]


def played(tracker: Tracker, *prompts: dict[str, Any]) -> list[TrackedFrame]:
    """Results of the clip with an object for each of these prompts on its first frame."""
    with tracker.open() as video:
        for number, prompt in enumerate(prompts):
            video.prompt(number, **prompt)
        return [video.track(frame, logits=True) for frame in CLIP]


def lows(results: list[TrackedFrame]) -> np.ndarray:
    """Logits (frames, objects, L, L)."""
    return np.stack([result.logits for result in results])


def expected(lows: np.ndarray) -> np.ndarray:
    """Any number of logits, as the rule makes them."""
    return np.array([cleaned(low, AREA, sprinkles=False) for low in lows.reshape(-1, *lows.shape[-2:])]).reshape(lows.shape)


def test_masks_are_filled_and_memories_of_prompted_frames_are_and_those_of_tracked_frames_are_not(tracker: Tracker, cleaning: Tracker) -> None:
    """An object whose prompted mask has no hole is remembered by both servers alike, to the last bit: one's masks are the other's, filled."""
    plain, filled = (lows(played(one, *CLICKS)) for one in (tracker, cleaning))
    whole = (expected(plain[0]) == plain[0]).all(axis=(1, 2))
    np.testing.assert_array_equal(filled[:, whole], expected(plain[:, whole]))
    np.testing.assert_array_equal(filled[0], expected(plain[0]))
    assert (filled[1:, ~whole] != expected(plain[1:, ~whole])).any(), "where the prompted mask had a hole, something else is remembered"
    holes = (filled != plain).any(axis=(2, 3))
    assert holes[1:-1, whole].sum() >= 5, "this network's masks have holes in frames that later ones remember"


def test_a_users_mask_is_filled_as_any_other(tracker: Tracker, cleaning: Tracker) -> None:
    plain, filled = (lows(played(one, {"mask": RING})) for one in (tracker, cleaning))
    np.testing.assert_array_equal(filled[0], expected(plain[0]))
    assert (filled[0] != plain[0]).any()


def test_masks_and_boxes_are_made_of_the_filled_logits(cleaning: Tracker) -> None:
    with cleaning.open() as video:
        video.prompt(0, mask=RING)
        result = video.track(CLIP[0], logits=True)
    np.testing.assert_array_equal(expected(result.logits), result.logits)
    assert result.masks[0][28:36, 36:48].all()


def same(one: TrackedFrame, other: TrackedFrame) -> bool:
    arrays = ("logits", "masks", "boxes", "scores", "ious")
    return one.object_ids == other.object_ids and all(np.array_equal(getattr(one, name), getattr(other, name)) for name in arrays)


def test_a_moved_video_and_videos_in_company_are_the_same_to_the_last_bit(cleaning: Tracker) -> None:
    alone = played(cleaning, {"mask": RING})
    with ThreadPoolExecutor(4) as pool:
        for together in pool.map(lambda _: played(cleaning, {"mask": RING}), range(4)):
            assert all(map(same, alone, together))
    with cleaning.open() as video:
        video.prompt(0, mask=RING)
        state = [video.track(frame, snapshot=True) for frame in CLIP[:4]][-1].snapshot
    with cleaning.open(state=state) as moved:
        assert all(same(one, moved.track(frame, logits=True)) for one, frame in zip(alone[4:], CLIP[4:], strict=True))


def test_a_snapshot_does_not_move_between_a_server_that_does_it_and_one_that_does_not(tracker: Tracker, cleaning: Tracker) -> None:
    both = (cleaning, tracker, "'official-cuda', this server has None"), (tracker, cleaning, "None, this server has 'official-cuda'")
    for source, target, says in both:
        with source.open() as video:
            video.prompt(0, mask=RING)
            state = video.track(CLIP[0], snapshot=True).snapshot
        with pytest.raises(BadState, match=says):
            target.open(state=state)


def test_the_servers_config_says_it(small_server: Server, cleaning_server: Server) -> None:
    said = []
    for server in (small_server, cleaning_server):
        with grpc.InferenceServerClient(server.grpc_url) as client:
            said.append(client.get_model_config("memory_bank").config.parameters["postprocess"].string_value)
    assert said == ["none", "official-cuda"]


def test_an_evaluation_says_it(small_server: Server, cleaning_server: Server) -> None:
    for server, said in ((small_server, "none"), (cleaning_server, "official-cuda")):
        with running(server.grpc_url, VARIANT) as served:
            made = report.content(Evaluation(served=[served]), "no clips")
        assert (made["postprocess"], f"Postprocess {said}." in report.markdown(made)) == (said, True)


def prompted(video: Video) -> Video:
    """Three objects that overlap."""
    video.prompt(7, mask=WHOLE)
    video.prompt(2, box=(20, 10, 90, 60))
    video.prompt(4, points=[(40, 30)])
    return video


@pytest.mark.parametrize("resilient", [False, True])
def test_exclusive_masks_share_no_pixel_and_nothing_else_is_changed(tracker: Tracker, resilient: bool) -> None:
    with tracker.open() as video, tracker.open(resilient=resilient) as other:
        prompted(video), prompted(other)
        shared = 0
        for number, frame in enumerate(CLIP):
            overlap = "allowed" if number == 4 else "exclusive"
            allowed = video.track(frame, logits=True, snapshot=True)
            exclusive = other.track(frame, logits=True, snapshot=True, overlap=overlap)
            assert exclusive.object_ids == allowed.object_ids == (7, 2, 4)
            for name in ("logits", "scores", "ious"):
                np.testing.assert_array_equal(getattr(exclusive, name), getattr(allowed, name))
            assert exclusive.snapshot == allowed.snapshot
            if number == 4:
                np.testing.assert_array_equal(exclusive.masks, allowed.masks)
                continue
            assert (exclusive.masks.sum(axis=0) == allowed.masks.any(axis=0)).all()
            assert not (exclusive.masks & ~allowed.masks).any()
            shared += (allowed.masks.sum(axis=0) > 1).sum()
            for mask, box in zip(exclusive.masks, exclusive.boxes, strict=True):
                rows, columns = np.nonzero(mask)
                assert tuple(box) == ((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) if mask.any() else (0, 0, 0, 0))
        assert shared > 100, "the objects overlapped"


def test_every_frame_of_many_is_exclusive_and_so_is_one_that_comes_as_a_file(tracker: Tracker, tmp_path: Path) -> None:
    from PIL import Image

    file = tmp_path / "frame.png"
    Image.fromarray(CLIP[0]).save(file)
    with tracker.open() as video:
        for result in prompted(video).track_many([file.read_bytes(), *CLIP[1:]], overlap="exclusive"):
            assert result.masks.sum(axis=0).max() == 1
