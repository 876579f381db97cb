"""For tests of programs that use masklet: a transport without a server, and what its handler takes and gives.

transport = MockTransport(handler)
tracker = masklet.Tracker("test:0", transport=transport)
"""

from masklet.testing.mock import MockTransport, Reply, answered
from masklet.transport.protocol import Answer, Broken, Refusal, Request

__all__ = ["Answer", "Broken", "MockTransport", "Refusal", "Reply", "Request", "answered"]
