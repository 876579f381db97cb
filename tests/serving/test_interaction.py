"""What an application does with a video, through the client and a whole server."""

from __future__ import annotations

import asyncio
import io
import json
import math
import time
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from masklet import AsyncTracker, TrackedFrame, Tracker, Video, errors, rle
from masklet.contract import TIMING_FIELDS
from masklet.mask_bytes import separated
from masklet_build.serve import Server
from tests.golden.compare import iou
from tests.serving.agreement import all_equal, assert_close, equal, only
from tests.serving.clips import clip, encoded
from tests.serving.small import Serve
from tests.serving.wire import Wire

pytestmark = [pytest.mark.server, pytest.mark.torch]

FRAMES = clip(14, seed=3)
IDLE_S = 15  # after which the limited server forgets a video; longer than a machine stands still
POINT = {"points": [(20, 15)], "labels": [1]}
OTHER_POINT = {"points": [(50, 40)], "labels": [0]}
BOX = {"box": (10, 8, 40, 40)}
DISC = np.hypot(*np.mgrid[-24:24, -32:32]) < 15


def run(video: Video, frames: list[np.ndarray], **options: object) -> list[TrackedFrame]:
    return [video.track(frame, logits=True, **options) for frame in frames]


def prompt_three(video: Video) -> None:
    video.prompt(7, **POINT)
    video.prompt(2, **BOX)
    video.prompt(5, mask=DISC)


def test_objects_come_from_points_boxes_and_masks_in_prompt_order(tracker: Tracker) -> None:
    with tracker.open() as video:
        prompt_three(video)
        first, *rest = run(video, FRAMES[:4])
    assert [result.object_ids for result in (first, *rest)] == [(7, 2, 5)] * 4
    assert [result.frame_index for result in (first, *rest)] == [0, 1, 2, 3]
    assert iou(first.mask(5), DISC) > 0.9, "a mask prompt is its own answer, but for its low resolution"
    for result in (first, *rest):
        assert result.masks.shape == (3, *FRAMES[0].shape[:2])
        for mask, (x0, y0, x1, y1) in zip(result.masks, result.boxes.astype(int), strict=True):
            assert mask[y0:y1, x0:x1].sum() == mask.sum() > 0
            assert mask[:, x0].any() and mask[:, x1 - 1].any() and mask[y0].any() and mask[y1 - 1].any()  # noqa: PT018


def test_objects_do_not_influence_one_another(tracker: Tracker) -> None:
    with tracker.open() as crowd, tracker.open() as single:
        prompt_three(crowd)
        single.prompt(2, **BOX)
        for frame in FRAMES[:8]:
            assert_close(only(crowd.track(frame, logits=True), 2), single.track(frame, logits=True))


def test_an_object_can_join_and_leave(tracker: Tracker) -> None:
    with tracker.open() as video:
        video.prompt(1, **POINT)
        run(video, FRAMES[:2])
        video.prompt(2, **BOX)
        assert video.track(FRAMES[2]).object_ids == (1, 2)
        assert video.track(FRAMES[3]).object_ids == (1, 2)
        video.remove(1)
        assert video.track(FRAMES[4]).object_ids == (2,)
        with pytest.raises(errors.UnknownObject):
            video.remove(1)
        video.prompt(1, **POINT)
        assert video.track(FRAMES[5]).object_ids == (2, 1), "its old place is gone with it"


def test_appending_points_is_the_same_as_sending_all_of_them_again(tracker: Tracker) -> None:
    with tracker.open() as one, tracker.open() as other:
        for video in (one, other):
            video.prompt(1, **POINT)
            assert video.track(FRAMES[0]).frame_index == 0
        one.prompt(1, **OTHER_POINT, append=True)
        other.prompt(1, points=[*POINT["points"], *OTHER_POINT["points"]], labels=[1, 0])
        results = [video.track(FRAMES[0], refine=True, logits=True) for video in (one, other)]
        assert equal(*results)
        assert results[0].frame_index == 0
        assert equal(one.track(FRAMES[1], logits=True), other.track(FRAMES[1], logits=True))


def test_clear_makes_the_frame_as_if_it_had_not_been_prompted(tracker: Tracker) -> None:
    with tracker.open() as mended, tracker.open() as fresh:
        mended.prompt(1, **OTHER_POINT)
        mended.track(FRAMES[0])
        mended.prompt(1, **BOX, clear=True)
        fresh.prompt(1, **BOX)
        assert equal(mended.track(FRAMES[0], refine=True, logits=True), fresh.track(FRAMES[0], logits=True))
        assert all_equal(run(mended, FRAMES[1:4]), run(fresh, FRAMES[1:4]))


def test_a_later_correction_changes_what_follows_and_only_that(tracker: Tracker) -> None:
    with tracker.open() as plain, tracker.open() as corrected:
        for video in (plain, corrected):
            video.prompt(1, **POINT)
        assert all_equal(run(plain, FRAMES[:4]), run(corrected, FRAMES[:4]))
        corrected.prompt(1, **BOX)
        pairs = list(zip(run(plain, FRAMES[4:7]), run(corrected, FRAMES[4:7]), strict=True))
        assert not any(np.array_equal(one.logits, other.logits) for one, other in pairs)
        assert [other.frame_index for _, other in pairs] == [4, 5, 6]


def test_refining_a_tracked_frame_repeats_it_and_keeps_its_index(tracker: Tracker) -> None:
    with tracker.open() as video:
        video.prompt(1, **POINT)
        video.prompt(2, **BOX)
        before = run(video, FRAMES[:3])[-1]
        video.prompt(1, **OTHER_POINT)
        refined = video.track(FRAMES[2], refine=True, logits=True)
        assert (refined.frame_index, refined.object_ids) == (2, (1, 2))
        assert not np.array_equal(refined.logits[0], before.logits[0])
        assert np.array_equal(refined.logits[1], before.logits[1]), "nobody asked for object 2"
        assert video.track(FRAMES[3]).frame_index == 3


def test_prompts_on_several_frames_before_tracking(tracker: Tracker) -> None:
    with tracker.open() as video:
        video.prompt(1, **POINT)
        first = video.track(FRAMES[0], track=False, logits=True)
        video.prompt(2, **BOX)
        third = video.track(FRAMES[3], track=False, frame_index=3, logits=True)
        assert (first.object_ids, third.object_ids) == ((1,), (2,))
        tracked = [video.track(frame, frame_index=index, logits=True) for index, frame in enumerate(FRAMES[:6])]
    assert [result.object_ids for result in tracked] == [(1,)] * 3 + [(1, 2)] * 3
    assert equal(tracked[0], first)
    assert np.array_equal(tracked[3].logits[1], third.logits[0])


def test_a_clip_sent_in_reverse_is_the_reversed_clip(tracker: Tracker) -> None:
    with tracker.open() as backward, tracker.open() as forward:
        for video in (backward, forward):
            prompt_three(video)
        one = backward.track(FRAMES[0], frame_index=7, reverse=True, logits=True)
        rest = run(backward, FRAMES[1:8], reverse=True)
        assert [result.frame_index for result in (one, *rest)] == list(range(7, -1, -1))
        for result, other in zip((one, *rest), run(forward, FRAMES[:8]), strict=True):
            assert np.array_equal(result.logits, other.logits)


def test_several_frames_in_flight_come_back_in_order_with_the_same_bits(tracker: Tracker) -> None:
    with tracker.open() as slow, tracker.open() as fast:
        for video in (slow, fast):
            prompt_three(video)
        one_by_one = [slow.track(frame) for frame in FRAMES]
        assert all_equal(list(fast.track_many(FRAMES, in_flight=4)), one_by_one)


def test_the_asyncio_client_gets_the_same(tracker: Tracker, small_server: Server) -> None:
    async def asynchronous() -> list[TrackedFrame]:
        async with AsyncTracker(small_server.grpc_url) as server, server.open() as video:
            prompt_three(video)  # type: ignore[arg-type]  # the same names
            results = [await video.track(frame, logits=True) for frame in FRAMES[:3]]
            await video.remove(2)
            results += [await video.track(FRAMES[3], logits=True)]
            async with server.open(state=await video.snapshot()) as restored:
                return results + [await restored.track(frame, logits=True) for frame in FRAMES[4:6]]

    with tracker.open() as video:
        prompt_three(video)
        results = run(video, FRAMES[:3])
        video.remove(2)
        assert all_equal(asyncio.run(asynchronous()), results + run(video, FRAMES[3:6]))


def test_raw_and_png_frames_are_the_same_frame(tracker: Tracker) -> None:
    with tracker.open() as raw, tracker.open() as files:
        for video in (raw, files):
            prompt_three(video)
        assert all_equal(run(raw, FRAMES[:4]), run(files, [encoded(frame) for frame in FRAMES[:4]]))


def test_every_form_of_masks_says_the_same(small_server: Server) -> None:
    answers = {}
    for number, form in enumerate(("rle", "bitmap", "png", "none"), 900_001):
        with Wire(small_server.grpc_url) as wire:
            prompts = [{"object": 1, "points": [[20, 15]], "labels": [1]}, {"object": 2, "box": [10, 8, 40, 40]}]
            answers[form] = wire.ask(number, {"FRAME": FRAMES[0], "PROMPTS": prompts}, start=True, end=True, masks=form)
    height, width = FRAMES[0].shape[:2]
    masks = [rle.decode(json.loads(mask.tobytes()), (height, width)) for mask in separated(answers["rle"])]
    for mask, bits, png in zip(masks, separated(answers["bitmap"]), separated(answers["png"]), strict=True):
        assert mask.any()
        assert np.array_equal(np.unpackbits(bits, count=mask.size).reshape(mask.shape), mask)
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(png.tobytes()))), mask * np.uint8(255))
    assert (answers["none"]["MASKS"].size, answers["none"]["MASK_BYTES"].tolist()) == (0, [0, 0])
    assert all(np.array_equal(answer["BOXES"], answers["rle"]["BOXES"]) for answer in answers.values())


def test_timing_is_seven_numbers_that_make_sense(tracker: Tracker) -> None:
    with tracker.open() as video:
        prompt_three(video)
        for frame in FRAMES[:5]:
            began = time.monotonic()
            timing = video.track(frame).timing
            passed = 1000 * (time.monotonic() - began)
            assert tuple(timing) == TIMING_FIELDS
            assert all(math.isfinite(value) and value >= 0 for value in timing.values())
            assert 0 < sum(timing.values()) < passed, "the parts are parts of the whole"


@pytest.fixture(scope="module")
def limited_server(serve_small: Serve) -> Iterator[Server]:
    """A second server of the same weights with little room."""
    bank = {"max_videos": 2, "max_objects": 3, "max_points": 4, "idle_seconds": IDLE_S}
    with serve_small({f"memory_bank.{name}": str(value) for name, value in bank.items()}) as server:
        yield server


@pytest.fixture
def limited(limited_server: Server) -> Iterator[Tracker]:
    with Tracker(limited_server.grpc_url, keep_alive_s=0) as tracker:
        yield tracker


def test_a_restored_video_goes_on_with_the_same_bits_here_and_on_another_server(tracker: Tracker, limited: Tracker) -> None:
    with tracker.open() as video:
        prompt_three(video)
        run(video, FRAMES[:3])
        video.prompt(2, **OTHER_POINT)
        taken = video.track(FRAMES[3], snapshot=True)
        state = video.snapshot()
        assert state == taken.snapshot
        expected = run(video, FRAMES[4:])
        assert len(expected) == 10
        for server in (tracker, limited):
            with server.open(state=state) as restored:
                assert restored.video_id != video.video_id
                assert all_equal(run(restored, FRAMES[4:]), expected)


def test_start_on_a_live_id_begins_anew_for_its_owner_only(tracker: Tracker, small_server: Server) -> None:
    with Wire(small_server.grpc_url) as wire:
        prompts = [{"object": 1, "points": [[20, 15]], "labels": [1]}]
        first = wire.ask(900_000, {"FRAME": FRAMES[0], "PROMPTS": prompts}, start=True, owner="me", logits=True)
        wire.ask(900_000, {"FRAME": FRAMES[1]}, owner="me")
        with tracker.open(900_000) as other, pytest.raises(errors.NotOwner):
            other.track(FRAMES[0])
        again = wire.ask(900_000, {"FRAME": FRAMES[0], "PROMPTS": prompts}, start=True, owner="me", logits=True)
        assert np.array_equal(again["LOGITS"], first["LOGITS"])
        assert again["FRAME_INDEX"] == 0
        assert wire.ask(900_000, {"FRAME": FRAMES[1]}, end=True, owner="me")["FRAME_INDEX"] == 1


def test_a_full_server_refuses_at_once_and_takes_a_video_after_another_has_ended(limited: Tracker) -> None:
    with limited.open() as first, limited.open() as second, limited.open() as third:
        first.track(FRAMES[0])
        second.track(FRAMES[0])
        with pytest.raises(errors.ServerBusy, match=r"2 videos are live, which is this server's limit\. Retry in \d+ s"):
            third.track(FRAMES[0])
        first.close()
        assert third.track(FRAMES[0]).frame_index == 0
        assert second.track(FRAMES[1]).frame_index == 1


def test_limits_of_a_video_refuse_and_change_nothing(limited: Tracker, tracker: Tracker) -> None:
    with limited.open() as video, tracker.open() as reference:
        for each in (video, reference):
            prompt_three(each)
            run(each, FRAMES[:2])
        video.prompt(8, **POINT)
        with pytest.raises(errors.TooManyObjects, match="this server allows 3"):
            video.track(FRAMES[2])
        video.remove(8)  # which the client keeps for a second try
        video.prompt(7, points=[(9, 9)] * 5)
        with pytest.raises(errors.TooManyPoints, match="allows 4"):
            video.track(FRAMES[2])
        assert all_equal(run(video, FRAMES[2:5]), run(reference, FRAMES[2:5]))
        for count, refused in ((4, False), (1, True)):
            video.prompt(7, points=[(9, 9)] * count, append=True)
            if refused:
                with pytest.raises(errors.TooManyPoints, match="5 points on frame 4"):
                    video.track(FRAMES[4], refine=True)
            else:
                video.track(FRAMES[4], refine=True)


def begins_twice(tracker: Tracker) -> bool:
    """Whether there is room for two videos."""
    try:
        with tracker.open() as one, tracker.open() as two:
            return [video.track(FRAMES[0]).frame_index for video in (one, two)] == [0, 0]
    except errors.ServerBusy:
        return False


def test_a_silent_video_is_forgotten_and_its_place_is_free(limited: Tracker) -> None:
    with limited.open() as quiet, limited.open() as other:
        for video in (quiet, other):
            video.track(FRAMES[0])
        until = time.monotonic() + 12 * IDLE_S
        while not begins_twice(limited):  # where frames take seconds the server waits for three times as long
            assert time.monotonic() < until
            time.sleep(1)
        for video in (quiet, other):
            with pytest.raises(errors.VideoLost, match=f"silent for over {IDLE_S} s .idle_seconds"):
                video.track(FRAMES[1])
