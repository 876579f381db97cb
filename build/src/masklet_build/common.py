"""What every command does: say something, fail, name what is not installed, take a variant, and write a directory whole or not at all."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from masklet_build.models import variants

_NAMES = {"PIL": "Pillow"}  # of distributions that are not called as their module is


def say(line: str) -> None:
    """Prints a line at once, also into a pipe."""
    print(line, flush=True)


def fail(command: str, error: object) -> int:
    """Prints why a command failed. Returns its exit code."""
    print(f"masklet-build {command}: {error}", file=sys.stderr)
    return 1


def missing(extra: str, *modules: str) -> str | None:
    """What to do where modules of an optional part of the package are not installed; None where they are."""
    absent = [_NAMES.get(name, name) for name in modules if find_spec(name) is None]
    if not absent:
        return None
    return f"{', '.join(absent)} not installed here. Use the build environment, or: pip install 'masklet-build[{extra}]'."


def add_variant(parser: argparse.ArgumentParser) -> None:
    """The argument VARIANT. Any other word ends the program with exit code 2 and the list of variants."""
    parser.add_argument("variant", metavar="VARIANT", type=_variant_name, help="such as nano or sam2.1_t; all of them: masklet-build variants")


def _variant_name(text: str) -> str:
    try:
        return variants.variant(text).name
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


class OutputExists(Exception):
    """The output directory is there already."""


@contextmanager
def fresh_directory(out: Path, *, mark: str, force: bool = False) -> Iterator[Path]:
    """Gives an empty draft directory beside `out` that takes its place when the block ends well, and vanishes when it does not.

    mark    a file below the directory by which one of its kind is known
    force   what was written to `out` before is replaced; anything else never is
    Raises OutputExists, before anything is done.
    """
    out = out.absolute()
    _check(out, mark, force)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as scratch:
        draft, old = Path(scratch) / "draft", Path(scratch) / "old"
        draft.mkdir()
        yield draft
        if out.exists():
            out.rename(old)
        try:
            draft.rename(out)
        except OSError:
            if old.exists():
                old.rename(out)
            raise


def _check(out: Path, mark: str, force: bool) -> None:
    if out.is_mount():
        raise OutputExists(f"{out} is a mount point, which cannot be replaced by a whole new directory. Name one below it: {out / 'new'}.")
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / mark).exists():
        raise OutputExists(f"{out} exists and holds something else (it has no {mark}). Choose another directory.")
    if not force:
        raise OutputExists(f"{out} exists already. Choose another directory, or replace it with --force.")
