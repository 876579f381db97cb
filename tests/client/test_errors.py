"""Errors of the server become the right class, whatever Triton puts around them."""

from __future__ import annotations

import gc

import pytest

from masklet import errors


def tree(base: type[errors.MaskletError]) -> list[type[errors.MaskletError]]:
    return [base, *(kind for child in base.__subclasses__() for kind in tree(child))]


@pytest.mark.parametrize("kind", tree(errors.MaskletError), ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(
    "prefix", ["", "in ensemble 'tracker', ", "[request id: 7] in ensemble 'tracker', Failed: "], ids=["bare", "ensemble", "request"]
)
def test_every_error_survives_the_wire(kind, prefix):
    sent = kind("what happened: 1 and 2.\nWhat to do.")
    received = errors.from_server(prefix + sent.wire())
    assert type(received) is kind
    assert str(received) == str(sent)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("64 videos are live, which is this server's limit. Retry in 12 s, or open the video on another server.", 12.0),
        ("64 videos are live, which is this server's limit. Retry later, or open the video on another server.", None),  # of an older server
        ("this server is draining: it will stop, and takes no new videos. Open the video on another server.", None),
    ],
)
def test_a_full_server_says_in_how_many_seconds_to_ask_again(text, seconds):
    received = errors.from_server("in ensemble 'tracker', " + errors.ServerBusy(text).wire("a1"))
    assert (type(received), str(received), received.retry_after_s) == (errors.ServerBusy, text, seconds)
    told = errors.ServerBusy(f"a:1: {received} The prompts of objects [1] go with the next frame.")
    assert told.retry_after_s == seconds, "whatever is said around it"


def test_codes_are_different():
    codes = [kind.code for kind in tree(errors.MaskletError)]
    assert len(codes) == len(set(codes))


def test_the_drawing_of_the_tree_names_every_class():
    drawn = [line.split("── ")[1].split()[0] for line in errors.__doc__.splitlines() if "── " in line]
    assert sorted(drawn) == sorted(kind.__name__ for kind in tree(errors.MaskletError)[1:])


# Words of Triton 2.51, of gRPC 1.85 and of gateways.
TEXTS = [
    (
        errors.VideoLost,
        "in ensemble 'tracker', inference request for sequence 77 to model 'bank' must specify the START flag on the first request of the sequence",
    ),
    (errors.BadVideoId, "in ensemble 'tracker', inference request to model 'bank' must specify a non-zero or non-empty correlation ID"),
    (errors.BadVideoId, "string correlation ID cannot be longer than 128 characters"),
    (errors.BadRequest, "unexpected inference input 'FOO' for model 'tracker'"),
    (errors.BadRequest, "[request id: 7] expected 4 inputs but got 3 inputs for model 'tracker'. Got input(s) ['PROMPTS'], but missing"),
    (errors.ServerFault, "in ensemble 'tracker', expected 2 inputs but got 1 inputs for model 'image_encoder'. Got input(s) ['IMAGE'], but missing"),
    (errors.ServerFault, "in ensemble 'tracker', unexpected shape for input 'ENVELOPE' for model 'memory_bank'. Expected [-1,-1], got [1]"),
    (errors.BadRequest, "[request id: <id_unknown>] inference input 'FRAME' data-type is 'FP32', but model 'tracker' expects 'UINT8'"),
    (
        errors.BadRequest,
        "[request id: <id_unknown>] unexpected shape for input 'FRAME' for model 'tracker'. Expected [-1,-1,-1,-1], got [1,1]. NOTE: Setting",
    ),
    (errors.BadRequest, "[request id: <id_unknown>] input 'PROMPTS' batch size does not match other inputs for 'tracker'"),
    (errors.BadRequest, "[request id: <id_unknown>] input byte size mismatch for input 'STATE' for model 'tracker'. Expected 5, got 3"),
    (errors.BadRequest, "in ensemble 'tracker', [request id: <id_unknown>] out of bounds index 0: request has 0 inputs"),
    (
        errors.BadRequest,
        "in ensemble 'tracker', incomplete string data for inference input 'PROMPTS', expecting string of length 9 but only 2 bytes available",
    ),
    (errors.BadRequest, "[request id: <id_unknown>] input 'PROMPTS' already exists in request"),
    (errors.ServerBusy, "Server is stopping, scheduler for model has stopped accepting new inference requests"),
    (errors.ServerBusy, "UNAVAILABLE Server exiting"),
    (errors.ServerBusy, "in ensemble 'tracker', timeout of the corresponding sequence has been expired"),
    (errors.ServerBusy, "in ensemble 'tracker', Exceeds maximum queue size"),
    (errors.ServerFault, "in ensemble 'tracker', Stub process 'bank_0_0' is not healthy."),
    (errors.ServerUnavailable, "Request for unknown model: 'tracker' is not found"),
    (errors.ServerUnavailable, "Request for unknown model: 'tracker' has no available versions"),
    (errors.ServerUnavailable, "UNAVAILABLE failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: Connection refused"),
    (errors.ServerUnavailable, "UNAVAILABLE DNS resolution failed for nowhere:8001"),
    (errors.ServerUnavailable, "UNAVAILABLE no healthy upstream"),
    (errors.ServerUnavailable, "UNIMPLEMENTED "),
    (errors.ServerUnavailable, "PERMISSION_DENIED RBAC: access denied"),
    (errors.ServerUnavailable, "UNAVAILABLE This protocol is restricted, expecting header 'triton-grpc-protocol-admin-key'"),
    (errors.ServerFault, "something that nobody has ever seen"),
    (errors.ServerFault, ""),
]


@pytest.mark.parametrize(("kind", "text"), TEXTS, ids=[f"{number}_{kind.__name__}" for number, (kind, _) in enumerate(TEXTS)])
def test_texts_of_triton_and_grpc_are_known(kind, text):
    error = errors.from_server(text)
    assert type(error) is kind
    assert text.split("] ")[-1].removeprefix("in ensemble 'tracker', ").strip().rstrip(".") in str(error), "the server's own words must be kept"


def test_a_gateways_refusal_is_read_out_of_tritons_quote():
    error = errors.from_server("[request id: ab12] Request for unknown model: 'MASKLET_SERVER_BUSY: it's full. Wait. [request ab12]' is not found")
    assert (type(error), str(error)) == (errors.ServerBusy, "it's full. Wait.")


def test_a_code_of_a_newer_server_is_told_and_not_lost():
    error = errors.from_server("MASKLET_TOO_WET: it rains. Come in.")
    assert type(error) is errors.ServerFault
    assert "MASKLET_TOO_WET: it rains. Come in." in str(error)


def test_an_error_is_raised_as_it_was_in_a_copy():
    class Mine(errors.VideoLost):
        def __init__(self, number, what):
            super().__init__(f"{what} {number}")

    kept = Mine(7, "server")
    kept.state, kept.__cause__ = b"state", ValueError("why")
    raised = errors.copy_of(kept)
    assert raised is not kept
    assert (type(raised), str(raised), raised.state, raised.__cause__) == (Mine, "server 7", b"state", kept.__cause__)
    other = ValueError("somebody else's")
    assert errors.copy_of(other) is other
    del kept, raised, Mine
    gc.collect()  # it is of the tree no more, which other tests look at
