"""JSON that is written bit by bit, so that it need not fit into memory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, TextIO


def write_object(file: TextIO, values: Mapping[str, Any], lists: Mapping[str, Iterable[str]]) -> None:
    """An object with `values`, and under the keys of `lists` the elements that are given as JSON, one a line."""
    head = "".join(f"{json.dumps(key)}: {json.dumps(value)},\n" for key, value in values.items())
    file.write(f"{{{head}")
    for place, (key, elements) in enumerate(lists.items()):
        file.write(f"{',' if place else ''}\n{json.dumps(key)}: ")
        write_list(file, elements)
    file.write("}\n")


def write_list(file: TextIO, elements: Iterable[str]) -> None:
    """A list of elements that are given as JSON."""
    file.write("[")
    for place, element in enumerate(elements):
        file.write(f"{',' if place else ''}\n{element}")
    file.write("]")
