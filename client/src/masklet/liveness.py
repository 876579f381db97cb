"""Whether a server is alive, slow or dead, and whether it is ready, by its metrics: what `masklet probe` asks. Imports neither numpy nor gRPC.

Triton 2.51 reports a model as ready whose python process died, for ever and at every health endpoint; the beats of that process stand still.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from masklet import vitals
from masklet.errors import MaskletError, ServerUnavailable
from masklet.gauges import Bank, banks_in, scrape
from masklet.vitals import UNANSWERED, Finding, Health, Watch

_LOOK_S = 0.4  # between two looks
_BEAT_S = 2.5  # for so long at least beats may be missing: one comes once a second, and later where much else runs
_WAITING = 0.4  # of the timeout requests may wait while no execution ends; more of it is left for a frame, which then has to be answered
_SCRAPE_S = 5.0  # Triton answers in milliseconds
_PAUSE_S = 1.0  # what is longer than it had to be is a pause of this process itself, and proves nothing
_UNAVAILABLE = "UNAVAILABLE"  # begins what gRPC says where there is no connection


def examine(url: str, metrics_url: str, timeout_s: float, patience_s: float, ask: Callable[[float], Finding], tracker: str | None = None) -> Finding:
    """ALIVE, SLOW or DEAD. Takes about a second; the whole timeout, or 2.5 s if that is more, where something gives no sign of life.

    url         of the gRPC port; that it takes connections is all that is asked of it
    patience_s  for how long work may not get on, at least: see masklet.vitals
    ask         sends a frame, and waits so many seconds for its answer; asked where counters leave doubt
    tracker     asks for what stands behind this public model; None: for the whole server

    Raises ValueError for a url that is none.
    """
    if closed := _closed(url, timeout_s):
        return Finding(Health.DEAD, closed)
    watch, watched = Watch(patience_s, max(_BEAT_S, 0.9 * timeout_s), _WAITING * timeout_s), 0.0
    while True:
        began = time.monotonic()
        try:
            look = vitals.read(scrape(metrics_url, min(_SCRAPE_S, timeout_s)), tracker)
        except MaskletError as error:
            refused = isinstance(getattr(error.__cause__, "reason", None), ConnectionRefusedError)
            if refused or not isinstance(error, ServerUnavailable):
                return Finding(Health.DEAD, str(error))
            finding = watch.silent(_LOOK_S + min(time.monotonic() - began, _SCRAPE_S), str(error))
        else:
            if missing := _missing(metrics_url, look.trackers, tracker):
                return Finding(Health.DEAD, missing)
            finding = watch.look(look, min(_LOOK_S + time.monotonic() - began, _PAUSE_S))
            if not look.beats:
                finding = Finding(Health.DOUBTFUL, f"{metrics_url} has no sign of life of masklet's models")
            if finding.health is Health.DOUBTFUL:
                return by_frame(finding, ask, timeout_s - watched, watch.waits_at_most)
            if watch.decided:
                return finding
        if finding.health is Health.DEAD:
            return finding
        watched += _LOOK_S
        time.sleep(_LOOK_S)


def by_frame(doubt: Finding, ask: Callable[[float], Finding], left_s: float, slow_s: float) -> Finding:
    """What a frame tells where counters leave doubt. slow_s: what is answered later than this is no longer slow."""
    answer = ask(left_s)
    if answer.health is not Health.DOUBTFUL:
        return answer
    text = f"{doubt.text}; a frame: {answer.text}"
    unknown = answer.text.startswith(_UNAVAILABLE) or (answer.text.startswith(UNANSWERED) and left_s < slow_s)
    return Finding(Health.SLOW if unknown else Health.DEAD, text)


def _missing(metrics_url: str, trackers: list[str], tracker: str | None) -> str:
    """Why what is asked for is not there; empty where it is."""
    if not trackers:
        return f"{metrics_url} knows no tracker. Is it the metrics port of masklet's Triton?"
    return "" if tracker in (None, *trackers) else f"{metrics_url} knows no {tracker}, only {', '.join(trackers)}"


def readiness(url: str, metrics_url: str, timeout_s: float, tracker: str | None = None) -> tuple[bool, str]:
    """Whether a server is loaded and does not drain, and what there is to say. A full one is ready: it refuses videos itself.

    Triton opens its metrics once all models are loaded. Raises ValueError as `examine`.
    """
    if closed := _closed(url, timeout_s):
        return False, closed
    try:
        text = scrape(metrics_url, timeout_s)
        trackers, banks = vitals.read(text).trackers, banks_in(text, metrics_url)
    except MaskletError as error:
        return False, str(error)
    known = [name for name in trackers if name in banks]  # others' models may have such names
    if missing := _missing(metrics_url, known, tracker):
        return False, missing
    asked = [banks[name] for name in (known if tracker is None else [tracker])]
    for bank in asked:
        if bank.draining:
            return False, f"draining, {bank.videos} videos are still live"
    return True, "; ".join(_full(bank) for bank in asked if not bank.has_room)


def _full(bank: Bank) -> str:
    return f"full: {bank.videos} of {bank.videos_limit} videos, {bank.reserved_bytes >> 20} of {bank.limit_bytes >> 20} MiB of memories"


def _closed(url: str, timeout_s: float) -> str:
    """Why nothing can be sent to a port; empty where it takes connections. Raises ValueError for a url that is none."""
    parts = urlsplit(f"//{url}")
    if not parts.hostname or not parts.port:
        raise ValueError(f"{url!r} is not HOST:PORT")
    try:
        socket.create_connection((parts.hostname, parts.port), timeout_s).close()
    except OSError as error:
        return f"{url} takes no connection: {error}. Check the address, and that the server runs."
    return ""
