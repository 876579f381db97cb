"""What Kubernetes does with full pods, by what the probes of the manifests say of real servers that load, are empty, full or drain.

Its rules are written down here as its controllers have them: no cluster is at hand.
"""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass

import numpy as np
import pytest

from masklet import Tracker
from masklet.cli import main
from tests.deploy.manifests import OVERLAYS, Object, container, one, overlay
from tests.deploy.nano_server import ServeNano
from tests.failover.gateways import free_port

pytestmark = [pytest.mark.programs, pytest.mark.server]

FRAME = np.zeros((32, 48, 3), np.uint8)
PATIENCE_S = 30  # gauges are a second old


@dataclass(frozen=True)
class Pod:
    """What a ReplicaSet looks at. Ages in seconds."""

    name: str
    ready: bool
    cost: int = 0
    beside: int = 1  # pods of the set on its machine
    ready_for: float = 0
    restarts: int = 0
    age: float = 0


def first_to_go(pods: list[Pod]) -> list[Pod]:
    """In the order in which a ReplicaSet that shrinks deletes running pods (kubernetes, pkg/controller, ActivePodsWithRanks)."""
    return sorted(pods, key=lambda pod: (pod.ready, pod.cost, -pod.beside, pod.ready_for, -pod.restarts, pod.age))


def may_scale_down(deployment: Object, old: list[Pod], new: list[Pod]) -> int:
    """How many old pods a rolling update may delete now (kubernetes, pkg/controller/deployment, reconcileOldReplicaSets)."""
    wanted, rolling = deployment["spec"].get("replicas", 2), deployment["spec"]["strategy"]["rollingUpdate"]
    unavailable = sum(not pod.ready for pod in new)
    return max(0, len(old) + len(new) - (wanted - rolling["maxUnavailable"]) - unavailable)


def evictable(budget: Object, pods: list[Pod]) -> set[str]:
    """Pods that an eviction may take now: the disruption budget protects ready ones, as long as too few of them are there."""
    spare = sum(pod.ready for pod in pods) - (len(pods) - budget["spec"]["maxUnavailable"])
    always = budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
    return {pod.name for pod in pods if (spare > 0 if pod.ready else always or spare > 0)}


def says(objects: list[Object], probe: str, url: str, metrics_url: str) -> bool:
    """What a probe of the manifests says of a server elsewhere."""
    program, command, _, *options = container(objects)[probe]["exec"]["command"]
    assert program == "masklet"
    return main([command, url, *options, "--metrics-url", metrics_url]) == 0


def eventually(look, wanted: bool) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while (seen := look()) != wanted and time.monotonic() < deadline:
        time.sleep(0.3)
    return seen


@pytest.fixture(scope="module")
def ready(serve_nano: ServeNano) -> dict[str, bool]:
    """Of real servers, by what is the matter with them."""
    objects, found = overlay("cpu"), {}
    nobody = f"127.0.0.1:{free_port()}"
    found["loading"] = says(objects, "readinessProbe", nobody, f"http://{nobody}/metrics")
    with serve_nano({"max_videos": "1"}) as server, Tracker(server.grpc_url, timeout_s=PATIENCE_S) as tracker:
        ask = functools.partial(says, objects, "readinessProbe", server.grpc_url, server.metrics_url)
        found["empty"] = eventually(ask, True)
        with tracker.open() as video:
            video.track(FRAME)
            time.sleep(2)  # until the gauges say so
            found["full"] = ask()
            assert says(objects, "livenessProbe", server.grpc_url, server.metrics_url), "it is alive"
        drain = server.repository.parent / "draining"
        drain.touch()
        found["draining"] = eventually(ask, False)
        assert says(objects, "livenessProbe", server.grpc_url, server.metrics_url), "it is alive"
    return found


def test_ready_is_loaded_and_not_draining(ready: dict[str, bool]) -> None:
    assert ready == {"loading": False, "empty": True, "full": True, "draining": False}


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_fullest_pods_are_not_the_first_to_go(name: str, ready: dict[str, bool]) -> None:
    template = one(overlay(name), "Deployment")["spec"]["template"]
    assert "controller.kubernetes.io/pod-deletion-cost" not in template["metadata"].get("annotations", {}), "the same for all would mean nothing"
    pods = [
        Pod("full", ready["full"], ready_for=90_000, age=90_300),
        Pod("empty", ready["empty"], ready_for=600, age=900),
        Pod("loading", ready["loading"], age=60),
        Pod("draining", ready["draining"], age=90_300),
    ]
    order = [pod.name for pod in first_to_go(pods)]
    assert set(order[:2]) == {"loading", "draining"}
    assert order[2:] == ["empty", "full"], "of ready ones the younger goes"


@pytest.mark.parametrize("name", OVERLAYS)
def test_a_rollout_of_a_full_fleet_goes_on(name: str, ready: dict[str, bool]) -> None:
    """Videos that leave an old pod fill the new one."""
    deployment = one(overlay(name), "Deployment")
    full = Pod("full", ready["full"])
    assert may_scale_down(deployment, [full, full], [full]) == 1
    assert may_scale_down(deployment, [full, full], [Pod("loading", ready["loading"])]) == 0


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_disruption_budget_protects_full_pods(name: str, ready: dict[str, bool]) -> None:
    budget = one(overlay(name), "PodDisruptionBudget")
    one_full, other_full = Pod("one", ready["full"]), Pod("other", ready["full"])
    loading = Pod("loading", ready["loading"])
    assert evictable(budget, [one_full, other_full]) == {"one", "other"}, "either, but only one"
    assert evictable(budget, [one_full, other_full, loading]) == {"loading"}, "while one is missing no other may go"
