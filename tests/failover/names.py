"""A name server that gives the addresses of the servers, as the DNS of Kubernetes does for a headless Service."""

from __future__ import annotations

import socket
import struct
import threading
from types import TracebackType

NAME = "masklet-pods.test"
_A, _IN = 1, 1
_ANSWER = 0x8580  # response, authoritative, recursion available
_POINTER = 0xC00C  # to the name in the question
_TTL_S = 1


class Names:
    """Answers every question for addresses, over UDP at 127.0.0.1:`port`, with `addresses`, which may be changed at any time. A context manager."""

    def __init__(self) -> None:
        self.addresses: tuple[str, ...] = ()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, name="names", daemon=True)

    def __enter__(self) -> Names:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._socket.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            packet, client = self._socket.recvfrom(4096)
            if not packet:
                return
            self._socket.sendto(_reply(packet, self.addresses), client)


def _reply(packet: bytes, addresses: tuple[str, ...]) -> bytes:
    end = packet.index(b"\0", 12) + 5  # of the question: name, type, class
    kind, _ = struct.unpack(">HH", packet[end - 4 : end])
    given = addresses if kind == _A else ()
    records = b"".join(struct.pack(">HHHIH", _POINTER, _A, _IN, _TTL_S, 4) + socket.inet_aton(address) for address in given)
    return packet[:2] + struct.pack(">HHHHH", _ANSWER, 1, len(given), 0, 0) + packet[12:end] + records
