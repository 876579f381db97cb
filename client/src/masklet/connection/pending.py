"""What a caller holds of something asked until it has its outcome, and all of these of one video."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from masklet.connection.operations import Operation
from masklet.errors import copy_of
from masklet.results import TrackedFrame
from masklet.wire import Options


@dataclass(eq=False)
class PendingResult:
    """Something asked. `outcome` is set once its event has come, and then never changes.

    operation  without its tensors
    heard      the server has answered or refused it
    end        it is the last request
    prompted   its prompts are kept if it is refused; False where somebody else sees to that
    """

    operation: Operation
    outcome: TrackedFrame | BaseException | None = None
    heard: bool = False
    end: bool = False
    prompted: bool = False

    @property
    def waits_for(self) -> str:
        """What is waited for, for people."""
        return self.operation.waits_for

    @property
    def unheard(self) -> BaseException | None:
        """The error, if it is not the server's word on this request."""
        return self.outcome if isinstance(self.outcome, BaseException) and not self.heard else None

    def result(self) -> TrackedFrame:
        """The outcome; an error is raised."""
        assert self.outcome is not None
        if isinstance(self.outcome, BaseException):
            raise copy_of(self.outcome)
        return self.outcome


def failed(error: BaseException) -> PendingResult:
    """The result of what never became a request."""
    return PendingResult(Operation("nothing", Options()), outcome=error)


class Outstanding:
    """The results of one video that have no outcome yet.

    held  asked and not sent, with the operation
    sent  by the id of the request; oldest first, as asked
    """

    def __init__(self) -> None:
        self.held: deque[tuple[PendingResult, Operation]] = deque()
        self.sent: dict[str, PendingResult] = {}

    @property
    def oldest_id(self) -> str | None:
        """The id of the oldest request that was sent."""
        return next(iter(self.sent), None)

    @property
    def oldest(self) -> PendingResult | None:
        """What waits for its answer."""
        return next(iter(self.sent.values()), None)

    def fail(self, error: Exception) -> None:
        """The outcome of all of them."""
        for pending in self.sent.values():
            pending.outcome = pending.outcome or error
        self.sent.clear()
        self.fail_held(error)

    def fail_held(self, error: Exception) -> None:
        """What was not sent will not be."""
        for pending, _ in self.held:
            pending.outcome = error
        self.held.clear()
