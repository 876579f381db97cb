"""How channels are made: straight to the server, or through a proxy that was named.

gRPC by itself takes the proxies of `http_proxy` and its sisters for every address, this machine's too. They are set for the web; a masklet server is
in one's own network, and a proxy of the web does not reach it, or cuts long streams. So they do not count here.
"""

from __future__ import annotations

import os
from ipaddress import ip_address
from urllib.parse import urlsplit

_MOST = 2**31 - 1
_VARIABLES = ("grpc_proxy", "https_proxy", "http_proxy", "all_proxy")


def channel_options(proxy: str | None = None) -> tuple[tuple[str, int | str], ...]:
    """Options of every channel to Triton. `proxy`: "http://HOST:PORT" to go through. Raises ValueError where it is not that."""
    return (*_OPTIONS, ("grpc.enable_http_proxy", 0) if proxy is None else ("grpc.http_proxy", _checked(proxy)))


def way(url: str, proxy: str | None) -> str:
    """What an error about a connection to `url` has to say of proxies; empty for nothing."""
    if proxy is not None:
        return f"The way led through the proxy {_shown(proxy)}, which was asked for."
    variable = next((name for known in _VARIABLES for name in (known, known.upper()) if os.environ.get(name)), None)
    if variable is None or _is_here(url):
        return ""
    return f"{variable} is set here, and was not used: if {url} is behind that proxy, ask for it (`proxy` of the tracker, --proxy of the command)."


_OPTIONS = (
    ("grpc.max_send_message_length", _MOST),  # Triton's own limit; the default of gRPC is 4 MiB
    ("grpc.max_receive_message_length", _MOST),
    ("grpc.use_local_subchannel_pool", 1),  # else channels to the same address share one connection
    # A dead peer must be noticed while frames are on their way. Without frames there are no pings: Triton's default tolerates only one in
    # five minutes of silence, and then closes the connection.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.http2.max_pings_without_data", 2),
)


def _checked(proxy: str) -> str:
    parts = urlsplit(proxy)
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError(f"proxy {_shown(proxy)!r} must be http://HOST:PORT, an HTTP proxy that takes CONNECT; gRPC knows no other.")
    return proxy


def _shown(proxy: str) -> str:
    """Without a password."""
    return proxy.rpartition("@")[2]


def _is_here(url: str) -> bool:
    """Whether an address is of this machine."""
    host = url.rpartition(":")[0].strip("[]")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
