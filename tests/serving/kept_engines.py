"""Engines that tests export are kept between runs, and between the workers of one: in pytest's cache, by what they are made of."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = (ROOT / "build" / "src", ROOT / "client" / "src" / "masklet")
PACKAGES = ("torch", "onnx", "onnxruntime", "numpy")
MOST_BYTES = 2_000_000_000
KeptEngines = Callable[[str, Callable[[Path], Path]], Path]  # the fixture: weights in words, what exports them into a folder
IN_USE_S = 3600  # what was asked for so lately may be read by another worker


def engines(cache: Path, of: str, make: Callable[[Path], Path], folder: Path) -> Path:
    """A copy, at `folder`, of the engines that `make(scratch)` exports. They are made once for the same `of` (weights), sources and packages."""
    kept = cache / _key(of)
    if not kept.exists():
        with (cache / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # another worker waits, for these engines or with its own: an export takes up to 3 GB
            if not kept.exists():
                _make(kept, make)
    os.utime(kept)
    _forget(cache)
    shutil.copytree(kept, folder)
    return folder


def apart(export: Callable[..., Path], *arguments: object) -> Path:
    """What a function of a module gives, run by a process of its own, whose gigabytes go with it."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(export, *arguments).result()


def _make(kept: Path, make: Callable[[Path], Path]) -> None:
    draft = kept.with_suffix(".draft")
    shutil.rmtree(draft, ignore_errors=True)  # of a run that was killed
    draft.mkdir()
    make(draft).rename(kept)
    shutil.rmtree(draft)


def _key(of: str) -> str:
    digest = hashlib.sha256("\0".join([of, *(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)]).encode())
    for file in sorted(file for folder in SOURCES for file in folder.rglob("*.py")):
        digest.update(file.relative_to(ROOT).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:32]


def _forget(cache: Path) -> None:
    """The oldest, while all take more than MOST_BYTES."""
    folders = [place for place in cache.iterdir() if place.is_dir() and not place.suffix]
    total = 0
    for place in sorted(folders, key=lambda place: place.stat().st_mtime, reverse=True):
        total += sum(file.stat().st_size for file in place.iterdir())
        if total > MOST_BYTES and place.stat().st_mtime < time.time() - IN_USE_S:
            shutil.rmtree(place, ignore_errors=True)  # the other worker may be at it
