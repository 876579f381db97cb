"""Engines of the weights of a golden scenario."""

from __future__ import annotations

from pathlib import Path

from masklet_build.manifest import file_sha256
from masklet_build.models import variants
from tests.golden import scenarios
from tests.golden.verify import export_golden
from tests.serving.kept_engines import KeptEngines, apart


def golden_engines(kept_engines: KeptEngines, folder: Path, variant: str, scenario: scenarios.Scenario) -> Path:
    """A copy of them."""
    weights = f"{variant}: {scenario.meta['weights_sha256']} of {file_sha256(folder / 'recipe.json')} {file_sha256(folder / 'calibrated.npz')}"
    return kept_engines(weights, lambda scratch: apart(_export, folder, variant, scenario.name, scratch))


def _export(folder: Path, variant: str, scenario: str, scratch: Path) -> Path:
    return export_golden(variants.variant(variant), folder, scenarios.load(folder, scenario), scratch, print)
