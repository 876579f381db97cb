"""The recording rules, the alerts and the dashboard: valid, tested on made series, and about metrics that exist."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from masklet.stage import MISMATCHES, STOPS
from masklet_bank.metrics import TABLE
from tests.deploy.observability import FOLDER, dashboard, dashboard_queries, metrics, rules
from tests.deploy.tools import tool

pytestmark = pytest.mark.programs


def promtool(*arguments: str | Path) -> tuple[int, str]:
    done = subprocess.run([tool("promtool"), *map(str, arguments)], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_the_rules_are_valid() -> None:
    code, said = promtool("check", "rules", FOLDER / "rules.yaml")
    assert code == 0, said
    assert f"{len(rules())} rules found" in said


def test_the_rules_do_what_they_say_on_made_series() -> None:
    code, said = promtool("test", "rules", FOLDER / "rules_test.yaml")
    assert code == 0, said


def test_every_rule_has_a_test_on_made_series() -> None:
    tests = yaml.safe_load((FOLDER / "rules_test.yaml").read_text())["tests"]
    fired = {case["alertname"] for test in tests for case in test.get("alert_rule_test", []) if case.get("exp_alerts")}
    asked = " ".join(case["expr"] for test in tests for case in test.get("promql_expr_test", []))
    assert {rule["alert"] for rule in rules() if "alert" in rule} == fired
    recorded = {rule["record"] for rule in rules() if "record" in rule} - {"masklet:frames_in_time:ratio1h"}  # its alert is tested
    assert {name for name in recorded if name not in asked} == set()


@pytest.mark.parametrize(
    ("written", "instead"),
    [
        ('le="0.25"', 'le="0.1"'),
        ("for: 1m", "for: 30m"),
        ("> 0.8", "> 1"),
        (" unless on (instance) last_over_time(masklet_draining[10m]) == 1", ""),
        (' and max_over_time(up{job="masklet"}[1h]) == 1', ""),
        ("for: 12m", "for: 10m"),
        ("masklet_object_bytes <= bool", "masklet_object_bytes < bool"),
        (" * (1 - masklet_draining)", ""),
        ("max by (job, model) (masklet:room:bool)", "max by (job) (masklet:room:bool)"),
        ("max by (job, model) (masklet:room:bool)", "min by (job, model) (masklet:room:bool)"),
        ('code="SERVER_BUSY"}[5m])) > 0 unless on (instance) masklet_draining == 1', 'code="SERVER_BUSY"}[5m])) > 0'),
        ("min by (instance) (masklet_shm_free_bytes)", "max by (instance) (masklet_shm_free_bytes)"),
        ("< 0.25", "< 0.3"),
        ('how="expired"', 'how="end"'),
        ('model!~"tracker.*"', 'model=~"tracker.*"'),
        (',reason!="CANCELED"', ""),
        ('{seen!="away"}', ""),
        ("> 1000", "> 10"),
        ("sum by (instance, model) (rate(masklet_object_frames_total", "sum by (instance) (rate(masklet_object_frames_total"),
    ],
)
def test_a_broken_rule_fails_its_test(tmp_path: Path, written: str, instead: str) -> None:
    text = yaml.safe_dump(yaml.safe_load((FOLDER / "rules.yaml").read_text()), width=1000)  # each expression in one line
    assert written in text
    (tmp_path / "rules.yaml").write_text(text.replace(written, instead))
    shutil.copy(FOLDER / "rules_test.yaml", tmp_path)
    assert promtool("test", "rules", tmp_path / "rules_test.yaml")[0] != 0


def test_every_alert_says_what_happened_and_what_to_do() -> None:
    for rule in rules():
        if "alert" in rule:
            assert set(rule["annotations"]) == {"summary", "action"}
            assert rule["labels"]["severity"] in ("page", "ticket")


def test_metrics_of_ours_in_rules_and_dashboard_exist_with_their_labels_and_buckets() -> None:
    table = {metric.name: metric for metric in TABLE}
    for expression in [*(rule["expr"] for rule in rules()), *dashboard_queries()]:
        own = {name for name in metrics(expression) if name.startswith("masklet_")}
        assert own <= {*table, STOPS[0], MISMATCHES[0]}, expression
        for name, label, value in re.findall(r"(masklet_\w+?)(?:_bucket|_count|_sum)?\{[^}]*?\b(how|code|stage|engine|seen)=\"(\w+)\"", expression):
            assert (table[name].label, value in table[name].values) == (label, True), expression
        for bound in re.findall(r'le="([\d.]+)"', expression):
            assert float(bound) in table["masklet_frame_seconds"].buckets


def test_rules_recorded_are_the_only_ones_that_alerts_use() -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    assert {name for rule in rules() for name in re.findall(r"masklet:\w+:\w+", rule["expr"])} <= recorded


def test_every_query_of_the_dashboard_is_promql(tmp_path: Path) -> None:
    file = tmp_path / "queries.yaml"
    made = [{"record": f"query{number}", "expr": query} for number, query in enumerate(dashboard_queries())]
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": made}]}))
    code, said = promtool("check", "rules", file)
    assert code == 0, said
    assert f"{len(made)} rules found" in said


def test_the_dashboard_takes_any_data_source_and_any_interval() -> None:
    found = dashboard()
    variables = {variable["name"]: variable for variable in found["templating"]["list"]}
    assert (variables["datasource"]["type"], found["uid"]) == ("datasource", "masklet")
    numbers = [panel["id"] for panel in found["panels"]]
    assert len(numbers) == len(set(numbers))
    for panel in found["panels"]:
        for target in panel.get("targets", []):
            assert target["datasource"]["uid"] == panel["datasource"]["uid"] == "${datasource}"
            assert set(re.findall(r"\[(.*?)\]", target["expr"])) <= {"$__rate_interval"}


def test_the_object_of_the_prometheus_operator_holds_the_same_rules() -> None:
    code = f"import sys; sys.path.insert(0, {str(FOLDER)!r}); import write_prometheus_rule as w; assert w.TARGET.read_text() == w.prometheus_rule()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, f"run: python docker/observability/write_prometheus_rule.py\n{done.stderr}"
