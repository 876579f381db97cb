"""Puts the repositories of several variants side by side into one, under names of their own: tracker_sam2.1_t beside tracker_nano.

Every model gets its variant's name behind its own. None is shared: a postprocess that took logits of any size would have an input with more than one
free dimension (see `masklet.contract`).
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path

from tritonclient.grpc import model_config_pb2

from masklet import contract
from masklet_build.common import fresh_directory
from masklet_build.repository.configs import AssembleError, read_config, write_config

Configs = Mapping[str, model_config_pb2.ModelConfig]

MARK = "combined.txt"  # lies in what this module writes


def combine(repositories: Sequence[Path], out: Path, *, force: bool = False) -> list[str]:
    """Writes one repository to `out`, whole or not at all, of several that `assemble` wrote. Returns the names of its trackers.

    Raises AssembleError, OutputExists.
    """
    if len(repositories) < 2:
        raise AssembleError("one repository needs no combining. Name at least two.")
    found = [_configs(repository) for repository in repositories]
    variants = [configs["memory_bank"].parameters["variant"].string_value for configs in found]
    for variant in {variant for variant in variants if variants.count(variant) > 1}:
        raise AssembleError(f"{variant} is there twice. Combine repositories of different variants.")
    with fresh_directory(out, mark=MARK, force=force) as draft:
        for repository, configs, variant in zip(repositories, found, variants, strict=True):
            _add(draft, repository, configs, variant)
        trackers = [f"{contract.TRACKER.name}_{variant}" for variant in variants]
        (draft / MARK).write_text("".join(f"{tracker}\n" for tracker in trackers))
    return trackers


def _configs(repository: Path) -> Configs:
    if not (repository / contract.TRACKER.name / "config.pbtxt").is_file():
        raise AssembleError(f"{repository} is no repository of one variant. Make it with: masklet-build assemble")
    return {path.parent.name: read_config(path.parent) for path in sorted(repository.glob("*/config.pbtxt"))}


def _add(draft: Path, repository: Path, configs: Configs, variant: str) -> None:
    """Adds the models of one variant to the draft."""
    names = {name: f"{name}_{variant}" for name in configs}
    for name, source in configs.items():
        config = deepcopy(source)
        config.name = names[name]
        for step in config.ensemble_scheduling.step:
            step.model_name = names[step.model_name]
        if "suffix" in config.parameters:
            config.parameters["suffix"].string_value = f"_{variant}"
        shutil.copytree(repository / name, draft / config.name)
        write_config(draft / config.name, config)
