"""What a frame of a probe is, and how what comes back is judged; how gauges are read. Real servers: tests/deploy."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from masklet import MaskletError, NotOwner, ServerBusy, ServerFault, ServerUnavailable
from masklet.cli import main
from masklet.envelope import Envelope
from masklet.gauges import Bank, read_banks
from masklet.health import Health, probe
from masklet.stage import Stage
from masklet.testing import Answer, Refusal, Request
from tests.fakes.metrics_page import metrics_page
from tests.fakes.toy_grpc import serving
from tests.fakes.toy_tracker import ToyTracker

GAUGES = """\
# HELP masklet_videos Live videos
# TYPE masklet_videos gauge
masklet_videos{l} {videos}
masklet_videos_limit{l} 64
masklet_draining{l} {draining}
masklet_bank_bytes{l} 1
masklet_bank_reserved_bytes{l} {reserved}
masklet_bank_limit_bytes{l} 1000
masklet_object_bytes{l} 300
masklet_videos_started_total{l} 7
masklet_frame_seconds_bucket{le="0.001"} 4
nv_inference_count{model="memory_bank",version="1"} 12
"""


def text(label: str = "", videos: int = 3, reserved: int = 600, draining: int = 0) -> str:
    filled = GAUGES.replace("{l}", label)
    return filled.replace("{videos}", str(videos)).replace("{reserved}", str(reserved)).replace("{draining}", str(draining))


@pytest.fixture
def metrics() -> Iterator[Callable[[str], str]]:
    """Serves a text, and gives its URL."""
    said: list[str] = []
    with metrics_page(lambda: said[-1]) as url:
        yield lambda text: said.append(text) or url


def test_a_probe_is_two_whole_videos_of_one_request_each_under_ids_of_their_own() -> None:
    toy, requests = ToyTracker(), list[Request]()
    with serving(lambda request: requests.append(request) or toy(request)) as (url, servicer, _):
        for _ in range(2):
            assert probe(url, 5).health is Health.ALIVE
    assert toy.videos == {}
    assert [(request.start, request.end) for request in requests] == [(True, True)] * 4
    ids = [str(request.video_id) for request in requests]
    assert len(set(ids)) == 4
    assert [headers["x-video-id"] for headers in servicer.headers] == [ids[0], ids[2]]
    for request in requests:
        (item,) = json.loads(request.tensors["PROMPTS"][0, 0])
        assert item["points"], "without an object the engines would not be asked"
        assert request.tensors["FRAME"].size > 0


def test_one_failure_of_two_is_enough() -> None:
    toy, said = ToyTracker(), ["", "Stub process 'preprocess_0_1' is not healthy."]
    for order in (said, said[::-1]):
        texts = iter(order)
        with serving(lambda request, texts=texts: Refusal(text) if (text := next(texts)) else toy(request)) as (url, _, _):
            assert probe(url, 5).health is Health.DEAD


@pytest.mark.parametrize("behind", [1, 2])
def test_a_server_that_answers_with_what_belongs_to_another_request_is_dead(behind: int) -> None:
    """`behind`: the stages hand out the answer of so many requests before: of this probe's other video, or of a stranger's."""
    toy, tokens = ToyTracker(), ["a stranger's"] * behind

    def late(request: Request) -> Answer:
        tokens.append(request.id)
        answer = toy(request)
        return replace(answer, tensors={**answer.tensors, "TOKEN": np.frombuffer(tokens[-1 - behind].encode(), np.uint8)})

    with serving(late) as (url, _, _):
        finding = probe(url, 5)
    assert finding.health is Health.DEAD
    assert "out of step" in finding.text


def test_a_stage_that_got_what_was_made_of_another_request_is_a_sign_of_death() -> None:
    stage = Stage("image_encoder_0_0", lambda counter: None)
    with pytest.raises(ServerFault) as fault:
        stage.receive(stage.send(Envelope(token="another")), "this", 1)
    stage.close()
    with serving(lambda request: Refusal(fault.value.wire(request.id))) as (url, _, _):
        assert probe(url, 5).health is Health.DEAD


def test_a_server_of_a_version_whose_answers_do_not_say_whose_they_are_is_doubtful() -> None:
    toy = ToyTracker()
    with serving(lambda request: Answer({**toy(request).tensors, "TOKEN": np.array([request.id.encode()], np.object_)})) as (url, _, _):
        finding = probe(url, 5)
    assert finding.health is Health.DOUBTFUL
    assert "different versions" in finding.text


@pytest.mark.parametrize(
    ("refusal", "health"),
    [
        (ServerBusy("no room for the object").wire(), Health.ALIVE),
        (NotOwner("the id is taken").wire(), Health.ALIVE),
        (ServerFault("mask_decoder failed").wire(), Health.DOUBTFUL),
        ("Server is stopping, scheduler for model has stopped accepting new inference requests", Health.DOUBTFUL),
        ("in ensemble 'tracker', Stub process 'preprocess_0_0' is not healthy.", Health.DEAD),
        ("something new", Health.DOUBTFUL),
    ],
)
def test_a_word_of_the_bank_is_a_sign_of_life_and_a_failure_inside_is_not(refusal: str, health: Health) -> None:
    with serving(lambda request: Refusal(f"in ensemble 'tracker', {refusal}")) as (url, _, _):
        finding = probe(url, 5)
    assert finding.health is health
    assert (finding.text == "") == (health is Health.ALIVE)


def test_the_gauges_of_one_bank_and_of_several_are_read(metrics: Callable[[str], str]) -> None:
    assert read_banks(metrics(text()), 5) == {"tracker": Bank(3, 64, 600, 1000, 300, draining=False)}
    several = text('{model="memory_bank_nano"}', draining=1) + text('{model="memory_bank_sam2.1_t"}', videos=64)
    banks = read_banks(metrics(several), 5)
    assert set(banks) == {"tracker_nano", "tracker_sam2.1_t"}
    assert (banks["tracker_nano"].draining, banks["tracker_sam2.1_t"].draining) == (True, False)


@pytest.mark.parametrize(
    ("videos", "reserved", "room"), [(63, 700, True), (64, 0, False), (0, 701, False), (65, 0, False)], ids=["just", "videos", "bytes", "over"]
)
def test_there_is_room_where_the_bank_would_admit_a_video(metrics: Callable[[str], str], videos: int, reserved: int, room: bool) -> None:
    assert read_banks(metrics(text(videos=videos, reserved=reserved)), 5)["tracker"].has_room is room


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        ("nv_inference_count 3\n", ServerFault, "no metrics of masklet"),
        (text().replace("masklet_object_bytes", "other"), ServerFault, "no masklet_object_bytes"),
    ],
    ids=["not masklet", "another version"],
)
def test_metrics_that_say_nothing_are_an_error(metrics: Callable[[str], str], answer: str, kind: type[MaskletError], says: str) -> None:
    with pytest.raises(kind, match=says):
        read_banks(metrics(answer), 5)
    with pytest.raises(ServerUnavailable, match="does not answer"):
        read_banks("http://127.0.0.1:1/metrics", 5)


def test_metrics_are_not_read_through_the_proxy_that_a_pod_has_for_everything_else(metrics: Callable[[str], str], monkeypatch) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert read_banks(metrics(text()), 5)["tracker"].videos == 3


def test_a_server_that_sees_the_file_a_moment_later_is_not_doubted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pages = iter((text(videos=0), text(videos=0, draining=1)))
    with metrics_page(lambda: next(pages)) as url:
        assert main(["drain", "--drain-file", str(tmp_path / "file"), "--metrics-url", url]) == 0
    (said,) = capsys.readouterr().err.splitlines()
    assert "no video is live" in said
