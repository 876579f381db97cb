"""What the client makes of a whole server: all prompts of a frame, objects that vanish, forms of masks, what the server says of itself."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from masklet import AsyncTracker, TooManyObjects, TrackedFrame, Tracker, Video
from masklet.contract import VERSION
from masklet_build import nano
from masklet_build.repository.assemble import SOURCE, assemble
from masklet_build.repository.configs import read_config
from masklet_build.serve import Server
from tests.serving.clips import clip

pytestmark = [pytest.mark.server, pytest.mark.engines]

FRAMES = clip(5, seed=3)
HEIGHT, WIDTH = FRAMES[0].shape[:2]
MANY = 40

Serve = Callable[..., Server]


@pytest.fixture(scope="module")
def serve(serving_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """A server of nano, once for each set of settings."""
    folder, servers = tmp_path_factory.mktemp("nano"), {}

    def started(**settings: int | str) -> Server:
        named = tuple(sorted(settings.items()))
        if named not in servers:
            values = {name.replace("__", "."): str(value) for name, value in named}
            repository = assemble("nano", nano.ENGINES, folder / str(len(servers)), settings=values)
            servers[named] = Server(repository, python=serving_python, grpc_port=0, http_port=0, metrics_port=0, exit_timeout_s=1).__enter__()
        return servers[named]

    yield started
    for server in servers.values():
        server.__exit__(None, None, None)


def box(object_id: int) -> tuple[int, int, int, int]:
    x, y = (7 * object_id) % (WIDTH - 12), (5 * object_id) % (HEIGHT - 12)
    return x, y, x + 12, y + 12


def played(video: Video) -> list[TrackedFrame]:
    """A film in which more is prompted at once than one request takes: first, all as corrections of that frame, and later."""
    results = []
    for object_id in range(1, MANY + 1):
        video.prompt(object_id, box=box(object_id))
    results.append(video.track(FRAMES[0], logits=True))
    for object_id in range(MANY, 0, -1):
        video.prompt(object_id, points=[box(object_id)[:2]], labels=[object_id % 2], append=True)
    results.append(video.track(FRAMES[0], refine=True, logits=True))
    results.append(video.track(FRAMES[1], logits=True))
    for object_id in range(3, MANY + 5):
        video.prompt(object_id, box=box(object_id + 1))
    results.append(video.track(FRAMES[2], logits=True, snapshot=True))
    results += video.track_many(FRAMES[3:])
    return results


def assert_same(one: list[TrackedFrame], other: list[TrackedFrame]) -> None:
    for a, b in zip(one, other, strict=True):
        assert (a.frame_index, a.object_ids) == (b.frame_index, b.object_ids)
        for name in ("masks", "boxes", "scores", "ious"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        if a.logits is not None:
            np.testing.assert_array_equal(a.logits, b.logits)
        assert a.snapshot == b.snapshot


@pytest.mark.parametrize("opened", [{}, {"resilient": True}], ids=["plain", "resilient"])
def test_prompts_in_several_requests_give_the_bits_of_one(serve: Serve, opened: dict[str, bool], monkeypatch: pytest.MonkeyPatch) -> None:
    with Tracker(serve().grpc_url) as tracker, tracker.open(**opened) as video:
        spread = played(video)
    monkeypatch.setattr("masklet.connection.parts.MAX_PROMPTS", 1000)
    with Tracker(serve(preprocess__max_prompts=1000).grpc_url) as tracker, tracker.open() as video:
        at_once = played(video)
    assert len(spread[-1].object_ids) == MANY + 4
    assert spread[0].masks.any(axis=(1, 2)).sum() > MANY / 2, "there is something to compare"
    assert_same(spread, at_once)


def test_prompts_given_before_tracking_in_several_requests_give_the_bits_of_one(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    def ahead(video: Video) -> list[TrackedFrame]:
        for object_id in range(1, MANY + 1):
            video.prompt(object_id, box=box(object_id))
        prompted = video.track(FRAMES[3], frame_index=3, track=False, logits=True)
        return [prompted, *(video.track(frame, frame_index=index, reverse=True) for index, frame in reversed(list(enumerate(FRAMES[:4]))))]

    with Tracker(serve().grpc_url) as tracker, tracker.open() as video:
        spread = ahead(video)
    monkeypatch.setattr("masklet.connection.parts.MAX_PROMPTS", 1000)
    with Tracker(serve(preprocess__max_prompts=1000).grpc_url) as tracker, tracker.open() as video:
        assert_same(spread, ahead(video))
    assert len(spread[0].object_ids) == MANY


def test_masks_are_spread_by_their_pixels(serve: Serve) -> None:
    """20 of 1920 x 1080; one request takes 17."""
    frame, masks = np.zeros((1080, 1920, 3), np.uint8), np.zeros((20, 1080, 1920), bool)
    for index, mask in enumerate(masks):
        mask[100:400, 80 * index : 80 * index + 75] = True
        frame[mask] = (10 * index, 255 - 10 * index, 90)
    with Tracker(serve().grpc_url) as tracker, tracker.open() as video:
        for object_id, mask in enumerate(masks):
            video.prompt(object_id, mask=mask)
        result = video.track(frame)
    assert result.object_ids == tuple(range(20))
    assert all((made & mask).sum() / (made | mask).sum() > 0.7 for made, mask in zip(result.masks, masks, strict=True)), "each is its own mask"


def test_more_objects_than_a_video_takes_is_told_with_the_number(serve: Serve) -> None:
    most = int(read_config(Path(SOURCE) / "memory_bank").parameters["max_objects"].string_value)
    with Tracker(serve().grpc_url) as tracker, tracker.open() as video:
        for object_id in range(most + 1):
            video.prompt(object_id, box=box(object_id))
        with pytest.raises(TooManyObjects, match=f"{most + 1} objects in one video; this server allows {most}.*open a second video"):
            video.track(FRAMES[0])


@pytest.mark.parametrize("side", [2, 8, 20])
def test_an_object_smaller_than_a_cell_is_told_once(serve: Serve, side: int) -> None:
    frame, mask = np.zeros((1080, 1920, 3), np.uint8), np.zeros((1080, 1920), bool)
    mask[500 : 500 + side, 900 : 900 + side] = True
    large = np.zeros_like(mask)
    large[200:400, 300:700] = True
    with Tracker(serve().grpc_url) as tracker, tracker.open() as video:
        video.prompt(4, mask=mask)
        video.prompt(5, mask=large)
        video.prompt(6, mask=np.zeros_like(mask))  # nothing is asked for, so nothing is lost
        with pytest.warns(UserWarning, match=r"object 4 has no pixel on frame 0.*cell.*about 30 x 16.9 pixels, width x height") as told:
            result = video.track(frame)
        video.prompt(4, mask=mask)
        with warnings.catch_warnings(action="error"):
            again = video.track(frame)
    assert len(told) == 1
    assert told[0].filename == __file__, "the caller's own line is shown"
    assert (result.vanished, again.vanished, result.cell) == ((4,), (4,), (1080 / 64, 1920 / 64))


def test_every_form_of_masks_says_the_same(serve: Serve) -> None:
    with Tracker(serve().grpc_url) as tracker:
        results = {}
        for form in ("rle", "bitmap", "none"):
            with tracker.open() as video:
                video.prompt(1, box=box(1))
                results[form] = video.track(FRAMES[0], masks=form)
    rle, bitmap, none = results.values()
    assert rle.rles == bitmap.rles
    np.testing.assert_array_equal(rle.masks, bitmap.masks)
    assert rle.areas.tolist() == bitmap.areas.tolist() == [rle.masks.sum()] != [0]
    for other in (bitmap, none):
        np.testing.assert_array_equal(other.boxes, rle.boxes)


def test_a_server_says_what_it_takes_and_how_much_room_there_is(serve: Serve) -> None:
    server = serve(memory_bank__max_videos=2, memory_bank__idle_seconds=600)
    bank, preprocess = (read_config(Path(SOURCE) / name).parameters for name in ("memory_bank", "preprocess"))

    async def asynchronous() -> object:
        async with AsyncTracker(server.grpc_url) as tracker:
            return await tracker.info()

    with Tracker(server.grpc_url) as tracker:
        empty = tracker.info()
        assert asyncio.run(asynchronous()) == empty
        with tracker.open() as one, tracker.open() as other:
            for video in (one, other):
                video.prompt(1, box=box(1))
                video.track(FRAMES[0])
            full = tracker.info()
            assert full.room.videos == 0, "asked of a full server"
            assert one.track(FRAMES[1]).object_ids == (1,)
        assert [tracker.info() for _ in range(3)] == [empty] * 3, "asking takes no place"
    assert (empty.variant, empty.image_size, empty.cell, empty.version, empty.client_version) == ("nano", 256, 4, VERSION, VERSION)
    assert (empty.room.videos, empty.draining, empty.room.objects - full.room.objects) == (2, False, 2)
    limits = empty.limits
    assert (limits.videos, limits.idle_seconds) == (2, 600)
    for said, configured in (
        (limits.frame_side, preprocess["max_frame_side"]),
        (limits.frame_pixels, preprocess["max_frame_pixels"]),
        (limits.frame_bytes, preprocess["max_encoded_bytes"]),
        (limits.prompts, preprocess["max_prompts"]),
        (limits.mask_pixels, preprocess["max_mask_pixels"]),
        (limits.points, bank["max_points"]),
        (limits.objects, bank["max_objects"]),
        (limits.prompted_frames, bank["max_conditioning"]),
    ):
        assert said == int(configured.string_value)
