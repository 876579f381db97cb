"""Writing a directory whole or not at all."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / mark).exists():
        raise OutputExists(f"{out} exists and holds something else (it has no {mark}). Choose another directory.")
    if not force:
        raise OutputExists(f"{out} exists already. Choose another directory, or replace it with --force.")
