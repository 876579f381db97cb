"""Addresses, and what of them may be shown."""

from __future__ import annotations

import re

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def scheme(text: str) -> str:
    """The scheme of an address, in small letters; "" of a path."""
    found = _SCHEME.match(text)
    return found[1].lower() if found else ""


def without_secrets(address: str) -> str:
    """The address for texts: no user, no password, no values of a query or of `name=value` in its path, where cameras take passwords too.

    A password may hold any character, so rather too much goes than too little.
    """
    rest = address[len(scheme(address)) + 3 :]
    place, question, query = rest.partition("?")
    if "@" in query:  # a password with a question mark, or a query with an @
        return f"{scheme(address)}://***"
    _, at, place = place.rpartition("@")
    place = re.sub(r"=[^/&;]*", "=***", place.partition("#")[0])
    return f"{scheme(address)}://{at and '***@'}{place}{question and '?***'}"
