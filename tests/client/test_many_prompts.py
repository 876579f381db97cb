"""More prompts than one request takes: the frame goes in several, and the caller sees one."""

from __future__ import annotations

import asyncio
import json
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from masklet import AsyncTracker, BadFrame, BadParameter, BadPrompt, TooManyObjects, Tracker, rle
from masklet.concurrency.threads import finish
from masklet.connection import parts
from masklet.connection.operations import Operations
from masklet.testing import Answer, Broken, MockTransport, Refusal, Request, answer
from masklet.wire import Options
from masklet_build.repository.assemble import SOURCE
from masklet_build.repository.configs import read_config
from tests.fakes.toy_grpc import serving

SIZE = (24, 32)
FRAME = np.zeros((*SIZE, 3), np.uint8)
MOST = parts.MAX_PROMPTS


def mask_of(object_id: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[object_id % SIZE[0], 3] = True
    return mask


class Bank:
    """Keeps the rules of a server that this is about: which objects a request answers for, and under which index. `room`: objects at most."""

    def __init__(self, room: int = 10_000) -> None:
        self.objects: list[int] = []
        self.index = -1
        self.room = room
        self.refused: dict[int, str] = {}  # by the number of the request with a frame
        self.vanished: set[int] = set()  # objects that have no pixel
        self.broken: int | None = None  # the number of the one that ends the stream
        self.frames: list[tuple[int, list[int], Options]] = []  # index, objects prompted, options
        self.pixels: list[int] = []  # the first of each
        self.transport = MockTransport(self._handle)

    def _handle(self, request: Request) -> Answer | Refusal | Broken:
        options = Options.parse(request.parameters)
        if "FRAME" not in request.tensors:
            gone = [item["object"] for item in json.loads(request.tensors["PROMPTS"][0, 0]) if item.get("remove")]
            self.objects = [object_id for object_id in self.objects if object_id not in gone]
            return answer(request, {}, self.index, snapshot=json.dumps([self.index, self.objects]).encode())
        prompted = [item["object"] for item in json.loads(request.tensors["PROMPTS"][0, 0])]
        if len(prompted) > MOST:
            return Refusal(BadPrompt(f"{len(prompted)} prompts in one request; the server takes {MOST}.").wire())
        if len(self.frames) == self.broken:
            self.broken = None
            return Broken("the server died")
        if text := self.refused.get(len(self.frames)):
            self.refused.pop(len(self.frames))
            return Refusal(text)
        objects = list(dict.fromkeys([*self.objects, *prompted]))
        if len(objects) > self.room:
            return Refusal(TooManyObjects(f"{len(objects)} objects in one video; this server allows {self.room}.").wire())
        self.objects = objects
        self.index = self.index + (not options.refine) if options.frame_index is None else options.frame_index
        self.frames.append((self.index, prompted, options))
        self.pixels.append(int(request.tensors["FRAME"][0, 0]))
        shown = objects if options.track else prompted
        masks = {object_id: mask_of(object_id) & (object_id not in self.vanished) for object_id in shown}
        return answer(request, masks, self.index, snapshot=b"s")


@pytest.fixture(params=[{}, {"resilient": True}], ids=["plain", "resilient"])
def opened(request):
    return request.param


def prompt(video, objects):
    for object_id in objects:
        video.prompt(object_id, box=(1, 2, 3, 4))


def test_the_limits_are_those_of_preprocess():
    configured = read_config(Path(SOURCE) / "preprocess").parameters
    limits = {"max_prompts": parts.MAX_PROMPTS, "max_mask_pixels": parts.MAX_MASK_PIXELS, "max_prompt_bytes": parts.MAX_PROMPT_BYTES}
    assert {name: int(configured[name].string_value) for name in limits} == limits


@pytest.mark.parametrize("count", [MOST, MOST + 1, 3 * MOST])
def test_all_go_with_their_frame_and_the_last_request_answers_for_all(open_video, opened, count):
    bank, objects = Bank(), list(range(1, count + 1))
    with open_video(bank, **opened) as video:
        video.track(FRAME)
        prompt(video, objects)
        result = video.track(FRAME, logits=True, snapshot=True)
        after = video.track(FRAME)
    sent = bank.frames[1:-1]
    assert [prompted for _, part, _ in sent for prompted in part] == objects
    assert [index for index, _, _ in bank.frames] == [0, *[1] * len(sent), 2]
    assert [options.track for _, _, options in sent] == [False] * (len(sent) - 1) + [True]
    assert [options.snapshot for _, _, options in sent[:-1]] == [False] * (len(sent) - 1), "it is large, and not the video's yet"
    assert (result.object_ids, after.object_ids) == (tuple(objects), tuple(objects))
    assert (result.frame_index, after.frame_index, result.snapshot, len(result.logits)) == (1, 2, b"s", count)
    np.testing.assert_array_equal(result.masks, [mask_of(object_id) for object_id in objects])
    assert result.frame is FRAME


def test_what_is_only_prompted_is_answered_by_all_requests_together(open_video, opened):
    bank, objects = Bank(), list(range(1, 2 * MOST + 2))
    with open_video(bank, **opened) as video:
        prompt(video, objects)
        result = video.track(FRAME, track=False, frame_index=7, logits=True, masks="rle")
    assert [(index, options.track) for index, _, options in bank.frames] == [(7, False)] * 3
    assert (result.object_ids, len(result.boxes), len(result.scores), len(result.logits)) == (tuple(objects), *[len(objects)] * 3)
    assert result.rles == [rle.encode(mask_of(object_id)) for object_id in objects]


def test_corrections_of_the_frame_just_answered_are_all_refinements(open_video, opened):
    bank, objects = Bank(), list(range(1, MOST + 3))
    with open_video(bank, **opened) as video:
        video.track(FRAME)
        prompt(video, objects)
        result = video.track(FRAME, refine=True)
    assert [(index, options.refine, options.track) for index, _, options in bank.frames[1:]] == [(0, True, True)] * 2
    assert result.object_ids == tuple(objects)


def test_masks_are_as_many_as_their_pixels_allow():
    shown = {"object": 1, "mask": {"size": [1080, 1920], "counts": "0"}}
    assert [len(part) for part in parts.split([shown] * 20)] == [17, 3]
    assert [len(part) for part in parts.split([{"object": 1, "mask": {"size": [9000, 9000], "counts": "0"}}] * 2)] == [1, 1], "refused by the server"
    wide = {"object": 1, "mask": {"size": [9, 9], "counts": "0" * (1 << 20)}}
    assert [len(part) for part in parts.split([wide] * 3)] == [1, 2]


def test_frames_behind_it_wait_and_results_stay_in_order(open_video, opened):
    bank = Bank()
    with open_video(bank, **opened) as video:
        prompt(video, range(1, 41))
        results = video.track_many([FRAME] * 6, in_flight=4)
        first = next(results)
        prompt(video, range(41, 90))
        rest = list(results)
    assert [result.frame_index for result in (first, *rest)] == list(range(6))
    assert len(first.object_ids) == 40
    assert len(rest[-1].object_ids) == 89
    indexes = [index for index, _, _ in bank.frames]
    assert indexes == sorted(indexes)
    prompted = [index for index, part, _ in bank.frames if set(part) & set(range(41, 90))]
    assert len(prompted) == 2, "both of one frame"
    assert len(set(prompted)) == 1


def test_returned_prompts_do_not_make_a_held_frame_too_large():
    held = Operations()
    prompt(held, range(1, 21))
    first = held.frame(FRAME)
    prompt(held, range(21, 41))
    operation = held.frame(FRAME)
    held.take_back(first, BadFrame("damaged."), runs=False)
    assert [item["object"] for item in held.with_returned(operation).items] == list(range(21, 41))
    assert [item["object"] for item in held.frame(FRAME).items] == list(range(1, 21))


@pytest.mark.parametrize("track", [True, False])
def test_objects_that_vanish_are_those_of_all_requests_and_told_once(open_video, opened, track):
    bank = Bank()
    bank.vanished = {3, 40, 41}
    with open_video(bank, **opened) as video:
        prompt(video, range(1, 41))
        video.prompt(41, mask=np.zeros(SIZE, bool))  # nothing is asked for, so nothing is lost
        with pytest.warns(UserWarning, match="no pixel") as told:
            result = video.track(FRAME, track=track, frame_index=0)
        prompt(video, [3])
        with warnings.catch_warnings(action="error"):
            again, after = video.track(FRAME), video.track(FRAME)
    assert sorted(str(one.message).partition(" has")[0] for one in told) == ["object 3", "object 40"]
    assert (result.vanished, again.vanished, after.vanished) == ((3, 40), (3,), ())
    assert result.cell == (SIZE[0] / 8, SIZE[1] / 8)


def test_a_refused_part_is_the_frames_error_and_no_prompt_is_lost(open_video, opened):
    bank, objects = Bank(), list(range(1, 41))
    with open_video(bank, **opened) as video:
        prompt(video, objects)
        bank.refused[1] = BadPrompt("object 37 (prompt 4): x is 900.").wire()
        with pytest.raises(BadPrompt, match=r"object 37 .* \[37\] are dropped"):
            video.track(FRAME)
        result = video.track(FRAME)
    assert sorted(result.object_ids) == [object_id for object_id in objects if object_id != 37]


def test_too_many_objects_is_told_as_such_and_the_others_stand(open_video, opened):
    bank = Bank(room=MOST + 3)
    with open_video(bank, **opened) as video:
        prompt(video, range(1, MOST + 9))
        for _ in range(2):  # the second time their prompts are dropped
            with pytest.raises(TooManyObjects, match=f"this server allows {MOST + 3}"):
                video.track(FRAME)
        assert video.track(FRAME).object_ids == tuple(range(1, MOST + 1))


def test_an_object_can_be_dropped_before_its_part_is_sent(open_video, opened):
    bank = Bank()
    with open_video(bank, **opened) as video:
        prompt(video, range(1, 41))
        bank.refused[0] = BadPrompt("PROMPTS is wrong.").wire()
        with pytest.raises(BadPrompt):
            video.track(FRAME)
        video.remove(40)
        assert sorted(video.track(FRAME).object_ids) == list(range(1, 40))


@pytest.mark.parametrize("broken", [0, 1, 2, 3, 4])
def test_a_server_that_is_lost_between_the_parts_loses_none(make_tracker, broken):
    one, other = Bank(), Bank()
    one.broken = broken
    tracker = make_tracker(["a:1", "b:1"], transport={"a:1": one.transport, "b:1": other.transport})
    with tracker.open(resilient=True) as video:
        video.track(FRAME)
        prompt(video, range(1, 2 * MOST + 2))
        results = [video.track(FRAME), video.track(FRAME)]
    assert [(result.frame_index, len(result.object_ids)) for result in results] == [(1, 2 * MOST + 1), (2, 2 * MOST + 1)]
    assert [index for index, _, _ in other.frames] == [0, 1, 1, 1, 2]


def test_frames_of_other_tasks_wait_until_it_is_sent_whole():
    bank = Bank()

    async def play():
        async with AsyncTracker("test:1", transport=bank.transport) as tracker, tracker.open() as video:
            prompt(video, range(1, 41))
            many = video.track_many([FRAME])
            return await asyncio.gather(video.track(FRAME), video.track(FRAME), anext(many))

    results = asyncio.run(play())
    assert sorted(result.frame_index for result in results) == [0, 1, 2]
    assert [index for index, _, _ in bank.frames] == [0, 0, 1, 2]
    assert [len(result.object_ids) for result in results] == [40] * 3


@pytest.mark.parametrize("many", [False, True], ids=["track", "track_many"])
def test_a_call_that_was_given_up_half_way_is_sent_whole_and_takes_no_newer_prompt(many):
    bank = Bank()

    async def play():
        async with AsyncTracker("test:1", transport=bank.transport) as tracker, tracker.open() as video:
            prompt(video, range(1, 41))
            assert video._calls.send(FRAME)  # and nobody waits for it
            prompt(video, [99])
            return await anext(video.track_many([FRAME])) if many else await video.track(FRAME)

    assert len(asyncio.run(play()).object_ids) == 41
    assert [(index, part) for index, part, _ in bank.frames] == [(0, list(range(1, 33))), (0, list(range(33, 41))), (1, [99])]


def test_threads_do_not_come_between_its_parts():
    bank = Bank()
    with Tracker("test:1", transport=bank.transport) as tracker, tracker.open() as video, ThreadPoolExecutor(4) as threads:
        prompt(video, range(1, 41))
        results = list(threads.map(lambda _: video.track(FRAME), range(20)))
    assert sorted(result.frame_index for result in results) == list(range(20))
    assert [index for index, _, _ in bank.frames] == [0, *range(20)]


def test_a_call_waits_for_all_its_parts_though_another_received_the_first_answer(opened):
    with Tracker("test:1", transport=Bank().transport) as tracker, tracker.open(**opened) as video:
        prompt(video, range(1, 2 * MOST + 2))
        calls, connection = video._video._calls, video._video._connection
        call = calls.send(FRAME)
        finish(connection.settle(call.pending))  # as the thread of another call does, which then gives way
        assert len(finish(calls.finish(call)).object_ids) == 2 * MOST + 1


def test_all_parts_have_the_pixels_of_the_call():
    bank, pixels = Bank(), FRAME.copy()

    async def play():
        async with AsyncTracker("test:1", transport=bank.transport) as tracker, tracker.open() as video:
            await video.track(FRAME)
            prompt(video, range(1, 41))
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(video.track(pixels), 0)
            assert video._calls.send(pixels) or video._calls.blocked
            pixels[:] = 7  # the next picture of a camera
            await video.track(pixels)

    asyncio.run(play())
    assert len(bank.frames) == 4
    assert bank.pixels == [0, 0, 0, 7]


def test_frames_are_taken_when_the_one_before_is_sent_whole(opened):
    bank, taken_early = Bank(), threading.Event()

    def slow(request):
        if len(bank.frames) == 0:
            taken_early.wait(0.3)
        return bank.transport._reply(request)

    def frames():
        yield FRAME
        taken_early.set()
        video.remove(40)
        yield FRAME

    with serving(slow) as (url, _, _), Tracker(url) as tracker, tracker.open(**opened) as video:
        prompt(video, range(1, 41))
        assert [len(result.object_ids) for result in video.track_many(frames())] == [40, 39]


def test_a_frame_that_could_not_be_sent_because_of_another_call_is_sent_when_that_is_done():
    bank = Bank()

    async def play():
        async with AsyncTracker("test:1", transport=bank.transport) as tracker, tracker.open() as video:
            send, refused = video._calls.send, [None]  # the other call is done before anybody looks
            video._calls.send = lambda frame, **options: refused.pop() if refused else send(frame, **options)
            return [result.frame_index async for result in video.track_many([FRAME] * 2)]

    assert asyncio.run(play()) == [0, 1]


def test_masks_that_must_not_overlap_come_in_one_answer(open_video, opened):
    bank = Bank()
    with open_video(bank, **opened) as video:
        prompt(video, range(1, 41))
        with pytest.raises(BadParameter, match=r"40 prompts go in several requests\. Give 32 at a time"):
            video.track(FRAME, track=False, overlap="exclusive")
        assert video.track(FRAME, overlap="exclusive").object_ids == tuple(range(1, 41)), "the prompts are kept"
    assert [options.overlap for _, _, options in bank.frames] == ["exclusive"] * 2


def test_an_object_that_others_cover_has_not_vanished(open_video, opened):
    bank = Bank()
    bank.vanished = {3}
    with open_video(bank, **opened) as video, warnings.catch_warnings(action="error"):
        prompt(video, range(1, 41))
        assert video.track(FRAME, overlap="exclusive").vanished == ()
