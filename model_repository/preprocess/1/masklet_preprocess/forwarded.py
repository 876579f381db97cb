"""Headers that Triton forwards as request parameters, under their own names, where it was started with a pattern for them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

from masklet.wire import Options

_OPTIONS = ("--grpc-header-forward-pattern", "--http-header-forward-pattern")
_OWN = vars(Options()).keys()


def triton_words() -> list[str]:
    """The command line of the Triton that this process belongs to; nothing where it may not be read: then its headers are refused."""
    try:
        return Path(f"/proc/{os.getppid()}/cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
    except OSError:
        return []


def patterns(words: Sequence[str]) -> list[re.Pattern[str]]:
    """The patterns of Triton's command line. Raises re.error for one that Triton's RE2 may know and Python does not."""
    found = {}
    for word, following in zip(words, [*words[1:], ""], strict=True):
        option, given, value = word.partition("=")
        if option in _OPTIONS:
            found[option] = value if given else following
    return [re.compile(pattern) for pattern in found.values() if pattern]


def without_headers(parameters: str, forwarded: Sequence[re.Pattern[str]]) -> str:
    """The request parameters, JSON as Triton makes it, without headers: those have texts as values, and names that match and are not ours."""
    if not forwarded or not parameters:
        return parameters
    return json.dumps({name: value for name, value in json.loads(parameters).items() if not _is_header(name, value, forwarded)})


def _is_header(name: str, value: object, forwarded: Sequence[re.Pattern[str]]) -> bool:
    return isinstance(value, str) and name not in _OWN and any(pattern.search(name) for pattern in forwarded)
