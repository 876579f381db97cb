"""The nano of the package in ONNX Runtime, and what float32 answered for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from masklet_build import nano
from masklet_build.selftest.fixtures import SHIPPED, Fixtures, read
from masklet_build.selftest.subject import Subject, opened


@pytest.fixture(scope="session")
def shipped() -> Fixtures:
    return read(SHIPPED)


@pytest.fixture(scope="session")
def subject() -> Iterator[Subject]:
    with opened(nano.ENGINES) as made:
        yield made
