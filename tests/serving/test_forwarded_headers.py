"""A server whose Triton forwards headers as request parameters."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from masklet import BadParameter, Tracker
from masklet_build import nano
from masklet_build.repository.assemble import assemble
from masklet_build.serve import Server, launcher
from tests.serving.wire import Wire

pytestmark = pytest.mark.server

FRAME = np.zeros((48, 64, 3), np.uint8)


@pytest.fixture(scope="module")
def forwarding(tmp_path_factory, serving_python) -> Iterator[Server]:
    """`--grpc-header-forward-pattern` stands behind the options of `serve`, as in the image."""
    folder = tmp_path_factory.mktemp("forwarding")
    repository = assemble("nano", nano.ENGINES, folder / "repository", settings={"memory_bank.drain_file": str(folder / "draining")})
    usual = launcher.command
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launcher, "command", lambda *of: [*usual(*of), "--grpc-header-forward-pattern=.*"])
        with Server(repository, python=serving_python, grpc_port=0, http_port=0, metrics_port=0, exit_timeout_s=1) as server:
            yield server


def test_headers_are_no_unknown_parameters(forwarding):
    with Tracker(forwarding.grpc_url, headers={"Authorization": "Bearer x", "X-Custom": "y"}) as tracker, tracker.open() as video:
        video.prompt(1, points=[(20, 15)])
        assert [video.track(FRAME).frame_index for _ in range(2)] == [0, 1]


def test_a_mistake_in_a_parameter_is_still_told(forwarding):
    with Wire(forwarding.grpc_url) as wire:
        error = wire.ask(77, {"FRAME": FRAME, "PROMPTS": []}, start=True, end=True, frame_idx=3)
    assert isinstance(error, BadParameter)
    assert "'frame_idx'" in str(error)
