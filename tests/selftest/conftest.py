"""The nano of the package in ONNX Runtime, and what float32 answered for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from masklet.families import NANO
from masklet_build import nano
from masklet_build.check.subject import Subject, opened
from masklet_build.export.fixtures.fixtures import SHIPPED, Fixtures, read
from masklet_build.export.profiles import Limits, profiles


@pytest.fixture(scope="session")
def shipped() -> Fixtures:
    return read(SHIPPED)


@pytest.fixture(scope="session")
def subject() -> Iterator[Subject]:
    """Its profiles are those of a small server, so that calls are quick."""
    with opened(nano.ENGINES) as made:
        yield replace(made, table=profiles(NANO, Limits.of(NANO, videos=3, objects=3)))
