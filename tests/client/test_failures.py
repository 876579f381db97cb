"""What errors, broken streams and deadlines leave behind."""

from __future__ import annotations

import time

import numpy as np
import pytest

from masklet import BadPrompt, MaskletError, NotOwner, ServerBusy, ServerUnavailable, VideoLost
from masklet.testing import Broken, Refusal
from tests.fakes.toy_tracker import Server

FRAME = np.zeros((24, 32, 3), dtype=np.uint8)
LOST = Refusal("in ensemble 'tracker', inference request for sequence 1 to model 'memory_bank' must specify the START flag on the first request")


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
    with open_video(server, video_id=1) as video:
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
        with pytest.raises(VideoLost, match=r"idle_seconds.* Open a new video .*START flag"):
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
    assert time.monotonic() - started > 0.04
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
    def application(_result):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"), open_video(Server({1: None, 2: None})) as video:
        application(video.track(FRAME))


def test_an_end_that_the_server_refuses_is_no_error(open_video):
    server = Server({1: LOST})
    video = open_video(server)
    video.track(FRAME)
    video.close()
    assert server.flags == ["S", "E"]
