"""Engines of the weights of a golden scenario."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from masklet_build.manifest import file_sha256
from masklet_build.models import variants
from tests.golden import scenarios
from tests.golden.verify import export_golden
from tests.serving.kept_engines import KeptEngines


def golden_engines(kept_engines: KeptEngines, folder: Path, variant: str, scenario: scenarios.Scenario) -> Path:
    """A copy of them. They are exported by a process of its own, whose gigabytes go with it."""
    weights = f"{variant}: {scenario.meta['weights_sha256']} of {file_sha256(folder / 'recipe.json')} {file_sha256(folder / 'calibrated.npz')}"

    def make(scratch: Path) -> Path:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as apart:
            return apart.submit(_export, folder, variant, scenario.name, scratch).result()

    return kept_engines(weights, make)


def _export(folder: Path, variant: str, scenario: str, scratch: Path) -> Path:
    return export_golden(variants.variant(variant), folder, scenarios.load(folder, scenario), scratch, print)
