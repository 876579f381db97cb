"""The rules and the dashboard, as data."""

from __future__ import annotations

import json
import re
from typing import Any

import yaml

from tests.deploy.tools import ROOT

FOLDER = ROOT / "docker" / "observability"
METRIC = re.compile(r"\b((?:masklet|nv)_[a-z_]+)\b")


def rules() -> list[dict[str, Any]]:
    """Every rule, recording or alerting."""
    return [rule for group in yaml.safe_load((FOLDER / "rules.yaml").read_text())["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text())
    return found


def dashboard_queries(job: str = "masklet", instance: str = ".*", interval: str = "1m") -> list[str]:
    """Every PromQL expression of the dashboard, its variables filled in as Grafana does."""
    expressions = [target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", [])]
    expressions += [annotation["expr"] for annotation in dashboard()["annotations"]["list"]]
    return [expression.replace("$job", job).replace("$instance", instance).replace("$__rate_interval", interval) for expression in expressions]


def metrics(expression: str) -> set[str]:
    """Names of metrics of masklet and Triton in an expression, a histogram's by its own name."""
    names = set(METRIC.findall(expression))
    return {re.sub(r"_(bucket|sum|count)$", "", name) if name.startswith("masklet_") else name for name in names}
