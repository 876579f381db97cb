"""Any sequence of calls leaves a sound bank, and what is refused changes nothing."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from masklet.errors import BadState, MaskletError, ServerBusy
from masklet_bank import snapshot
from tests.fakes.bank_driver import IDENTITY, Client, click, mask, service
from tests.memory_bank.test_snapshot_properties import LIMITS, PLAIN, VARIANTS, Good, attempt, sound, state


def dumps(held) -> dict[Any, bytes]:
    """Everything that is remembered, by video."""
    return {video_id: snapshot.dump(held.videos.find(video_id), IDENTITY, held.arrays).tobytes() for video_id in held.videos.live}


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Play:
    """Random calls over three videos of a small server."""

    def __init__(self, family: str, rng: random.Random) -> None:
        self.rng, self.clock, self.stages = rng, Clock(), Good()
        variant = VARIANTS[family]
        budget = {"max_bytes": 7 * variant.object_bytes(), "max_videos": 2, "idle_seconds": 60}
        self.held = service(self.stages, variant=variant, clock=self.clock, **LIMITS, **budget)
        self.clients = [Client(self.held, video_id) for video_id in (1, 2, "three")]
        self.states = [state(family, "refined"), state(family, "ahead")]
        self.refused = self.answered = 0

    def step(self) -> None:
        client = self.rng.choice(self.clients)
        if self.rng.random() < 0.05:
            self.clock.now += self.rng.choice((1, 50, 70))
            self.held.idle()
        self.stages.fail = self.rng.choice([None] * 8 + ["mask_decoder", "memory_encoder"])
        start = not client.began or self.held.videos.find(client.video) is None or self.rng.random() < 0.03
        client.began = not start
        self._ask(client, start)

    def _ask(self, client: Client, start: bool) -> None:
        before, options = dumps(self.held), self._options(client, start)
        prompts = self._prompts(client)
        answer = attempt(client.send, *prompts, **options)
        if isinstance(answer, MaskletError):
            self.refused += 1
            if not start and not options.get("end"):
                assert dumps(self.held) == before
            elif isinstance(answer, (BadState, ServerBusy)) and options.get("control"):
                assert dumps(self.held).get(client.video) == before.get(client.video)
        else:
            self.answered += 1
            if len(answer["SNAPSHOT"]):
                self.states[self.rng.randrange(2)] = answer["SNAPSHOT"].tobytes()
        others = {video_id: data for video_id, data in before.items() if video_id != client.video}
        assert {video_id: data for video_id, data in dumps(self.held).items() if video_id != client.video} == others

    def _options(self, client: Client, start: bool) -> dict[str, Any]:
        rng = self.rng
        options: dict[str, Any] = {"number": rng.randrange(60)}
        live = self.held.videos.find(client.video)
        if start and rng.random() < 0.3:
            data = rng.choice(self.states)
            return {"control": True, "restore": np.frombuffer(data[: rng.choice((len(data), len(data), 100))], np.uint8)}
        if rng.random() < 0.1:
            return {"control": True, rng.choice(["snapshot", "end"]): True}
        if rng.random() < 0.2:
            options["refine"] = True
        elif rng.random() < 0.3:
            options |= {"frame_index": (live.frame or 0 if live else 0) + rng.randrange(-3, 12), "track": rng.random() < 0.4}
        if rng.random() < 0.05:
            options["reverse"] = True
        return options | rng.choice([{}] * 20 + [{"end": True}, {"snapshot": True}, {"nonsense": 1}])

    def _prompts(self, client: Client) -> list[dict]:
        kinds: list[Callable[[int], dict]] = [
            lambda object_id: click(object_id, (self.rng.randrange(30), 4)),
            lambda object_id: click(object_id, (1, 2), (3, 4), append=True),
            lambda object_id: click(object_id, clear=True),
            lambda object_id: click(object_id, (9, 9), clear=True),
            lambda object_id: click(object_id, remove=True),
            mask,
        ]
        return [self.rng.choice(kinds)(object_id) for object_id in range(5) if self.rng.random() < 0.12]


@settings(PLAIN, max_examples=40)
@given(st.sampled_from(sorted(VARIANTS)), st.integers(0, 2**32))
def test_any_sequence_of_calls_leaves_a_sound_bank_and_what_is_refused_changes_nothing(family, seed):
    play = Play(family, random.Random(seed))
    for _ in range(60):
        play.step()
        sound(play.held)
        assert play.held.videos.ledger.held.nbytes <= play.held.videos.ledger.taken
    assert play.refused > 5
    assert play.answered > 10
