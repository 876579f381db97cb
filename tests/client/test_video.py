"""One video over a stream without a server: what is sent, what comes back in which order, what errors leave behind."""

from __future__ import annotations

import gc
import itertools
import json
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from fakes.toy_tracker import ENCODED_SIZE, ToyTracker, toy_mask
from masklet import (
    BadFrame,
    BadParameter,
    BadPrompt,
    BadRequest,
    BadVideoId,
    Broken,
    MaskletError,
    MockTransport,
    NotOwner,
    Refusal,
    Request,
    ServerBusy,
    ServerFault,
    ServerUnavailable,
    Tracker,
    UnknownObject,
    VideoLost,
)
from masklet.mock import MockStream

SIZE = (24, 32)
FRAME = np.zeros((*SIZE, 3), dtype=np.uint8)
LOST = Refusal("in ensemble 'tracker', inference request for sequence 1 to model 'memory_bank' must specify the START flag on the first request")


class Server:
    """A toy tracker behind a MockTransport; `replies` overrules its answer to the n-th request."""

    def __init__(self, replies: dict[int, object] | None = None) -> None:
        self.toy = ToyTracker()
        self.replies = replies or {}
        self.transport = MockTransport(self._handle)

    def _handle(self, request):
        number = len(self.transport.requests) - 1
        return self.replies[number] if number in self.replies else self.toy(request)

    @property
    def flags(self) -> list[str]:
        """What START and END the requests carried, as text."""
        return ["".join(name for name, on in (("S", request.start), ("E", request.end)) if on) for request in self.transport.requests]

    @property
    def prompts(self) -> list[list[dict]]:
        return [json.loads(request.tensors["PROMPTS"][0, 0]) for request in self.transport.requests]


@pytest.fixture(autouse=True)
def short_end(monkeypatch):
    """Tests of a silent server need not wait as long as users."""
    monkeypatch.setattr("masklet.session._END_AFTER_LOSS_S", 0.05)


@pytest.fixture
def open_video(make_tracker):
    def make(server, timeout_s=0.05, **opened):
        return make_tracker("test:1", timeout_s=timeout_s, transport=server.transport).open(**opened)

    return make


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
    with open_video(Server()) as video, pytest.raises(BadParameter, match="frame_index is -1"):
        video.track(FRAME, frame_index=-1)


# ---- control requests


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


# ---- several frames in flight


def test_track_many_gives_results_in_order(open_video):
    with open_video(Server()) as video:
        video.prompt(1, points=[(1, 2)])
        assert [result.frame_index for result in video.track_many([FRAME] * 9, in_flight=3)] == list(range(9))


@pytest.mark.parametrize("in_flight", [1, 2, 5])
def test_track_many_takes_frames_only_as_far_as_in_flight(open_video, in_flight):
    server = Server(dict.fromkeys(range(20)))  # silent: nothing is ever answered
    taken = []
    with open_video(server) as video, pytest.raises(ServerBusy):
        next(video.track_many((taken.append(index) or FRAME for index in itertools.count()), in_flight))
    assert len(taken) == in_flight


def test_track_many_does_not_wait_for_more_frames_than_it_needs(open_video):
    taken = []
    with open_video(Server()) as video:
        results = video.track_many(taken.append(index) or FRAME for index in itertools.count())
        for _ in range(3):
            result = next(results)
            assert result.frame_index == len(taken) - 1, "a server that has answered must not wait for a camera"


def test_an_error_comes_in_the_place_of_its_frame_and_the_rest_goes_on(open_video):
    server = Server({2: Refusal("MASKLET_BAD_FRAME: frame 2. Mend it.")})
    got = []
    with open_video(server) as video:
        results = video.track_many([FRAME] * 3 + [FRAME[0]] + [FRAME] * 2, in_flight=4)
        for _ in range(6):
            try:
                got.append(next(results).frame_index)
            except BadFrame as error:
                got.append(str(error)[:12])
        with pytest.raises(StopIteration):
            next(results)
    assert got == [0, 1, "frame 2. Men", "a frame must", 2, 3]


def test_results_before_a_failing_camera_are_not_lost(open_video):
    def camera():
        yield FRAME
        yield FRAME
        raise OSError("cable")

    with open_video(Server()) as video:
        results = video.track_many(camera(), in_flight=4)
        assert [next(results).frame_index, next(results).frame_index] == [0, 1]
        with pytest.raises(OSError, match="cable"):
            next(results)


def test_an_iterator_that_is_left_behind_does_not_disturb_what_follows(open_video):
    with open_video(Server()) as video:
        results = video.track_many([FRAME] * 9)
        next(results)
        sent = video.track(FRAME).frame_index
        assert video.track(FRAME).frame_index == sent + 1


def test_at_least_one_frame_must_be_in_flight(open_video):
    with open_video(Server()) as video, pytest.raises(ValueError, match="at least 1"):
        video.track_many([FRAME], in_flight=0)


def test_requests_are_sent_in_the_order_in_which_they_were_made_whatever_thread_makes_them(monkeypatch):
    plain = MockStream.send

    def slow_at_first(stream, request):
        time.sleep(0.05 if request.start else 0)
        plain(stream, request)

    monkeypatch.setattr(MockStream, "send", slow_at_first)
    with Tracker("test:1", transport=Server().transport, timeout_s=2) as tracker, tracker.open() as video, ThreadPoolExecutor(4) as pool:
        sizes = [(8 + number, 9) for number in range(4)]
        results = list(pool.map(lambda size: video.track(np.zeros((*size, 3), dtype=np.uint8)), sizes))
    assert [result.masks.shape[1:] for result in results] == sizes


# ---- errors


def test_a_refused_frame_leaves_the_video_usable(open_video):
    server = Server({1: Refusal("MASKLET_BAD_PROMPT: no. Try again.")})
    with open_video(server) as video:
        video.track(FRAME)
        with pytest.raises(BadPrompt):
            video.track(FRAME)
        assert video.track(FRAME).frame_index == 1
    assert server.flags == ["S", "", "", "E"]


@pytest.mark.parametrize("refusal", [Refusal("MASKLET_BAD_FRAME: no. No."), Refusal("MASKLET_SERVER_BUSY: full. Wait.")], ids=["bad_frame", "busy"])
def test_start_goes_again_after_a_refused_start(open_video, refusal):
    server = Server({0: refusal})
    with open_video(server) as video:
        with pytest.raises(MaskletError):
            video.track(FRAME)
        assert video.track(FRAME).frame_index == 0
    assert server.flags == ["S", "S", "E"]


def test_busy_for_one_more_object_leaves_the_video_usable(open_video):
    server = Server({1: ServerBusy("no room for a further object. Wait.")})
    with open_video(server) as video:
        video.track(FRAME)
        with pytest.raises(ServerBusy, match="further object"):
            video.track(FRAME)
        assert video.track(FRAME).frame_index == 1


def test_a_lost_video_stays_lost_and_says_why(open_video):
    server = Server({1: LOST})
    video = open_video(server)
    video.track(FRAME)
    for call in (
        lambda: video.track(FRAME),
        lambda: video.track(FRAME),
        video.snapshot,
        lambda: video.prompt(1, points=[(1, 2)]),
        lambda: video.remove(1),
    ):
        with pytest.raises(VideoLost, match=r"START flag.* Open a new video"):
            call()
    assert len(server.transport.requests) == 2, "nothing is sent for a lost video"
    video.close()
    assert server.flags == ["S", "", "E"]


def test_another_clients_video_is_left_alone(open_video):
    server = Server()
    owner, other = open_video(server, video_id=5), open_video(server, video_id=5)
    owner.track(FRAME)
    with pytest.raises(NotOwner):
        other.track(FRAME)
    other.close()
    assert owner.track(FRAME).frame_index == 1, "END would have freed it"
    owner.close()


def test_a_broken_stream_loses_the_video_and_close_frees_it_over_a_new_one(open_video):
    server = Server({2: Broken("UNAVAILABLE Socket closed")})
    video = open_video(server)
    video.track(FRAME)
    video.track(FRAME)
    with pytest.raises(VideoLost, match="stream to test:1 broke while waiting for frame 2: UNAVAILABLE Socket closed"):
        video.track(FRAME)
    video.close()
    assert len(server.transport.headers) == 2
    assert server.transport.headers[0] == server.transport.headers[1]
    assert server.flags == ["S", "", "", "E"]
    assert server.toy.videos == {}


def test_a_break_is_the_answer_to_all_frames_in_flight(open_video):
    server = Server({1: None, 2: None, 3: Broken("UNAVAILABLE Socket closed")})
    with open_video(server) as video:
        results = video.track_many([FRAME] * 9, in_flight=3)
        assert next(results).frame_index == 0
        for _ in range(3):
            with pytest.raises(VideoLost):
                next(results)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("UNAVAILABLE failed to connect to all addresses; Connection refused", ServerUnavailable),
        ("UNAVAILABLE Server exiting", ServerBusy),
        ("INTERNAL what", VideoLost),
    ],
    ids=["no_server", "stopping", "unknown"],
)
def test_a_break_before_the_first_answer_says_whether_there_is_a_server(open_video, text, kind):
    server = Server({0: Broken(text)})
    video = open_video(server)
    with pytest.raises(kind, match="test:1.*" + text):
        video.track(FRAME)
    with pytest.raises(VideoLost, match=r"lost before|broke"):
        video.track(FRAME)
    video.close()
    assert server.flags == (["S"] if kind is ServerUnavailable else ["S", "E"]), "END goes only where somebody may hear it"


def test_a_stream_that_broke_while_idle_does_not_make_close_fail(open_video):
    server = Server({1: Broken("UNAVAILABLE idle timeout of a gateway")})
    video = open_video(server)
    video.track(FRAME)
    video.close()
    assert server.flags == ["S", "E", "E"]
    assert server.toy.videos == {}


def test_a_request_that_could_not_be_sent_loses_the_video_rather_than_the_order(open_video):
    server = Server()
    toy = server.toy

    def fail_once(request):
        if len(server.transport.requests) == 2:
            raise MemoryError
        return toy(request)

    server.toy = fail_once
    video = open_video(server)
    video.track(FRAME)
    with pytest.raises(MemoryError):
        video.track(FRAME)
    with pytest.raises(VideoLost, match="could not be sent"):
        video.track(FRAME)
    video.close()
    assert toy.videos == {}


# ---- deadlines


def test_the_deadline_of_the_first_frame_means_a_full_server(open_video):
    video = open_video(Server({0: None}))
    with pytest.raises(ServerBusy, match=r"no answer for the first frame from test:1 within 0.05 s\. .* full"):
        video.track(FRAME)
    video.close()


def test_the_deadline_of_a_later_frame_loses_the_video(open_video):
    server = Server({2: None})
    video = open_video(server)
    video.track(FRAME)
    video.track(FRAME)
    started = time.monotonic()
    with pytest.raises(VideoLost, match=r"no answer for frame 2 from test:1 within 0.05 s\. Open a new video"):
        video.track(FRAME)
    assert 0.04 < time.monotonic() - started < 2
    video.close()
    assert server.toy.videos == {}, "END went over a new stream"


def test_other_deadlines_say_what_they_waited_for(open_video):
    for call, what in ((lambda video: video.snapshot(), "the snapshot"), (lambda video: video.remove(4), "the removal of object 4")):
        video = open_video(Server({1: None}))
        video.track(FRAME)
        with pytest.raises(VideoLost, match=f"no answer for {what} from test:1"):
            call(video)
        video.close()


def test_an_end_that_nobody_hears_is_an_error_of_close(open_video):
    video = open_video(Server({1: None, 2: None}))
    video.track(FRAME)
    with pytest.raises(VideoLost, match=r"no answer for END from test:1 within 0.05 s"):
        video.close()
    video.close()


def test_an_error_inside_with_is_not_hidden_by_one_of_close(open_video):
    with pytest.raises(KeyError, match="mine"), open_video(Server({1: None, 2: None})) as video:
        fail(video.track(FRAME))


def test_an_end_that_the_server_refuses_is_no_error(open_video):
    server = Server({1: LOST})
    video = open_video(server)
    video.track(FRAME)
    video.close()
    assert server.flags == ["S", "E"]


def fail(_):
    raise KeyError("mine")


# ---- the rest


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
