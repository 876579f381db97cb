"""Writing a directory whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class OutputExists(Exception):
    """The output directory is there already."""


@contextmanager
def fresh_directory(out: Path, *, force: bool = False) -> Iterator[Path]:
    """Gives an empty draft directory beside `out` that takes its place when the block ends well, and vanishes when it does not.

    `force`: what stands at `out` is replaced; else OutputExists is raised before anything is done.
    """
    out = out.absolute()
    if out.exists() and any(out.iterdir() if out.is_dir() else [out]) and not force:
        raise OutputExists(f"{out} exists. Choose another directory, or replace it with --force.")
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        yield draft
        draft.chmod(0o755)
        if out.is_dir():
            shutil.rmtree(out)
        draft.rename(out)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
