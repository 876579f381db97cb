"""One video over a stream without a server: what is sent, what comes back, what is refused before it is sent."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

from masklet import BadFrame, BadParameter, BadRequest, BadVideoId, MaskletError, ServerFault, Tracker, UnknownObject, VideoLost
from masklet.testing import MockTransport, Refusal, Request
from tests.fakes.toy_tracker import ENCODED_SIZE, Server, toy_mask

SIZE = (24, 32)
FRAME = np.zeros((*SIZE, 3), dtype=np.uint8)


def test_results_are_those_of_the_frames_sent(open_video):
    with open_video(Server()) as video:
        video.prompt(7, points=[(1, 2)])
        for index in range(3):
            result = video.track(FRAME)
            assert (result.frame_index, result.object_ids) == (index, (7,))
            np.testing.assert_array_equal(result.masks, [toy_mask(SIZE, index, 7)])


def test_frames_may_be_encoded(open_video):
    server = Server()
    with open_video(server) as video:
        video.prompt(7, points=[(1, 2)])
        result = video.track(bytearray(b"jpeg"))
    assert server.transport.requests[0].tensors["FRAME_ENCODED"][0, 0] == b"jpeg"
    np.testing.assert_array_equal(result.masks, [toy_mask(ENCODED_SIZE, 0, 7)])


def test_the_first_request_starts_and_close_ends(open_video):
    server = Server()
    video = open_video(server)
    video.track(FRAME)
    video.track(FRAME)
    video.close()
    video.close()
    assert server.flags == ["S", "", "E"]
    assert set(server.transport.requests[-1].tensors) == {"PROMPTS"}
    assert server.toy.videos == {}


def test_a_video_without_frames_sends_nothing(open_video):
    server = Server()
    with open_video(server) as video:
        video.prompt(1, points=[(1, 2)])
    assert server.transport.requests == []


def test_prompts_go_with_the_next_frame_only(open_video):
    server = Server()
    with open_video(server) as video:
        video.track(FRAME)
        video.prompt(1, points=[(1, 2)])
        video.prompt(2, box=(1, 2, 3, 4), clear=True)
        video.prompt(1, points=[(3, 4)], labels=[0], append=True)
        video.track(FRAME)
        video.track(FRAME)
    first = {"object": 1, "points": [[1.0, 2.0], [3.0, 4.0]], "labels": [1, 0]}
    assert server.prompts == [[], [first, {"object": 2, "box": [1.0, 2.0, 3.0, 4.0], "clear": True}], [], []]


def test_prompts_stay_when_their_frame_cannot_be_sent(open_video):
    server = Server()
    with open_video(server) as video:
        video.prompt(1, points=[(1, 2)])
        with pytest.raises(BadFrame):
            video.track(FRAME[0])
        assert video.track(FRAME).object_ids == (1,)


def test_options_become_parameters(open_video):
    server = Server()
    with open_video(server) as video:
        video.prompt(1, points=[(1, 2)])
        result = video.track(FRAME, logits=True, snapshot=True, refine=True, track=False, frame_index=np.int64(4), reverse=True)
        video.track(b"png")
    owner = server.transport.requests[0].parameters["owner"]
    given = {"logits": True, "snapshot": True, "refine": True, "track": False, "frame_index": 4, "reverse": True}
    assert server.transport.requests[0].parameters == {"masks": "bitmap", **given, "owner": owner}
    assert server.transport.requests[1].parameters == {"owner": owner}  # rle is the default of the wire
    assert result.logits.shape == (1, 8, 8)
    assert result.snapshot == b"\x01\x01"


@pytest.mark.parametrize("resilient", [False, True])
def test_overlap_goes_with_the_frames_that_it_is_said_for_and_with_no_other(make_tracker, resilient):
    server = Server()
    with make_tracker("test:1", transport=server.transport) as tracker, tracker.open(resilient=resilient) as video:
        video.prompt(1, points=[(1, 2)])
        video.track(FRAME)
        video.track(FRAME, overlap="exclusive")
        assert len(list(video.track_many([FRAME] * 2, overlap="exclusive"))) == 2
        assert len(list(video.track_many([FRAME]))) == 1
    sent = [request.parameters for request in server.transport.requests if request.parameters.get("masks") != "none"]
    assert [given.get("overlap") for given in sent] == [None, *["exclusive"] * 3, None]  # allowed is the default of the wire


def test_videos_have_ids_and_owners_of_their_own(make_tracker):
    server = Server()
    with make_tracker("test:1", headers={"Authorization": "x"}, transport=server.transport) as tracker:
        videos = [tracker.open(), tracker.open(), tracker.open("cam 1/é"), tracker.open(5)]
        for video in videos:
            video.track(FRAME)
    ids = [request.video_id for request in server.transport.requests[:4]]
    assert [0 < number < 2**63 for number in ids[:2]] == [True, True]
    assert ids[2:] == ["cam 1/é", 5]
    assert len(set(ids)) == len({request.parameters["owner"] for request in server.transport.requests}) == 4
    assert [dict(headers) for headers in server.transport.headers] == [
        {"Authorization": "x", "x-video-id": text} for text in (str(ids[0]), str(ids[1]), "cam%201/%C3%A9", "5")
    ]


@pytest.mark.parametrize("video_id", [0, -1, 2**63, "", "a" * 129, "é" * 65, True, 1.0, b"a"], ids=str)
def test_ids_that_triton_does_not_take_are_refused(open_video, video_id):
    with pytest.raises(BadVideoId, match="video id must be"):
        open_video(Server(), video_id=video_id)


@pytest.mark.parametrize(
    "frame",
    [FRAME[0], FRAME.astype(np.float32), FRAME[..., :1], np.zeros((0, 4, 3), np.uint8), b"", "frame.jpg", None],
    ids=["flat", "float", "grey", "no_rows", "no_bytes", "path", "none"],
)
def test_what_is_no_frame_is_refused_before_it_is_sent(open_video, frame):
    server = Server()
    with open_video(server) as video, pytest.raises(BadFrame, match="frame"):
        video.track(frame)
    assert server.transport.requests == []


def test_parameters_are_checked_before_they_are_sent(open_video):
    server = Server()
    with open_video(server) as video:
        with pytest.raises(BadParameter, match="frame_index is -1"):
            video.track(FRAME, frame_index=-1)
        for ask in (lambda: video.track(FRAME, overlap="no"), lambda: next(iter(video.track_many([FRAME], overlap="no")))):
            with pytest.raises(BadParameter, match=r"overlap is 'no'\. Use one of allowed, exclusive"):
                ask()
    assert server.transport.requests == []


def test_snapshot_moves_a_video(open_video):
    server = Server()
    with open_video(server) as video:
        video.prompt(3, points=[(1, 2)])
        video.track(FRAME)
        video.track(FRAME)
        state = video.snapshot()
        assert video.track(FRAME).frame_index == 2, "a snapshot does not count as a frame"
    with open_video(server, state=state) as video:
        result = video.track(FRAME)
    assert (result.frame_index, result.object_ids) == (2, (3,))
    assert server.flags == ["S", "", "", "", "E", "S", "", "E"]


def test_a_refused_snapshot_ends_the_video_that_it_began(open_video):
    server = Server({0: Refusal("MASKLET_BAD_STATE: the snapshot is damaged. Take another.")})
    with pytest.raises(MaskletError, match="snapshot is damaged"):
        open_video(server, state=b"xyz")
    assert server.flags == ["S", "E"]


def test_a_refused_snapshot_is_the_error_to_see_even_if_nobody_hears_the_end(open_video):
    server = Server({0: Refusal("MASKLET_BAD_STATE: the snapshot is damaged. Take another."), 1: None, 2: None})
    with pytest.raises(MaskletError, match="snapshot is damaged"):
        open_video(server, state=b"xyz")


def test_nothing_is_a_snapshot_of_nothing(open_video):
    with open_video(Server()) as video, pytest.raises(BadRequest, match="no frame was sent"):
        video.snapshot()
    with pytest.raises(BadRequest, match="snapshot"):
        open_video(Server(), state=b"")


def test_remove_forgets_the_object_at_once(open_video):
    server = Server()
    with open_video(server) as video:
        video.prompt(1, points=[(1, 2)])
        video.prompt(2, points=[(1, 2)])
        video.track(FRAME)
        video.remove(1)
        with pytest.raises(UnknownObject, match="object 1"):
            video.remove(1)
        assert video.track(FRAME).object_ids == (2,)
    assert server.prompts[1] == [{"object": 1, "remove": True}]
    assert "FRAME" not in server.transport.requests[1].tensors


def test_remove_drops_prompts_that_were_not_sent(open_video):
    server = Server()
    with open_video(server) as video:
        video.prompt(1, points=[(1, 2)])
        video.remove(1)
        with pytest.raises(UnknownObject):
            video.remove(1)
        assert video.track(FRAME).object_ids == ()
        video.prompt(1, points=[(1, 2)])
        video.remove(1)
        assert video.track(FRAME).object_ids == ()


def test_a_closed_video_says_so(open_video):
    video = open_video(Server())
    video.track(FRAME)
    video.close()
    with pytest.raises(VideoLost, match="closed"):
        video.track(FRAME)


def test_a_tracker_closes_its_videos(make_tracker):
    server = Server()
    with make_tracker("test:1", transport=server.transport) as tracker:
        tracker.open().track(FRAME)
        tracker.open().track(FRAME)
    assert server.toy.videos == {}


def test_a_tracker_closes_all_its_videos_even_if_one_cannot_be_closed(make_tracker):
    server = Server()
    tracker = make_tracker("test:1", timeout_s=0.05, transport=server.transport)
    for _ in range(3):
        tracker.open().track(FRAME)
    deaf = server.transport.requests[1].video_id
    toy = server.toy
    server.toy = lambda request: None if request.video_id == deaf else toy(request)
    with pytest.raises(VideoLost, match="END"):
        tracker.close()
    assert set(toy.videos) == {deaf}


def test_closed_videos_are_not_kept():
    with Tracker("test:1", transport=Server().transport) as tracker:
        video = tracker.open()
        video.track(FRAME)
        video.close()
        kept = weakref.ref(video)
        del video
        gc.collect()
        assert kept() is None


def test_the_mock_holds_up_all_behind_a_missing_answer_as_a_real_stream_does():
    stream = MockTransport(lambda request: None if request.start else Refusal("later")).open_stream({})
    stream.send(Request(1, True, False, {}, {}))
    stream.send(Request(1, False, False, {}, {}))
    assert stream.poll() is None


def test_an_answer_that_cannot_be_read_is_an_error_of_its_frame(open_video):
    server = Server()
    good = server.toy
    server.toy = lambda request: good(request) if len(server.transport.requests) != 2 else type(good(request))({})
    with open_video(server) as video:
        video.track(FRAME)
        with pytest.raises(ServerFault, match="same version"):
            video.track(FRAME)
        assert video.track(FRAME).frame_index == 2
