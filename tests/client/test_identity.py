"""Whose answer an answer is: paired by the request's id, and compared with what the server's stages handed on."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest

from masklet import ServerFault, VideoLost
from masklet.connection.session import Session
from masklet.inputs import raw_tensors
from masklet.testing import Answer, Broken, MockTransport, Refusal, Request, answered
from tests.fakes.toy_replicas import at, frames
from tests.fakes.toy_tracker import Server, ToyTracker

FRAME = np.zeros((24, 32, 3), dtype=np.uint8)


def asked(count: int) -> tuple[Session, list[Any], list[Any], ToyTracker]:
    """A session whose server has the video, and so many frames that are on their way: what their callers hold, and the answers to them."""
    session, toy = Session("test:1", 1, 30), ToyTracker()
    session.frame(FRAME)
    session.resolve(said(toy, *session.ready()))
    results = [session.frame(FRAME) for _ in range(count)]
    return session, results, [said(toy, request) for request in session.ready()], toy


def said(toy: ToyTracker, request: Request) -> Any:
    return answered(request, toy(request))


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_answers_in_any_order_become_the_results_of_their_own_requests(order):
    session, results, answers, _ = asked(3)
    for number in order:
        assert session.resolve(answers[number]) is results[number]
    assert [pending.result().frame_index for pending in results] == [1, 2, 3]


def test_an_event_that_comes_twice_because_of_an_interrupt_changes_nothing():
    session, results, answers, _ = asked(2)
    for event in (answers[0], answers[0], answers[1], answers[1]):
        session.resolve(event)
    assert [pending.result().frame_index for pending in results] == [1, 2]
    assert session.lost is None


def test_an_answer_to_nothing_that_was_asked_loses_the_video():
    session, results, answers, _ = asked(2)
    session.resolve(answers[0])
    assert session.resolve(dataclasses.replace(answers[0])) is None, "the same id in another event: it was answered before"
    with pytest.raises(ServerFault, match=r"not asked.*out of step"):
        results[1].result()
    with pytest.raises(VideoLost):
        session.frame(FRAME)


def test_an_answer_without_an_id_is_nobodys():
    session, results, answers, _ = asked(1)
    session.resolve(dataclasses.replace(answers[0], id=""))
    with pytest.raises(ServerFault, match="not asked"):
        results[0].result()


def test_a_refusal_without_an_id_belongs_to_the_oldest_request_and_to_the_stream_if_there_is_none():
    session, results, answers, _ = asked(2)
    session.resolve(Refusal("MASKLET_BAD_FRAME: no."))
    session.resolve(answers[1])
    assert str(results[0].outcome) == "no."
    assert results[1].result().frame_index == 2
    session.resolve(Refusal("the stream could not be read"))
    assert isinstance(session.lost, VideoLost)


@pytest.mark.parametrize("in_flight", [1, 3])
def test_the_answer_to_another_request_never_becomes_a_result(open_video, in_flight):
    """A stage of the server that is out of step hands out the answer before, as the answer to this request."""
    server = Server()
    toy, before = server.toy, []

    def late(request):
        answer = answered(request, toy(request))
        before.append(answer)
        return answer if len(before) < 3 else Answer(before[-2].tensors, request.id)

    server.toy = late
    video = open_video(server)
    results = video.track_many([FRAME] * 9, in_flight=in_flight)
    assert [next(results).frame_index for _ in range(2)] == [0, 1]
    with pytest.raises(ServerFault, match=r"answered frame 2 with the answer to another request.*out of step"):
        next(results)
    with pytest.raises((ServerFault, VideoLost), match="out of step"):
        next(results)
    with pytest.raises(VideoLost, match="out of step"):
        video.track(FRAME)
    video.close()


def test_a_server_that_says_nothing_of_whose_answer_it_is_has_another_version(open_video):
    server = Server()
    toy = server.toy
    server.toy = lambda request: Answer(toy(request).tensors, request.id)
    with open_video(server) as video, pytest.raises(ServerFault, match="client and server are of different versions"):
        video.track(FRAME)


def test_a_resilient_video_goes_on_elsewhere_when_a_server_is_out_of_step(pair, undisturbed):
    servers, before = pair(), []

    def late(request):
        before.append(answered(request, servers.one._answer(request)))
        return before[-1] if len(before) < 6 else Answer(before[-2].tensors, request.id)

    servers.one.fault = late
    with servers.video as video:
        video.prompt(1, points=[(1, 2)])
        got = [(result.frame_index, result.scores.tolist()) for result in (video.track(frame) for frame in frames(9))]
        assert [cause.cause for cause in video.interruptions] == ["failed"]
    assert got == [(outcome[0], outcome[2]) for outcome in undisturbed(frames(9))]


def test_every_request_has_an_id_of_its_own_and_so_has_every_replay(pair):
    servers = pair()
    servers.one.fault = at(6, fault="cut after")
    with servers.video as video:
        for frame in frames(9):
            video.track(frame)
    ids = [request.id for transport in (servers.to_one, servers.to_other) for request in transport.requests]
    assert len(ids) > 12
    assert len(set(ids)) == len(ids)
    assert all(len(one) == 32 for one in ids)


def test_handlers_of_tests_need_not_name_the_request():
    transport = MockTransport(ToyTracker())
    stream = transport.open_stream({})
    stream.send(request := Request(1, True, False, {**raw_tensors(FRAME), "PROMPTS": np.array([[b"[]"]], dtype=np.object_)}, {}))
    event = stream.receive(1)
    assert (event.id, event.tensors["TOKEN"].tobytes()) == (request.id, request.id.encode())
    assert answered(request, Broken("gone")) == Broken("gone")


def test_the_id_crosses_the_wire_both_ways_in_refusals_too():
    from tritonclient.grpc import service_pb2

    from masklet.transport.grpc_messages import to_event, to_message

    request = Request(1, True, False, {}, {})
    assert to_message(request, "tracker").id == request.id
    for text in ("", "no."):
        response = service_pb2.ModelInferResponse(id=request.id)
        assert to_event(service_pb2.ModelStreamInferResponse(error_message=text, infer_response=response)).id == request.id
