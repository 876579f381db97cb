"""The image's entrypoint with the real Triton, watched by the real Prometheus: what is closed, what is traced, what is recorded, what fires."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import tritonclient.grpc as grpc
import yaml
from tritonclient.utils import InferenceServerException

from masklet import Tracker
from masklet.errors import BadPrompt, MaskletError
from masklet_build import nano
from masklet_build.repository.assemble import assemble
from tests.deploy.observability import FOLDER, dashboard_queries, metrics, rules
from tests.deploy.real_image import Collector, Image, Prometheus, collector, get, image, prometheus, until
from tests.serving.clips import clip

pytestmark = [pytest.mark.server, pytest.mark.programs]

KEY = "s3cret"
FRAMES = clip(12, seed=5)


@pytest.fixture(scope="module")
def collected() -> Iterator[Collector]:
    with collector() as kept:
        yield kept


@pytest.fixture(scope="module")
def served(collected: Collector, serving_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """A server of nano; every request is traced."""
    folder = tmp_path_factory.mktemp("image")
    repository = assemble("nano", nano.ENGINES, folder / "repository", settings={"memory_bank.max_videos": "4"})
    settings = {"MASKLET_ADMIN_KEY": KEY, "MASKLET_OTLP_URL": collected.url}
    with image(repository, serving_python, folder, "--trace-config=rate=1", **settings) as made:
        yield made


@pytest.fixture(scope="module")
def watched(served: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """The shipped configuration and rules in a hurry: a look each second, every window ten seconds long, every alert after two."""
    config = yaml.safe_load((FOLDER / "prometheus.yaml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [served.metrics]
    hurried = re.sub(r"\[\d+[mh]\]", "[10s]", (FOLDER / "rules.yaml").read_text())
    hurried = re.sub(r"for: \d+m", "for: 2s", hurried)
    with prometheus(config, hurried, tmp_path_factory.mktemp("watched") / "prometheus") as made:
        yield made


@contextlib.contextmanager
def traffic(url: str) -> Iterator[None]:
    """Two videos that go on, one refusal each round; what fails is tried again."""
    stop = threading.Event()

    def play() -> None:
        while not stop.is_set():
            with contextlib.suppress(MaskletError), Tracker(url, timeout_s=60) as tracker, tracker.open() as video:
                video.prompt(1, points=[(40, 30)])
                for frame in FRAMES:
                    video.track(frame)
                    stop.wait(0.05)
                with contextlib.suppress(BadPrompt):
                    video.prompt(1, points=[(4000, 30)])
                    video.track(FRAMES[0])
            stop.wait(0.2)

    threads = [threading.Thread(target=play) for _ in range(2)]
    for thread in threads:
        thread.start()
    yield
    stop.set()
    for thread in threads:
        thread.join()


def test_administration_needs_the_key_and_health_does_not(served: Image) -> None:
    with contextlib.closing(grpc.InferenceServerClient(served.grpc_url)) as client:
        assert client.is_server_ready()
        for ask in (client.get_model_repository_index, client.get_system_shared_memory_status, client.get_log_settings, client.get_trace_settings):
            with pytest.raises(InferenceServerException, match="restricted"):
                ask()
            ask(headers={"triton-grpc-protocol-admin-key": KEY})
    assert get(f"{served.http_url}/v2/health/ready")[0] == 200
    for path in ("v2/models/tracker/config", "v2/models/tracker/stats", "v2/systemsharedmemory/status", "v2/logging"):
        assert get(f"{served.http_url}/{path}")[0] == 403, path
        assert get(f"{served.http_url}/{path}", **{"admin-key": KEY})[0] == 200, path


def test_rules_and_dashboard_show_a_live_server_and_alerts_fire_when_it_dies(served: Image, watched: Prometheus, collected: Collector) -> None:
    recorded = [rule["record"] for rule in rules() if "record" in rule]
    queries = [query for query in dashboard_queries(interval="10s") if "nv_gpu" not in query and "ALERTS" not in query]
    with traffic(served.grpc_url):
        for wanted in (*recorded, *queries):
            until(lambda wanted=wanted: watched.ask(wanted), f"no value of {wanted}")
        names = {name for rule in rules() for name in metrics(rule["expr"])} | {name for query in dashboard_queries() for name in metrics(query)}
        shown = set(re.findall(r"^# TYPE (\S+)", get(f"http://{served.metrics}/metrics")[1], re.MULTILINE))
        assert {name for name in names - shown if not name.startswith("nv_gpu_")} == set()  # this machine has no GPU
        assert {float(series["value"][1]) for series in watched.ask("masklet:model_failures:rate1m")} == {0}
        until(lambda: watched.ask('sum(rate(masklet_refusals_total{code="BAD_PROMPT"}[10s])) > 0.05'), "refusals")
        assert watched.firing() <= {"MaskletSlow", "MaskletSlowLately"}  # a machine that does other things too may be slow
        assert collected.services == {"masklet"}
        until(lambda: {"InferRequest", "tracker", "memory_bank"} <= {span["name"] for span in collected.spans}, "spans of a request")

        os.kill(served.stub("memory_bank"), signal.SIGKILL)
        assert get(f"{served.http_url}/v2/health/ready")[0] == 200, "Triton 2.51 does not notice; hence the alert"
        until(lambda: "MaskletFailing" in watched.firing(), "MaskletFailing")
        assert {series["metric"]["model"] for series in watched.ask('ALERTS{alertname="MaskletFailing",alertstate="firing"}')} == {"memory_bank"}
        assert "MaskletServerDown" not in watched.firing()
    os.kill(served.pid, signal.SIGKILL)
    until(lambda: "MaskletServerDown" in watched.firing(), "MaskletServerDown")
