"""For tests of programs that use masklet: a transport without a server, and what its handler takes and gives.

    def handler(request):
        return answer(request, {1: mask} if request.tensors.keys() & {"FRAME", "FRAME_ENCODED"} else {})

    with masklet.Tracker("test:0", transport=MockTransport(handler)) as tracker, tracker.open() as video:
        ...

To see how a program takes errors, the handler gives `masklet.ServerBusy("...")` or another MaskletError, a Refusal with Triton's words, or Broken.
"""

from masklet.testing.answers import answer
from masklet.testing.mock import MockTransport, Reply, answered
from masklet.transport.protocol import Answer, Broken, Refusal, Request

__all__ = ["Answer", "Broken", "MockTransport", "Refusal", "Reply", "Request", "answer", "answered"]
