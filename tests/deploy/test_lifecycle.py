"""When pods of the manifests come and go: what their probes ask, which one goes first, and how long it has."""

from __future__ import annotations

import pytest

from tests.deploy.manifests import RENDERED, Object, component, one, rendered
from tests.deploy.tools import ROOT

pytestmark = pytest.mark.programs

AUTOSCALER_S = 600  # max-graceful-termination-sec of Cluster Autoscaler: what it gives a pod that it moves, whatever the pod asks for
SPOT_S = 120  # the notice of AWS; 30 s elsewhere
SAFE_TO_EVICT = "cluster-autoscaler.kubernetes.io/safe-to-evict"
START_S = 2  # Python has to start, too


def probes(objects: list[Object]) -> dict[str, Object]:
    """Those of every container, by name of deployment and probe."""
    found = {}
    for item in (item for item in objects if item["kind"] == "Deployment"):
        for made in item["spec"]["template"]["spec"]["containers"]:
            found |= {f"{item['metadata']['name']} {name}": probe for name, probe in made.items() if name.endswith("Probe")}
    return found


@pytest.mark.parametrize(("kind", "name"), RENDERED)
def test_no_probe_sends_a_frame_and_each_ends_before_kubernetes_gives_up(kind: str, name: str) -> None:
    """A frame through every model, asked for by every pod every few seconds, costs what videos could have."""
    asked = probes(rendered(kind, name))
    assert {"masklet startupProbe", "masklet readinessProbe", "masklet livenessProbe"} <= set(asked)
    for which, probe in asked.items():
        if which.startswith("masklet-gateway "):
            assert set(probe) & {"exec", "httpGet", "grpc"} == set(), which
            continue
        *words, timeout = probe["exec"]["command"]
        assert words == ["masklet", "probe", "localhost:8001", "--live" if which.endswith("livenessProbe") else "--ready"], which
        assert float(timeout.removeprefix("--timeout-s=")) + START_S <= probe["timeoutSeconds"], which


@pytest.mark.parametrize(("kind", "name"), RENDERED)
def test_a_pod_has_as_long_as_it_asks_for_where_cluster_autoscaler_moves_it(kind: str, name: str) -> None:
    for item in (item for item in rendered(kind, name) if item["kind"] == "Deployment"):
        template = item["spec"]["template"]
        moved = template["metadata"].get("annotations", {}).get(SAFE_TO_EVICT) != "false"
        assert not moved or template["spec"]["terminationGracePeriodSeconds"] <= AUTOSCALER_S, item["metadata"]["name"]


def test_a_short_drain_is_over_when_a_spot_machine_goes_and_lets_the_autoscaler_move_pods() -> None:
    template = one(component("short-drain"), "Deployment")["spec"]["template"]
    assert template["spec"]["terminationGracePeriodSeconds"] <= SPOT_S
    assert template["metadata"]["annotations"][SAFE_TO_EVICT] == "true"


def test_haproxy_has_time_for_its_streams() -> None:
    spec = one(component("gateway-haproxy"), "Deployment", "masklet-gateway")["spec"]["template"]["spec"]
    *_, pause = spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    stop = (ROOT / "docker" / "gateways" / "haproxy.cfg").read_text().split("hard-stop-after ")[1].split("s ")[0]
    assert pause == "sleep 10; kill -USR1 1"
    assert spec["terminationGracePeriodSeconds"] >= 10 + int(stop) + 10


@pytest.mark.parametrize(("kind", "name"), RENDERED)
def test_every_pod_that_is_ready_counts_for_the_disruption_budget_and_one_at_a_time_may_go(kind: str, name: str) -> None:
    objects = rendered(kind, name)
    budgets = [item["spec"] for item in objects if item["kind"] == "PodDisruptionBudget"]
    for item in (item for item in objects if item["kind"] == "Deployment"):
        labels = item["spec"]["template"]["metadata"]["labels"].items()
        (budget,) = [budget for budget in budgets if budget["selector"]["matchLabels"].items() <= labels]
        assert budget["maxUnavailable"] == 1
