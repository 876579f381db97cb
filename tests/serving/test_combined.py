"""Two variants on one server: each serves its own videos, as it does alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from masklet import TrackedFrame, Tracker
from masklet.cli import main
from masklet_build import nano
from masklet_build.models.variants import served_name, variant
from masklet_build.repository.assemble import assemble
from masklet_build.repository.combine import combine
from masklet_build.serve import Server
from tests.serving.agreement import equal
from tests.serving.clips import clip
from tests.serving.scraping import eventually
from tests.serving.small import VARIANT

pytestmark = [pytest.mark.server, pytest.mark.torch]

FRAMES = clip(6, seed=12)
SERVED = served_name(variant(VARIANT))
MODELS = {"nano": "tracker_nano", VARIANT: f"tracker_{SERVED}"}


@pytest.fixture(scope="module", params=["embedded", pytest.param("separate", marks=pytest.mark.slow)])
def servers(
    request: pytest.FixtureRequest, small_engines: Path, serving_python: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Server]]:
    """Of both variants under "both", and of each alone under its name."""
    folder = tmp_path_factory.mktemp("combined")
    engines = {"nano": nano.ENGINES, VARIANT: small_engines}
    alone = {name: assemble(name, made, folder / name, target=request.param, threads=1) for name, made in engines.items()}
    combine(list(alone.values()), folder / "both")
    with ExitStack() as stack:
        repositories = {"both": folder / "both", **alone}
        yield {
            name: stack.enter_context(Server(repository, python=serving_python, grpc_port=0, http_port=0, metrics_port=0, exit_timeout_s=1))
            for name, repository in repositories.items()
        }


def tracked(url: str, model: str) -> list[TrackedFrame]:
    with Tracker(url, model=model) as tracker, tracker.open("the same name") as video:
        video.prompt(1, points=[(20, 20)])
        return [video.track(frame, logits=True) for frame in FRAMES]


def test_each_variant_gives_what_it_gives_alone(servers: dict[str, Server]) -> None:
    for name, model in MODELS.items():
        together, alone = tracked(servers["both"].grpc_url, model), tracked(servers[name].grpc_url, "tracker")
        assert all(equal(one, other) for one, other in zip(together, alone, strict=True))


def test_videos_of_one_name_on_two_trackers_do_not_meet(servers: dict[str, Server]) -> None:
    alone = {name: tracked(servers[name].grpc_url, "tracker") for name in MODELS}
    with ExitStack() as stack:
        trackers = {name: stack.enter_context(Tracker(servers["both"].grpc_url, model=model)) for name, model in MODELS.items()}
        videos = {name: stack.enter_context(tracker.open("the same name")) for name, tracker in trackers.items()}
        for video in videos.values():
            video.prompt(1, points=[(20, 20)])
        for index, frame in enumerate(FRAMES):
            for name, video in videos.items():
                assert equal(video.track(frame, logits=True), alone[name][index])
    assert alone["nano"][0].logits.shape != alone[VARIANT][0].logits.shape
    assert any(np.any(one.masks) for one in alone["nano"])


def test_a_probe_asks_every_tracker_or_the_one_that_is_named(servers: dict[str, Server], capsys: pytest.CaptureFixture[str]) -> None:
    def probed(*words: str) -> tuple[int, str]:
        code = main(["probe", servers["both"].grpc_url, "--metrics-url", servers["both"].metrics_url, *words])
        return code, capsys.readouterr().out.strip()

    for model in ((), ("--model", "tracker_nano")):
        assert probed(*model) == probed("--live", *model) == (0, "alive")
        assert probed("--ready", *model) == (0, "ready")
        code, line = probed("--frame", *model)
        assert (code, line.startswith("alive: a frame took ")) == (0, True), line
    code, line = probed("--ready", "--model", "tracker")
    assert (code, line.endswith(f"knows no tracker, only {', '.join(sorted(MODELS.values()))}")) == (1, True), line


def test_metrics_tell_the_variants_apart(servers: dict[str, Server]) -> None:
    tracked(servers["both"].grpc_url, MODELS["nano"])
    numbers = eventually(servers["both"], lambda numbers: numbers.get('frames_total{model="memory_bank_nano"}', 0) >= len(FRAMES))
    assert numbers['frames_total{model="memory_bank_nano"}'] >= len(FRAMES)
    assert f'frames_total{{model="memory_bank_{SERVED}"}}' in numbers
