"""The bank's metrics as a scraper gets them: over HTTP, from Triton's own /metrics."""

from __future__ import annotations

import pytest

from masklet import Tracker
from masklet.errors import ServerBusy
from masklet.stage import METRICS
from masklet_bank.metrics import TABLE
from tests.serving.clips import clip
from tests.serving.scraping import eventually, scrape
from tests.serving.small import Serve

pytestmark = [pytest.mark.server, pytest.mark.torch]

FRAMES = clip(3, seed=5)


def test_what_the_bank_does_can_be_scraped_from_triton(serve_small: Serve) -> None:
    with serve_small({"memory_bank.max_videos": "2"}) as server, Tracker(server.grpc_url) as tracker:
        idle = eventually(server, lambda numbers: numbers.get("videos_limit") == 2)
        kinds, _ = scrape(server)
        assert kinds == {metric.name: metric.kind.lower() for metric in TABLE} | {name: kind.lower() for (name, _), kind in METRICS.items()}
        assert (idle["videos"], idle["videos_limit"], idle['refusals_total{code="SERVER_BUSY"}']) == (0, 2, 0)
        with tracker.open() as one, tracker.open() as two, tracker.open("under this id alone") as refused:
            one.prompt(1, points=[(20, 15)])
            one.prompt(2, box=(10, 8, 40, 40))
            for frame in FRAMES:
                one.track(frame)
            two.track(FRAMES[0])
            with pytest.raises(ServerBusy):
                refused.track(FRAMES[0])
            busy = eventually(server, lambda numbers: numbers["videos"] == 2 and numbers['refusals_total{code="SERVER_BUSY"}'] == 1)
        after = eventually(server, lambda numbers: numbers["bank_reserved_bytes"] == 0)  # which is sent last, when `one` ends, the last of the three
    assert (busy["videos"], busy["objects"], busy["frames_total"], busy['refusals_total{code="SERVER_BUSY"}']) == (2, 2, 4, 1)
    assert 0 < busy["bank_bytes"] <= busy["bank_reserved_bytes"] < busy["bank_limit_bytes"]
    assert (after["videos"], after["objects"], after["bank_bytes"], after["bank_reserved_bytes"]) == (0, 0, 0, 0)
    assert (after["videos_started_total"], after['videos_ended_total{how="end"}']) == (2, 2)
    assert sum(after[f'object_frames_total{{seen="{seen}"}}'] for seen in ("sure", "unsure", "away")) == 2 * len(FRAMES)
    assert after["frame_seconds_count"] == 4
    assert after['engine_batch_objects_sum{engine="memory_attention"}'] == 2 * (len(FRAMES) - 1)
    assert after['engine_calls_bucket{engine="memory_encoder",le="1"}'] == len(FRAMES)
    assert after["batch_requests_sum"] >= 4
    assert 0 < after['stage_seconds_sum{stage="memory_encoder"}'] < after["frame_seconds_sum"]
    assert after['stage_seconds_count{stage="memory_bank"}'] == after["batch_requests_count"]
