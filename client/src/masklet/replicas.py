"""The servers of a tracker, and how to reach them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

from masklet.transport import stream_headers

T = TypeVar("T")


class Replicas(Generic[T]):
    """Servers by url, each with a transport `T`, made now: wrong urls are told at once. Raises ValueError.

    transport  one for all of them, or by url; None: what `make` makes of the url
    headers    sent with every stream
    """

    def __init__(self, url: str | Sequence[str], transport: T | Mapping[str, T] | None, make: Callable[[str], T], headers: Mapping[str, str]) -> None:
        self.urls = (url,) if isinstance(url, str) else tuple(dict.fromkeys(url))
        if not self.urls:
            raise ValueError("a tracker needs the url of at least one server, got none.")
        if isinstance(transport, Mapping):
            by_url: Mapping[str, T] = transport
            self._transports = {url: by_url[url] for url in self.urls}
        else:
            self._transports = {url: make(url) if transport is None else transport for url in self.urls}
        self._headers = dict(headers)

    def transport(self, url: str) -> T:
        """How to reach one of them."""
        return self._transports[url]

    def headers(self, video_id: int | str) -> dict[str, str]:
        """The headers of a video's stream."""
        return stream_headers(self._headers, video_id)
