"""What a server says of itself, and what is told where it does not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tomllib

from masklet import BadParameter, ServerBusy, ServerFault, ServerInfo, ServerLimits, ServerRoom, ServerUnavailable
from masklet.contract import VERSION
from masklet.testing import Broken, MockTransport, answer

LIMITS = {
    "frame_side": 4096,
    "frame_pixels": 8847360,
    "frame_bytes": 1 << 24,
    "prompts": 32,
    "mask_pixels": 4096,
    "points": 64,
    "objects": 48,
    "prompted_frames": 8,
    "videos": 64,
    "idle_seconds": 75.0,
}
TOLD = {
    "variant": "nano",
    "image_size": 256,
    "cell": 4,
    "precision": "fp32",
    "checkpoint_sha256": "ab",
    "version": "0.2.0",
    "limits": LIMITS | {"of_a_newer_server": 1},
    "room": {"videos": 3, "objects": 90},
    "of_a_newer_server": 1,
}


def told(request, content=TOLD, **changed):
    made = answer(request, {}, draining=True).tensors
    return type(answer(request, {}))({**made, "SNAPSHOT": np.frombuffer(json.dumps(content).encode(), np.uint8), **changed})


def test_it_says_everything_once_and_needs_no_video(make_tracker):
    transport = MockTransport(told)
    info = make_tracker("test:1", transport=transport, headers={"k": "v"}).info()
    assert info == ServerInfo("test:1", "nano", 256, 4, "fp32", "ab", "0.2.0", VERSION, ServerLimits(**LIMITS), ServerRoom(3, 90), True)
    (request,) = transport.requests
    assert (request.start, request.end, request.parameters) == (True, True, {"masks": "none", "info": True})
    assert dict(transport.headers[0]) == {"k": "v", "x-video-id": str(request.video_id)}


@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        pytest.param(lambda request: BadParameter("unknown request parameter 'info'. Known: masks."), ServerFault, "version before", id="older"),
        pytest.param(lambda request: told(request, TOLD | {"limits": {}}), ServerFault, "same version", id="without_limits"),
        pytest.param(lambda request: told(request, SNAPSHOT=np.zeros(0, np.uint8)), ServerFault, "same version", id="says_nothing"),
        pytest.param(lambda request: told(request, TOKEN=np.frombuffer(b"other", np.uint8)), ServerFault, "out of step", id="of_another_request"),
        pytest.param(lambda request: Broken("UNAVAILABLE Connection refused"), ServerUnavailable, "refused", id="unreached"),
        pytest.param(lambda request: ServerBusy("full. Retry in 3 s."), ServerBusy, "full", id="busy"),
        pytest.param(lambda request: None, ServerUnavailable, r"test:1 gave no answer within 0.05 s", id="silent"),
    ],
)
def test_where_it_says_nothing_the_reason_is_told(make_tracker, reply, kind, words):
    with pytest.raises(kind, match=words):
        make_tracker("test:1", timeout_s=0.05, transport=MockTransport(reply)).info()


@pytest.mark.parametrize("distribution", ["client", "build"])
def test_the_version_is_that_of_the_distributions(distribution):
    text = (Path(__file__).parents[2] / distribution / "pyproject.toml").read_text()
    assert tomllib.loads(text)["project"]["version"] == VERSION
