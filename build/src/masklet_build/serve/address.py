"""Where a server listens: hosts and ports, of IPv4 and IPv6."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket
from dataclasses import dataclass

from masklet_build.serve.errors import ServeError

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Address:
    """Where one server listens: the three ports, and the host of each; `host` is gRPC's. IPv6 addresses are written without brackets."""

    host: str
    grpc: int
    http: int
    metrics: int
    http_host: str = LOOPBACK
    metrics_host: str = LOOPBACK

    @property
    def reachable_host(self) -> str:
        """The host of gRPC for a client on this machine."""
        return reachable(self.host)

    def listeners(self) -> dict[str, tuple[str, int]]:
        """Host and port of "grpc", "http" and "metrics"."""
        return {"grpc": (self.host, self.grpc), "http": (self.http_host, self.http), "metrics": (self.metrics_host, self.metrics)}


def reachable(host: str) -> str:
    """For a client on this machine, as it stands in a url: where a server that listens at `host` answers."""
    host = {"0.0.0.0": LOOPBACK, "": LOOPBACK, "::": "::1"}.get(host, host)
    return bracketed(host)


def bracketed(host: str) -> str:
    """A host as it stands before a port."""
    return f"[{host}]" if ":" in host else host


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens at `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listening(host: str, port: int, name: str) -> socket.socket:
    """A socket that listens where Triton shall. Raises ServeError."""
    family, every = (socket.AF_INET6 if ":" in host else socket.AF_INET), host == "::" and socket.has_dualstack_ipv6()
    try:
        return socket.create_server((host, port), family=family, dualstack_ipv6=every)
    except OSError as error:
        used = error.errno in (errno.EADDRINUSE, errno.EACCES)
        advice = (
            f"Stop what uses it, or choose another with --{name}-port (0 takes a free one)."
            if used
            else "The host must be an address of this machine; 127.0.0.1: this machine only, 0.0.0.0: every IPv4 network, :: every network."
        )
        raise ServeError(f"cannot listen at {bracketed(host)}:{port} for {name}: {_reason(error)}. {advice}") from error


def resolved(host: str, ports: dict[str, int], http_host: str = LOOPBACK, metrics_host: str = LOOPBACK) -> Address:
    """The address with every 0 replaced by a free port. Raises ServeError."""
    hosts = [one.strip("[]") for one in (host, http_host, metrics_host)]
    with contextlib.ExitStack() as held:  # all are held until all are chosen, so that they differ
        for name, where in zip(("grpc", "http", "metrics"), hosts, strict=True):
            taken, free = set(ports.values()), 0
            while ports[name] == 0 and free in taken:  # what another host has may be free at this one
                free = held.enter_context(listening(where, 0, name)).getsockname()[1]
            ports[name] = ports[name] or free
    return Address(hosts[0], **ports, http_host=hosts[1], metrics_host=hosts[2])


def check_free(address: Address) -> None:
    """Raises ServeError where one of the ports is used, or two are the same."""
    listeners = address.listeners()
    ports = {name: port for name, (_, port) in listeners.items()}
    if len(set(ports.values())) < len(ports):
        raise ServeError(f"two of the ports are equal: {ports}. Give each its own, or 0 for a free one.")
    for name, (host, port) in listeners.items():
        listening(host, port, name).close()


def _reason(error: OSError) -> str:
    """Of create_server, which puts the address behind the words. What a look-up of a name says has numbers of its own, below 0."""
    number = error.errno or 0
    return os.strerror(number) if number > 0 else str(error.strerror).partition(" (while")[0]
