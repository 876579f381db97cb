from __future__ import annotations

import hashlib
import random

import pytest

from masklet_build.checkpoints.official_files import OfficialFile
from tests.download.server import FileServer, serving

CONTENT = random.Random(0).randbytes(300_000)


@pytest.fixture
def server(monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with serving(CONTENT) as server:
        yield server


@pytest.fixture
def known(server: FileServer) -> OfficialFile:
    return OfficialFile(len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
