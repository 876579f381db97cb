"""What the gateways let through of a stream: docker/gateways/messages.lua in the real Envoy and the real HAProxy."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

import grpc
import pytest
from tritonclient.grpc import service_pb2

from masklet.errors import BadRequest, FrameTooLarge, ServerBusy
from tests.deploy.message_server import STREAM, Received, behind
from tests.deploy.pieces import send_pieces
from tests.deploy.streams import opened
from tests.deploy.tools import tool
from tests.failover.gateways import Envoy, Gateway, HAProxy

pytestmark = pytest.mark.programs

MIB = 1 << 20
LIMIT = 128 * MIB  # of one message
WAITING = 64  # requests of a stream
WAITING_BYTES = 256 * MIB
PATIENCE_S = 30


@pytest.fixture(scope="module", params=[Envoy, HAProxy], ids=lambda kind: kind.name)
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, Received]]:
    kind = request.param
    with behind(kind, tool(kind.name), tmp_path_factory.mktemp(kind.name)) as made:
        yield made


@pytest.fixture
def gateway(running: tuple[Gateway, Received]) -> Gateway:
    return running[0]


@pytest.fixture
def received(running: tuple[Gateway, Received]) -> Received:
    running[1].messages.clear()
    running[1].answers.set()
    return running[1]


def message(token: str, size: int = 0) -> bytes:
    """A request to the tracker of `size` bytes in all, or a short one."""
    request = service_pb2.ModelInferRequest(model_name="tracker", id=token)
    bare = request.SerializeToString()
    if not size:
        return bytes(bare)
    for prefix in range(2, 12):  # tag and length before the contents take a few bytes
        request.raw_input_contents[:] = [bytes(size - len(bare) - prefix)]
        made = request.SerializeToString()
        if len(made) == size:
            return bytes(made)
    raise AssertionError(f"no request has {size} bytes")


def test_a_request_over_the_limit_is_refused_under_its_id_and_nothing_of_it_reaches_the_server(gateway: Gateway, received: Received) -> None:
    with opened(gateway) as stream, opened(gateway) as other:
        stream.send(message("first"), message("big", LIMIT + 1), message("limit", LIMIT))
        other.send(message("other"))
        assert other.receive() == ("other", None)
        assert stream.receive() == ("first", None)
        token, error = stream.receive()
        assert token == "big"
        assert isinstance(error, FrameTooLarge)
        assert "one request of 128.0 MiB, and this gateway takes 128.0 MiB" in str(error)
        assert str(error).endswith("can raise MAX_MESSAGE.")
        assert stream.receive() == ("limit", None)
        stream.send(message("last"))
        assert stream.end() == [("last", None)]
        assert other.end() == []
    (instead,) = [one for one in map(service_pb2.ModelInferRequest.FromString, received.messages) if one.id == "big"]
    assert instead.model_name.endswith("can raise MAX_MESSAGE. [request big]")
    sizes = sorted(len(one) for one in received.messages)
    assert sizes[-1] == LIMIT
    assert sum(sizes[:-1]) < 1000
    assert message("limit", LIMIT) in received.messages


def test_what_waits_on_a_stream_is_bounded_and_the_stream_goes_on(gateway: Gateway, received: Received) -> None:
    received.answers.clear()
    tokens = [f"{number}" for number in range(WAITING + 3)]
    with opened(gateway) as stream, opened(gateway) as other:
        stream.send(*map(message, tokens))
        other.send(message("other"))
        until(lambda: len(received.messages) == WAITING + 4)
        received.answers.set()
        stream.send(message("next"))  # the server answers when it gets something
        other.send(message("next"))
        assert [other.receive() for _ in range(2)] == [("other", None), ("next", None)]
        answers = [stream.receive() for _ in range(WAITING + 3)]
        assert [token for token, _ in answers] == tokens
        assert [error for _, error in answers[:WAITING]] == [None] * WAITING
        for _, error in answers[WAITING:]:
            assert isinstance(error, ServerBusy)
            assert "Send this one again" in str(error)
        stream.receive()  # "next" may have been sent before the others were answered
        stream.send(message("later"))
        assert stream.end() == [("later", None)]


def test_the_bytes_that_wait_on_a_stream_are_bounded(gateway: Gateway, received: Received) -> None:
    received.answers.clear()
    each = WAITING_BYTES // 4 - 1
    with opened(gateway) as stream:
        stream.send(*(message(f"{number}", each) for number in range(5)), message("small"))
        until(lambda: len(received.messages) == 6)
        received.answers.set()
        answers = stream.end()
    assert [token for token, _ in answers] == ["0", "1", "2", "3", "4", "small"]
    assert [type(error) for _, error in answers] == [type(None)] * 4 + [ServerBusy, ServerBusy]
    assert sum(map(len, received.messages)) < WAITING_BYTES + 1000


def test_a_flood_gets_no_more_answers_than_the_bound(gateway: Gateway, received: Received) -> None:
    received.answers.clear()
    with opened(gateway) as stream:
        stream.send(*(message(f"{number}", 2000) for number in range(40 * WAITING)))
        until(lambda: len(received.messages) >= WAITING)
        seen = -1
        while seen != (seen := len(received.messages)):  # nothing more comes; answers would make room
            time.sleep(2)
        assert WAITING <= seen <= 16 * WAITING
        received.answers.set()
        with contextlib.suppress(grpc.RpcError):  # HAProxy may end it
            stream.end()


def test_a_compressed_request_is_refused_since_it_may_be_of_any_size(gateway: Gateway, received: Received) -> None:
    with opened(gateway, grpc.Compression.Gzip) as stream:
        stream.send(message("bomb", MIB))
        ((token, error),) = stream.end()
    assert token == ""  # it is compressed too
    assert isinstance(error, BadRequest)
    assert "without gRPC compression" in str(error)
    assert sum(map(len, received.messages)) < 1000


@pytest.mark.parametrize("size", [1, 3, 4, 5, 6, 7, 1000])
def test_it_does_not_matter_how_a_stream_is_cut(gateway: Gateway, received: Received, size: int) -> None:
    small, refused, large = message("small"), message("refused", 50), message("large", 300)
    body = framed(small) + framed(refused, compressed=1) + framed(b"") + framed(large) + framed(refused, compressed=1) + framed(small)
    answers = send_pieces(gateway.url, STREAM, [body[at : at + size] for at in range(0, len(body), size)])
    got = received.messages
    assert [got[0], got[2], got[3], got[5]] == [small, b"", large, small]
    for one in (got[1], got[4]):
        assert service_pb2.ModelInferRequest.FromString(one).id == "refused"
    assert (len(got), answers.count(b"[request refused]")) == (6, 2)


@pytest.mark.parametrize("last", [0, 1, 2000])
def test_a_stream_may_end_with_a_refused_request(gateway: Gateway, received: Received, last: int) -> None:
    """`last`: bytes of it that come together with the end of the stream."""
    body = framed(message("small")) + framed(message("refused", 5000), compressed=1)
    cut = len(body) - last
    answers = send_pieces(gateway.url, STREAM, [body[:1000], body[1000:cut], *([body[cut:]] if last else [])], end_with_last=bool(last))
    assert [service_pb2.ModelInferRequest.FromString(one).id for one in received.messages] == ["small", "refused"]
    assert answers.index(b"small") < answers.index(b"refused")


def test_the_script_failed_nowhere(gateway: Gateway) -> None:
    """Envoy would go on without it. The last test that uses a gateway."""
    said = (gateway.folder / f"{gateway.name}.log").read_text()
    assert "messages.lua" not in said
    assert "error" not in said


def framed(message: bytes, compressed: int = 0) -> bytes:
    return bytes([compressed]) + len(message).to_bytes(4, "big") + message


def until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.02)
