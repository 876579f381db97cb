"""The table of outputs has every format, and nothing that there is not."""

from __future__ import annotations

import re
from pathlib import Path

from masklet.export import FORMATS

DOCUMENT = Path(__file__).parents[2] / "client" / "outputs.md"


def rows() -> dict[str, list[str]]:
    table = [[cell.strip() for cell in text.strip("|").split("|")] for text in DOCUMENT.read_text().splitlines() if text.startswith("| `")]
    return {cells[0].strip("`"): cells[1:] for cells in table}


def test_every_format_has_a_row_with_what_it_is_and_who_reads_it():
    assert [name.removeprefix("--format ") for name in rows() if name.startswith("--format ")] == list(FORMATS)
    assert all(what and reader for what, reader, *_ in rows().values())


def test_what_track_writes_has_a_row():
    assert {"masks.jsonl", "masks/*.png", "overlay.mp4"} <= set(rows())


def test_a_format_that_is_a_folder_is_shown_as_one():
    for name, form in FORMATS.items():
        assert bool(re.match(r"`[\w/]+/", rows()[f"--format {name}"][0])) == form.folder
