"""What a server says of itself in Triton's /metrics: how full its memory banks are, and whether they drain."""

from __future__ import annotations

import re
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from urllib.error import HTTPError

from masklet.contract import TRACKER
from masklet.errors import ServerFault, ServerUnavailable

_SERIES = re.compile(r'^masklet_(?P<name>\w+?)(?:\{(?:model="memory_bank(?P<suffix>[^"]*)")?\})? (?P<value>\S+)$', re.MULTILINE)
_DRAIN_FILE = re.compile(r'^masklet_drain_file_info\{[^}]*?file="((?:[^"\\]|\\.)*)"', re.MULTILINE)
_ESCAPED = re.compile(r"\\(.)")


@dataclass(frozen=True)
class Bank:
    """The gauges of one memory bank. A server has one, or one per variant.

    videos, videos_limit                         live videos, and how many there may be
    reserved_bytes, limit_bytes, object_bytes    bytes set aside for memories, how many there may be, and what an object takes
    draining                                     it takes no new videos because the server will stop
    """

    videos: int
    videos_limit: int
    reserved_bytes: int
    limit_bytes: int
    object_bytes: int
    draining: bool

    @property
    def has_room(self) -> bool:
        """Whether it has room for one more video, by the rule of the bank itself."""
        return self.videos < self.videos_limit and self.reserved_bytes + self.object_bytes <= self.limit_bytes


def scrape(metrics_url: str, timeout_s: float) -> str:
    """The text of a server's metrics.

    Raises ServerUnavailable where nothing answers in time, ServerFault where there are none, ValueError for a url that is none.
    """
    # Not through http_proxy: metrics are read inside a cluster, by probes whose pod may have a proxy for everything else.
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(metrics_url, timeout=timeout_s) as answer:
            return str(answer.read().decode(errors="replace"))
    except HTTPError as error:
        raise ServerFault(f"{metrics_url} answers with {error.code} {error.reason}. Is it the metrics port of masklet's Triton?") from error
    except HTTPException as error:
        raise ServerUnavailable(f"what answers at {metrics_url} does not speak HTTP. Is it the metrics port, and not gRPC's?") from error
    except OSError as error:
        raise ServerUnavailable(f"{metrics_url} does not answer: {error}. Check that the server runs and that this is its metrics port.") from error


def read_banks(metrics_url: str, timeout_s: float) -> dict[str, Bank]:
    """The banks of a server by the name of the public model in front of each, from the URL of its metrics ("http://localhost:8002/metrics").

    Raises as `scrape`, and ServerFault where the answer has no gauges of masklet.
    """
    return banks_in(scrape(metrics_url, timeout_s), metrics_url)


def banks_in(text: str, metrics_url: str) -> dict[str, Bank]:
    """The same, from the text that the URL gave."""
    found: dict[str, dict[str, float]] = {}
    for series in _SERIES.finditer(text):
        found.setdefault(TRACKER.name + (series["suffix"] or ""), {})[series["name"]] = float(series["value"])
    try:
        banks = {tracker: _bank(numbers) for tracker, numbers in found.items()}
    except KeyError as error:
        raise ServerFault(f"{metrics_url} has no masklet_{error.args[0]}. Are client and server of the same version?") from error
    if not banks:
        raise ServerFault(f"{metrics_url} has no metrics of masklet. Is it the metrics port of its Triton, and does that have custom metrics?")
    return banks


def read_drain_files(metrics_url: str, timeout_s: float) -> set[str]:
    """The files that tell the banks of a server to drain, as its metrics name them. Raises as `scrape`."""
    found = _DRAIN_FILE.findall(scrape(metrics_url, timeout_s))
    return {_ESCAPED.sub(lambda escaped: {"n": "\n"}.get(escaped[1], escaped[1]), file) for file in found}


def _bank(numbers: dict[str, float]) -> Bank:
    return Bank(
        videos=int(numbers["videos"]),
        videos_limit=int(numbers["videos_limit"]),
        reserved_bytes=int(numbers["bank_reserved_bytes"]),
        limit_bytes=int(numbers["bank_limit_bytes"]),
        object_bytes=int(numbers["object_bytes"]),
        draining=bool(numbers["draining"]),
    )
