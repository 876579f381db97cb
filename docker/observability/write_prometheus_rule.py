"""Writes kubernetes/components/monitoring/prometheusrule.yaml from rules.yaml: the same rules as an object of the Prometheus operator. Needs PyYAML.

python docker/observability/write_prometheus_rule.py
"""

from __future__ import annotations

from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
TARGET = HERE.parent / "kubernetes" / "components" / "monitoring" / "prometheusrule.yaml"
HEAD = "# Made from docker/observability/rules.yaml by write_prometheus_rule.py beside it. Do not edit.\n"


def prometheus_rule() -> str:
    """The manifest as text."""
    rules = yaml.safe_load((HERE / "rules.yaml").read_text())
    manifest = {"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule", "metadata": {"name": "masklet"}, "spec": rules}
    return HEAD + yaml.safe_dump(manifest, sort_keys=False, width=200)


if __name__ == "__main__":
    TARGET.write_text(prometheus_rule())
