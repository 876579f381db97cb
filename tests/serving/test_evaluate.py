"""`masklet-build evaluate` with whole servers."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from masklet.errors import ServerUnavailable
from masklet_build.manifest import Manifest
from masklet_build.quality import report
from masklet_build.quality.datasets import DrawnClips
from masklet_build.quality.run import evaluate
from masklet_build.quality.served import Served, running, started
from masklet_build.serve import Server
from tests.serving.small import VARIANT

pytestmark = [pytest.mark.server, pytest.mark.torch]

DATASET = DrawnClips(count=1, frames=8, side=64)


def test_a_clip_is_scored_on_two_servers_from_prompt_to_report(small_server: Server, small_engines: Path, tmp_path: Path) -> None:
    """One that runs and one that is started. The weights are random: scores must be there and be scores, no more."""
    servers: list[AbstractContextManager[Served]] = [running(small_server.grpc_url, VARIANT), started(VARIANT, small_engines, "bf16")]
    lines: list[str] = []
    evaluation = evaluate(servers, DATASET, ["point", "box", "mask"], controls=True, say=lines.append)
    report.write(tmp_path, report.content(evaluation, DATASET.description))
    made = json.loads((tmp_path / "quality.json").read_text())
    assert made["checkpoint_sha256"] == Manifest.read(small_engines).checkpoint["sha256"]
    rows = {(row["method"], row["prompt"], row["precision"]): row["JF"] for row in made["rows"]}
    first = {("tracked", prompt, "fp32") for prompt in ("point", "box", "mask")}
    controls = {("no memory", "point", "fp32"), ("no memory", "box", "fp32"), *(("prompted frame only", prompt, "fp32") for _, prompt, _ in first)}
    assert set(rows) == {("frozen", "", "")} | first | controls | {("tracked", prompt, "bf16") for _, prompt, _ in first}
    assert all(0 <= value <= 1 for value in rows.values())
    assert all(0 < item["mask_iou"] <= 1 for item in made["agreement"])
    assert lines[-1].endswith("0 s left")


def test_a_server_of_another_variant_is_refused(small_server: Server) -> None:
    with pytest.raises(ServerUnavailable, match=f"serves {VARIANT}, not nano"), running(small_server.grpc_url, "nano"):
        pass
