"""TLS over a real connection: the server's certificate is checked, and the client shows its own where the server asks."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import pytest
import trustme

from masklet import AsyncTracker, MaskletError, Tls, Tracker
from tests.fakes.toy_grpc import serving
from tests.fakes.toy_tracker import ToyTracker

FRAME = np.zeros((24, 32, 3), dtype=np.uint8)


@dataclass
class Keys:
    """An authority, the server's certificate from it, and where the client's files lie."""

    authority: trustme.CA
    server: trustme.LeafCert
    root: Path
    key: Path
    chain: Path

    def credentials(self, *, mutual: bool) -> grpc.ServerCredentials:
        """The server's, with or without asking the client for its own."""
        chain = b"".join(part.bytes() for part in self.server.cert_chain_pems)
        root = self.authority.cert_pem.bytes() if mutual else None
        return grpc.ssl_server_credentials([(self.server.private_key_pem.bytes(), chain)], root, mutual)


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> Keys:
    folder = tmp_path_factory.mktemp("keys")
    authority = trustme.CA()
    client = authority.issue_cert("client@masklet")
    made = Keys(authority, authority.issue_cert("localhost"), folder / "root.pem", folder / "key.pem", folder / "chain.pem")
    authority.cert_pem.write_to_path(made.root)
    client.private_key_pem.write_to_path(made.key)
    for part in client.cert_chain_pems:
        part.write_to_path(made.chain, append=True)
    return made


def tracks(url: str, tls: Tls | None) -> bool:
    with Tracker(url, tls=tls, timeout_s=10) as tracker, tracker.open() as video:
        video.prompt(1, points=[(5, 5)])
        return video.track(FRAME).object_ids == (1,)


def test_a_server_with_a_trusted_certificate_is_used(keys):
    with serving(ToyTracker(), keys.credentials(mutual=False)) as (url, _, _):
        assert tracks(url, Tls(root_certificates=keys.root))


def test_asyncio_does_the_same(keys):
    async def track(url: str) -> bool:
        async with AsyncTracker(url, tls=Tls(root_certificates=keys.root), timeout_s=10) as tracker, tracker.open() as video:
            video.prompt(1, points=[(5, 5)])
            return (await video.track(FRAME)).object_ids == (1,)

    with serving(ToyTracker(), keys.credentials(mutual=False)) as (url, _, _):
        assert asyncio.run(track(url))


def test_the_client_shows_its_certificate(keys):
    with serving(ToyTracker(), keys.credentials(mutual=True)) as (url, _, _):
        assert tracks(url, Tls(root_certificates=keys.root, private_key=keys.key, certificate_chain=keys.chain))


@pytest.mark.parametrize("mutual", [False, True], ids=["not trusted", "no certificate of its own"])
def test_without_the_right_certificates_nothing_is_sent(keys, mutual):
    tls = Tls(root_certificates=keys.root) if mutual else Tls()
    toy = ToyTracker()
    with serving(toy, keys.credentials(mutual=mutual)) as (url, servicer, _):
        with pytest.raises(MaskletError):
            tracks(url, tls)
        assert not servicer.headers


def test_plain_text_does_not_reach_a_tls_server(keys):
    with serving(ToyTracker(), keys.credentials(mutual=False)) as (url, servicer, _):
        with pytest.raises(MaskletError):
            tracks(url, None)
        assert not servicer.headers
