"""What commands show of errors: no word of the Python API."""

from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image

from masklet import Resilience, Tls, VideoLost, errors
from masklet.cli import main
from masklet.cli.told import told
from masklet.connection import losses
from masklet.connection.operations import restoring
from masklet.connection.pending import PendingResult
from masklet.testing import Broken, MockTransport, Refusal, Request
from masklet.transport.grpc_transport import GrpcTransport
from tests.client.test_errors import TEXTS
from tests.fakes.toy_grpc import serving
from tests.fakes.toy_tracker import ToyTracker

API = re.compile(
    r"timeout_s|[Tt]ls\(|tls=|masklet\.[A-Z]|`state`|\(prompt \d|[Oo]pen (a new|the|your) (video|one)|restore a snapshot|prompts of objects|Tracker"
)
RESET = "INTERNAL Stream removed (RST_STREAM (Received RST_STREAM with error code 2))"
WAITS = PendingResult(restoring(b"x"))


def bad_url() -> ValueError:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # its text is what this is about
        GrpcTransport("http://localhost:8001", tls=Tls())
    return caught.value


SHOWN = [
    bad_url(),
    *(losses.expired("a:1", WAITS, 30, started=started) for started in (False, True)),
    *(losses.broken("a:1", WAITS, text, 10**6, started=True) for text in (RESET, "UNKNOWN Received http2 header with status: 413", "UNAVAILABLE x")),
    losses.out_of_step("a:1", WAITS),
    losses.forgotten(VideoLost("no video is live under id 7: it ended. Open a new one."), 80),
    *(errors.from_server(text) for _, text in TEXTS),
    errors.FrameTooLarge("the frame is 9000 x 9000, 81000000 pixels; the server takes 33177600 pixels. Send it smaller."),
    errors.BadPrompt("object 1 (prompt 0): y is 130. The prompts of objects [1] are dropped. The prompts of objects [2, 3] go with the next frame."),
    errors.ServerBusy("64 videos are live, which is this server's limit. Retry later, or open the video on another server."),
    errors.ServerBusy("this server is draining: it will stop, and takes no new videos. Open the video on another server."),
    errors.NotOwner("this video id is in use by another client. Open your video under another id; random ids do not collide."),
]


@pytest.mark.parametrize("error", SHOWN, ids=lambda error: str(error)[:40])
def test_no_error_speaks_of_python(error):
    assert not API.search(told(error)), told(error)
    assert "--" not in re.sub("--tls|--proxy", "", told(error, options=False)), "no option that only `track` has"


def test_what_is_said_of_the_world_stays():
    error = losses.broken("a:1", WAITS, RESET, 1_382_400, started=True)
    assert "client_max_body_size" in told(error)
    assert "1.38 MB" in told(error)


@pytest.fixture
def frames(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(3):
        Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(folder / f"{number}.png")
    return folder


@pytest.mark.parametrize(
    ("arguments", "reply", "says"),
    [
        (["--url", "http://localhost:8001"], None, "For TLS add --tls"),
        (
            [],
            errors.FrameTooLarge("the frame is 9000 x 50; the server takes 4096 pixels a side. Send it smaller."),
            "Scale frames down with --max-side.",
        ),
        (["--timeout-s", "0.2"], "silence", "with a larger --timeout-s"),
        ([], errors.BadPrompt("object 1 (prompt 0): y is 130. A number from 0 to 96."), "object 1: y is 130. A number from 0 to 96.\n"),
        ([], Refusal("inference request for sequence 1 to model 'x' must specify the START flag"), "with --resilient it goes on by itself"),
    ],
)
def test_the_command_says_what_to_do_on_a_command_line(frames, tmp_path, capsys, monkeypatch, arguments, reply, says):
    def handler(request: Request) -> object:
        return None if reply == "silence" else reply

    with serving(ToyTracker()) as (url, _, _):
        if reply is not None:
            monkeypatch.setattr("masklet.tracker.GrpcTransport", lambda *_, **__: MockTransport(handler))
        where = [] if "--url" in arguments else ["--url", url]
        assert main(["track", str(frames), "--point", "1,2", "--out", str(tmp_path / "out"), *where, *arguments]) == 1
    text = capsys.readouterr().err
    assert says in text
    assert not API.search(text)


def test_a_resilient_run_that_gives_up_says_what_to_do(frames, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("masklet.tracker.GrpcTransport", lambda *_, **__: MockTransport(lambda request: Broken("UNAVAILABLE Socket closed")))
    monkeypatch.setattr("masklet.async_video.Resilience", lambda: Resilience(watchdog_s=0.1, give_up_s=0.1))
    assert main(["track", str(frames), "--url", "a:1", "--resilient", "--point", "1,2", "--out", str(tmp_path / "out")]) == 1
    text = capsys.readouterr().err
    assert "Start again when a server is there." in text
    assert not API.search(text)
