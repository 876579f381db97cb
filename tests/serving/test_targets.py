"""Engines run in the bank's process or as models that it calls: what a client gets is the same."""

from __future__ import annotations

import asyncio

import pytest
import tritonclient.grpc as grpc

from masklet import AsyncTracker, TrackedFrame
from masklet_build.serve import Server
from tests.serving.agreement import equal
from tests.serving.films import Film, Outcome, make_film, play
from tests.serving.small import Serve

pytestmark = [pytest.mark.server, pytest.mark.torch]

FILMS = 10


async def play_all(url: str, films: list[Film]) -> list[list[Outcome]]:
    """One after the other: so every execution is of one video."""
    async with AsyncTracker(url, timeout_s=60) as tracker:
        return [await play(tracker, film) for film in films]


def loaded(server: Server) -> set[str]:
    with grpc.InferenceServerClient(server.grpc_url) as client:
        return {model.name for model in client.get_model_repository_index(headers={"triton-grpc-protocol-admin-key": server.admin_key}).models}


def test_separate_engines_give_the_same_to_the_last_bit(small_server: Server, serve_small: Serve) -> None:
    films = [make_film(seed=9, number=number) for number in range(FILMS)]
    embedded = asyncio.run(play_all(small_server.grpc_url, films))
    with serve_small({}, target="separate") as server:
        separate = asyncio.run(play_all(server.grpc_url, films))
        assert loaded(server) - loaded(small_server) == {"mask_prompt", "memory_attention", "mask_decoder", "memory_encoder"}
    pairs = [pair for films in zip(embedded, separate, strict=True) for pair in zip(*films, strict=True)]
    frames = [(one, other) for one, other in pairs if isinstance(one, TrackedFrame) and isinstance(other, TrackedFrame)]
    assert all(equal(one, other) for one, other in frames)
    assert [type(one) for one, _ in pairs] == [type(other) for _, other in pairs]
    assert sum(len(one.object_ids) > 0 for one, _ in frames) > 20
