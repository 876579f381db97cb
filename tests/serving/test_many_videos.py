"""Many videos at once: each gets the masks that it gets alone, although the memory bank runs them together.

The films are random: see `serving.films`. A new one arrives whenever another has left, and now and then a client hangs up in the middle.
"""

from __future__ import annotations

import asyncio
from collections import Counter

import numpy as np
import pytest
import tritonclient.grpc as grpc

from masklet import AsyncTracker, TrackedFrame
from masklet.errors import BadFrame, BadPrompt
from masklet_build.serve import Server
from tests.serving.agreement import assert_close, equal
from tests.serving.clips import clip
from tests.serving.films import Film, Outcome, make_film, play
from tests.serving.scraping import eventually
from tests.serving.wire import Wire

pytestmark = [pytest.mark.server, pytest.mark.torch]

SEEDS = (1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (2, 3)))
FILMS = 40
LIVE = 32  # at a time; films that end nothing leave further ones behind
RUDE = 16  # every so many films, a client that hangs up comes along
REFUSED = {"bad frame": BadFrame, "bad prompt": BadPrompt}


async def play_together(url: str, films: list[Film]) -> list[list[Outcome]]:
    places = asyncio.Semaphore(LIVE)

    async def visit(tracker: AsyncTracker, film: Film) -> list[Outcome]:
        async with places:
            if film.number % RUDE == 0:
                await hang_up(url, film.number)
            return await play(tracker, film)

    async with AsyncTracker(url, timeout_s=60) as tracker:
        return await asyncio.gather(*(visit(tracker, film) for film in films))


async def play_alone(url: str, film: Film) -> list[Outcome]:
    async with AsyncTracker(url, timeout_s=60) as tracker:
        return await play(tracker, film)


async def hang_up(url: str, number: int) -> None:
    """A video that is never ended: its client sends some frames and is gone before they are answered."""
    prompts = [{"object": 1, "box": [5, 5, 40, 40]}]
    with Wire(url) as wire:
        for index, frame in enumerate(clip(6, seed=number)):
            wire.send(f"rude {number}", {"FRAME": frame, "PROMPTS": prompts if index == 0 else []}, start=index == 0)
        await asyncio.sleep(0.02)


def executions(server: Server) -> np.ndarray:
    """Requests that the memory bank has answered, its executions, and calls of memory_attention: one per group of objects of equal shape."""
    with grpc.InferenceServerClient(server.grpc_url) as client:
        (bank,) = client.get_inference_statistics("memory_bank").model_stats
    numbers = eventually(server, lambda numbers: numbers["batch_requests_count"] == bank.execution_count)
    return np.array([bank.inference_count, bank.execution_count, numbers['engine_calls_sum{engine="memory_attention"}']])


def compare(film: Film, results: list[Outcome], expected: list[Outcome]) -> list[float]:
    """How far the logits of each frame are off: 0 where everything about it is equal to the last bit."""
    worst = []
    for step, result, wanted in zip([step for step in film.steps if step.kind != "move"], results, expected, strict=True):
        if isinstance(result, TrackedFrame) and isinstance(wanted, TrackedFrame):
            assert_close(result, wanted)
            worst.append(0.0 if equal(result, wanted) else float(np.abs(result.logits - wanted.logits).max()))
        else:
            assert type(result) is type(wanted) is REFUSED.get(step.kind, type(None))
            assert str(result) == str(wanted)
    return worst


@pytest.mark.parametrize("seed", SEEDS)
def test_every_video_among_31_others_gets_the_masks_that_it_gets_alone(small_server: Server, seed: int) -> None:
    films = [make_film(seed, number) for number in range(FILMS)]
    before = executions(small_server)
    together = asyncio.run(play_together(small_server.grpc_url, films))
    requests, runs, groups = executions(small_server) - before
    alone = [asyncio.run(play_alone(small_server.grpc_url, film)) for film in films]
    groups_alone = (executions(small_server) - before)[2] - groups
    worst = np.array([each for film, *pair in zip(films, together, alone, strict=True) for each in compare(film, *pair)])

    steps = Counter(step.kind for film in films for step in film.steps)
    print(f"{dict(steps)}; {np.count_nonzero(worst == 0)} of {len(worst)} frames equal to the last bit, worst {worst.max():.2g}")
    print(f"{requests / runs:.1f} videos and {groups / runs:.1f} groups per execution of the bank, {groups_alone / groups:.1f} videos per group.")
    assert set(steps) == {"track", "refine", "remove", "move", *REFUSED}
    assert not all(film.ends for film in films)
    assert requests > 3 * runs, "the bank took the videos one by one, so nothing was tested"
    assert groups > runs, "all objects of an execution were alike, so nothing was sorted into groups"
    assert groups_alone > 1.2 * groups, "the videos did not share engine calls"
