"""The bank's metrics, from Triton's own /metrics."""

from __future__ import annotations

import re
import time
import urllib.request
from collections.abc import Callable

from masklet_build.serve import Server

PATIENCE_S = 60  # numbers are sent after the answer; only something broken uses it up


def scrape(server: Server) -> tuple[dict[str, str], dict[str, float]]:
    """Kinds by metric, and numbers by series, of all metrics of ours."""
    with urllib.request.urlopen(server.metrics_url, timeout=PATIENCE_S) as answer:
        text = answer.read().decode()
    kinds = re.findall(r"^# TYPE (masklet_\w+) (\w+)$", text, re.MULTILINE)
    numbers = re.findall(r"^masklet_(\S+) (\S+)$", text, re.MULTILINE)
    return dict(kinds), {series: float(number) for series, number in numbers}


def eventually(server: Server, wanted: Callable[[dict[str, float]], bool]) -> dict[str, float]:
    """The numbers as soon as they are as wanted, or at the latest when patience ends."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        _, numbers = scrape(server)
        if wanted(numbers) or time.monotonic() > deadline:
            return numbers
        time.sleep(0.05)
