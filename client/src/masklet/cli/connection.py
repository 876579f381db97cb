"""Arguments of every command that reaches a server over gRPC."""

from __future__ import annotations

import argparse
import math
import os
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from masklet.contract import TRACKER

if TYPE_CHECKING:
    from masklet.transport.protocol import Tls


def add_connection(parser: argparse.ArgumentParser, model: str | None = TRACKER.name) -> None:
    """Adds the name of the model, with its default (None: all that there are), and TLS."""
    default = model or "all"
    parser.add_argument("--model", default=model, metavar="NAME", help=f"tracker_VARIANT where the server has several (default: {default})")
    parser.add_argument("--tls", action="store_true", help="use TLS")
    parser.add_argument("--root-certificates", type=_pem, metavar="FILE", help="PEM file of the authorities to trust, implies --tls")
    parser.add_argument("--client-certificate", type=_pem, metavar="FILE", help="PEM file, for servers that ask for one (mutual TLS), implies --tls")
    parser.add_argument("--client-key", type=_pem, metavar="FILE", help="PEM file of the key to --client-certificate")


def tls_of(arguments: argparse.Namespace) -> Tls | None:
    """The TLS settings that were asked for. Raises ValueError for half a pair."""
    from masklet.transport.protocol import Tls  # numpy, which health checks by counters do without

    files = (arguments.root_certificates, arguments.client_key, arguments.client_certificate)
    return Tls(*files) if arguments.tls or any(files) else None


def positive(kind: Any) -> Any:
    """A type of argparse: a finite number above 0."""

    def convert(text: str) -> Any:
        if not 0 < (number := kind(text)) < math.inf:
            raise argparse.ArgumentTypeError(f"{text} is not above 0" if number <= 0 else f"{text} is no finite number")
        return number

    convert.__name__ = kind.__name__  # for argparse's message
    return convert


def address(text: str) -> str:
    """A type of argparse: HOST:PORT."""
    try:
        parts = urlsplit(f"//{text}")
        usable = bool(parts.hostname and parts.port and parts.netloc == text)
    except ValueError:  # the port is no number, or too large
        usable = False
    if not usable:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT, such as localhost:8001 or [::1]:8001")
    return text


def header(text: str) -> tuple[str, str]:
    """A type of argparse: NAME=VALUE."""
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def web(text: str) -> str:
    """A type of argparse: a URL of the web, as metrics have."""
    if not text.startswith(("http://", "https://")):
        raise argparse.ArgumentTypeError(f"{text!r} is no URL such as http://localhost:8002/metrics")
    return text


def _pem(text: str) -> str:
    if not os.access(text, os.R_OK):
        raise argparse.ArgumentTypeError(f"{text} is not there, or not for this user to read")
    return text
