"""What `masklet probe` says of a server, whose port and metrics are real and whose numbers are made up. Real servers: tests/deploy."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import grpc
import pytest
import trustme

from masklet import ServerFault
from masklet.cli import main
from masklet.testing import Refusal
from tests.client.test_health import text
from tests.fakes.metrics_page import metrics_page
from tests.fakes.toy_grpc import serving
from tests.fakes.toy_tracker import ToyTracker

BEAT = 'masklet_beats_total{{stage="memory_bank_0_0"}} {}\n'
ENDLESS_S = "60"  # only something broken uses it up


def page(stage: str = "memory_bank_0_0", tracker: str = "tracker", work: float = 0, longest: float = 0.1, faults: int = 0, label: str = "") -> str:
    """The metrics of a server but for its beats."""
    return text(label) + (
        f'masklet_work_seconds{{stage="{stage}"}} {work}\nmasklet_longest_work_seconds{{stage="{stage}"}} {longest}\n'
        f'masklet_faults_in_a_row{label} {faults}\nnv_inference_exec_count{{model="{tracker}",version="1"}} 3\n'
    )


@contextmanager
def beating(metrics: str, stage: str = "memory_bank_0_0") -> Iterator[str]:
    """Serves metrics of which every look sees a beat more."""
    beats = itertools.count()
    with metrics_page(lambda: f'{metrics}masklet_beats_total{{stage="{stage}"}} {next(beats)}\n') as url:
        yield url


@pytest.fixture
def probed(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Exit code of the command, and what it says."""

    def run(url: str, metrics_url: str, *words: str) -> tuple[int, str]:
        code = main(["probe", url, "--metrics-url", metrics_url, "--timeout-s", ENDLESS_S, *words])
        (line,) = capsys.readouterr().out.splitlines()
        return code, line

    return run


@pytest.fixture
def port() -> Iterator[str]:
    """A port that takes connections, and answers nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize(
    ("metrics", "words", "code", "says"),
    [
        (page(), [], 0, "alive"),
        (page(work=61), [], 1, "dead: memory_bank_0_0 hangs"),
        (page(work=61), ["--live"], 1, "dead: memory_bank_0_0 hangs"),
        (page(work=25, longest=25), [], 3, "slow: an execution of memory_bank_0_0 has not got on for 25 s"),
        (page(work=25, longest=25), ["--live"], 0, "slow: an execution of memory_bank_0_0"),
        (page(work=61, longest=25), [], 3, "slow: "),
        (page(work=61), ["--patience-s", "100"], 3, "slow: "),
        (page(work=7), ["--patience-s", "6"], 1, "dead: "),
    ],
)
def test_alive_slow_and_dead_are_told_apart_without_a_frame(probed, port: str, metrics: str, words: list[str], code: int, says: str) -> None:
    with beating(metrics) as url:
        found, line = probed(port, url, *words)
    assert (found, line.startswith(says)) == (code, True), line


def test_beats_that_stand_still_and_metrics_that_are_silent_are_a_death(probed, port: str) -> None:
    with metrics_page(lambda: page() + 'masklet_beats_total{stage="memory_bank_0_0"} 4\n') as url:
        assert probed(port, url, "--timeout-s", "2")[1].startswith("dead: memory_bank_0_0 gave no sign of life for ")
    assert probed(port, f"http://{port}/metrics", "--timeout-s", "2")[0] == 1


def test_a_short_timeout_is_not_taken_for_silence_before_a_beat_can_have_come(probed, port: str) -> None:
    looks = itertools.count()
    with metrics_page(lambda: f'{page()}masklet_beats_total{{stage="memory_bank_0_0"}} {next(looks) // 3}\n') as url:
        assert probed(port, url, "--timeout-s", "0.5") == (0, "alive")


def test_models_of_others_whose_names_begin_alike_are_not_asked_for_room(probed, port: str) -> None:
    with beating(page() + 'nv_inference_exec_count{model="trackers_of_somebody",version="1"} 3\n') as url:
        assert probed(port, url, "--ready") == (0, "ready")
        code, line = probed(port, url, "--ready", "--model", "trackers_of_somebody")
        assert (code, line.startswith("not ready: "), "only tracker" in line) == (1, True, True), line


@pytest.mark.parametrize("words", [[], ["--live"], ["--ready"]], ids=str)
def test_a_wrong_address_is_said_at_once(probed, port: str, words: list[str]) -> None:
    with beating(page()) as url:
        code, line = probed("127.0.0.1:1", url, *words)
        assert (code, "127.0.0.1:1 takes no connection" in line) == (1, True), line
    code, line = probed(port, "http://127.0.0.1:1/metrics", *words)
    assert (code, "http://127.0.0.1:1/metrics does not answer" in line) == (1, True), line
    with beating("nv_inference_count 3\n") as url:
        code, line = probed(port, url, *words)
        assert (code, url in line) == (1, True), line
        code, line = probed(port, f"{url}/nothing", *words)
        assert (code, f"{url}/nothing answers with 404" in line) == (1, True), line


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["localhost"], "'localhost' is not HOST:PORT"),
        (["localhost:"], "'localhost:' is not HOST:PORT"),
        (["localhost:grpc"], "'localhost:grpc' is not HOST:PORT"),
        (["localhost:99999"], "'localhost:99999' is not HOST:PORT"),
        (["http://localhost:8001"], "'http://localhost:8001' is not HOST:PORT"),
        (["localhost:8001", "--metrics-url", "localhost:8002"], "'localhost:8002' is no URL such as http://"),
        (["localhost:8001", "--timeout-s", "nan"], "nan is no finite number"),
        (["localhost:8001", "--frame", "--root-certificates", "none.pem"], "none.pem is not there"),
    ],
)
def test_wrong_usage_is_no_dead_server(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["probe", *words])
    assert (stop.value.code, says in capsys.readouterr().err) == (2, True)


def test_metrics_that_were_guessed_are_named(port: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """They may be those of another server of the machine, or not at this address at all."""
    asked: list[str] = []
    monkeypatch.setattr("masklet.liveness.scrape", lambda url, timeout_s: asked.append(url) or (page() + BEAT.format(len(asked))))
    for words, code, says in (
        ([], 0, "alive; so say the metrics at http://127.0.0.1:8002/metrics"),
        (["--ready"], 0, "ready; so say the metrics at http://127.0.0.1:8002/metrics"),
    ):
        assert main(["probe", port, *words]) == code
        assert capsys.readouterr().out.startswith(says)
    monkeypatch.undo()
    with socket.create_server(("127.0.0.9", 0)) as grpc_alone:
        assert main(["probe", f"127.0.0.9:{grpc_alone.getsockname()[1]}", "--timeout-s", "2"]) == 1
    said = capsys.readouterr().out
    assert said.startswith("dead: http://127.0.0.9:8002/metrics does not answer")
    assert "Metrics at another address are named with --metrics-url" in said


def test_what_does_not_speak_http_is_said_without_its_bytes(probed) -> None:
    with serving(ToyTracker()) as (url, _, _):
        code, line = probed(url, f"http://{url}/metrics", "--ready")
    said = f"not ready: what answers at http://{url}/metrics does not speak HTTP. Is it the metrics port, and not gRPC's?"
    assert (code, line) == (1, said)


def test_what_stands_behind_one_tracker_is_asked_alone(probed, port: str) -> None:
    one, other = (
        page(f"memory_bank_{name}_0_0", f"tracker_{name}", work, label=f'{{model="memory_bank_{name}"}}') for name, work in (("a", 0), ("b", 61))
    )
    with beating(one + other, "memory_bank_a_0_0") as url:
        assert probed(port, url, "--model", "tracker_a") == (0, "alive")
        assert probed(port, url)[1].startswith("dead: memory_bank_b_0_0 hangs")
        code, line = probed(port, url, "--model", "tracker")
        assert (code, line.endswith("knows no tracker, only tracker_a, tracker_b")) == (1, True), line


FAULT = Refusal(ServerFault("mask_decoder failed").wire())


def test_where_requests_fail_in_a_row_a_frame_tells(probed) -> None:
    toy = ToyTracker()
    with beating(page(faults=50)) as url:
        with serving(toy) as (address, servicer, _):
            assert probed(address, url) == (0, "alive"), "what clients can bring about ends no server"
            assert servicer.models == ["tracker"] * 2
        with serving(lambda request: FAULT) as (address, _, _):
            code, line = probed(address, url, "--live")
            assert (code, line.startswith("dead: 50 requests in a row ended with a fault of the server; a frame: ")) == (1, True), line
    with beating(page(faults=2)) as url, serving(toy) as (address, servicer, _):
        assert probed(address, url) == (0, "alive")
        assert servicer.models == [], "no frame where counters tell"


@pytest.mark.parametrize("timeout_s", [3, 5, 8])
def test_an_engine_of_tritons_own_that_hangs_is_a_death_at_any_timeout(probed, port: str, timeout_s: int) -> None:
    """Behind it requests wait, and a frame too: the port answers nothing. Nothing takes long enough for that to be slow."""
    encoder = 'nv_inference_pending_request_count{model="image_encoder"} 3\nnv_inference_exec_count{model="image_encoder"} 7\n'
    with beating(page(longest=0.001) + encoder) as url:
        code, line = probed(port, url, "--live", "--timeout-s", str(timeout_s))
    assert (code, line.startswith("dead: requests wait for image_encoder"), "a frame: no answer within" in line) == (1, True, True), line


def test_tls_is_in_the_way_of_a_frame_only(probed) -> None:
    own = trustme.CA().issue_cert("localhost")
    chain = b"".join(part.bytes() for part in own.cert_chain_pems)
    with serving(ToyTracker(), grpc.ssl_server_credentials([(own.private_key_pem.bytes(), chain)])) as (address, servicer, _):
        with beating(page()) as url:
            assert probed(address, url, "--live") == (0, "alive")
            assert probed(address, url, "--ready") == (0, "ready")
        with beating(page(faults=50)) as url:
            code, line = probed(address, url)
            assert (code, line.startswith("slow: 50 requests in a row")) == (3, True), line
        assert servicer.models == []


@pytest.mark.parametrize("alive", [True, False])
def test_a_frame_goes_to_every_tracker_whatever_the_counters_say(probed, alive: bool) -> None:
    metrics = "".join(page(tracker=f"tracker_{name}", work=1000) for name in "ab")
    with beating(metrics) as url, serving(ToyTracker() if alive else lambda request: FAULT) as (address, servicer, _):
        code, line = probed(address, url, "--frame")
        assert (code, line.startswith("alive: a frame took " if alive else "dead: ")) == (0 if alive else 1, True), line
        assert set(servicer.models) == ({"tracker_a", "tracker_b"} if alive else {"tracker_a"})
        assert probed(address, "http://127.0.0.1:1/metrics", "--frame")[0] == (0 if alive else 1)
        assert servicer.models[-1] == "tracker"
