"""Arguments of every command that reaches a server over gRPC."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from masklet.contract import TRACKER

if TYPE_CHECKING:
    from masklet.transport.protocol import Tls


def add_connection(parser: argparse.ArgumentParser, model: str | None = TRACKER.name) -> None:
    """Adds the name of the model, with its default (None: all that there are), and TLS."""
    default = model or "all"
    parser.add_argument("--model", default=model, metavar="NAME", help=f"tracker_VARIANT where the server has several (default: {default})")
    parser.add_argument("--tls", action="store_true", help="use TLS")
    parser.add_argument("--root-certificates", metavar="FILE", help="PEM file of the authorities to trust, implies --tls")
    parser.add_argument("--client-certificate", metavar="FILE", help="PEM file, for servers that ask for one (mutual TLS), implies --tls")
    parser.add_argument("--client-key", metavar="FILE", help="PEM file of the key to --client-certificate")


def tls_of(arguments: argparse.Namespace) -> Tls | None:
    """The TLS settings that were asked for. Raises ValueError for half a pair."""
    from masklet.transport.protocol import Tls  # numpy, which health checks by counters do without

    files = (arguments.root_certificates, arguments.client_key, arguments.client_certificate)
    return Tls(*files) if arguments.tls or any(files) else None


def positive(kind: Any) -> Any:
    """A type of argparse: a number above 0."""

    def convert(text: str) -> Any:
        if (number := kind(text)) <= 0:
            raise argparse.ArgumentTypeError(f"{text} is not above 0")
        return number

    convert.__name__ = kind.__name__  # for argparse's message
    return convert
