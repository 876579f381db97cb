"""What a caller holds of a rewind: says what a frame should have had, and waits until the video is as if it had."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from numpy.typing import ArrayLike

from masklet import prompts
from masklet.concurrency.protocol import Condition
from masklet.concurrency.threads import finish
from masklet.errors import copy_of
from masklet.history.edit import with_edits
from masklet.history.log import Kept
from masklet.prompts import Item
from masklet.results import TrackedFrame


class Journey:
    """A rewind, or the undoing of one, and its outcome.

    frame_index  of the frame from which on results change
    edit         prompts and removals for it, in order
    undoes       what is taken back; None for a rewind
    waited       somebody waits for the outcome, and will see an error
    """

    def __init__(self, kept: Kept, undoes: Journey | None, changed: Condition) -> None:
        assert kept.frame_index is not None
        self.frame_index = kept.frame_index
        self.edit: tuple[Item, ...] = ()
        self.undoes = undoes
        self.waited = False
        self.outcome: list[TrackedFrame] | BaseException | None = None
        self._kept = weakref.ref(kept)  # the log decides how long it is kept
        self._changed = changed

    @property
    def kept(self) -> Kept | None:
        """The frame in the log; None where that went on."""
        return self._kept()

    def edits(self, kept: Kept) -> list[tuple[Item, ...]]:
        """What was, with this journey, changed on a frame."""
        if kept is not self.kept:
            return kept.edits
        return [*kept.edits, self.edit] if self.undoes is None else [edit for edit in kept.edits if edit is not self.undoes.edit]

    def finish(self, outcome: list[TrackedFrame] | BaseException) -> None:
        """It is over."""
        with self._changed:
            self.outcome = self.outcome or outcome
            self._changed.notify_all()

    async def results(self) -> list[TrackedFrame]:
        """Waits for the outcome."""
        self.waited = True
        await self._changed.wait_for(lambda: self.outcome is not None)
        assert self.outcome is not None
        if isinstance(self.outcome, BaseException):
            raise copy_of(self.outcome)
        return self.outcome


class AsyncRewind:
    """What `AsyncVideo.rewind` and `undo` give. See `Rewind`.

    begin  gives the journey and the prompts that its frame has now
    start  lets the journey begin
    """

    def __init__(self, check: Callable[[], None], begin: Callable[[], tuple[Journey, Sequence[Item]]], start: Callable[[Journey], None]) -> None:
        self._check = check
        self._begin = begin
        self._start = start
        self._journey: Journey | None = None
        self._had: Sequence[Item] = ()
        self._inside = False

    @classmethod
    def of(cls, check: Callable[[], None], journey: Journey) -> AsyncRewind:
        """One that was started."""
        made = cls(check, lambda: (journey, ()), lambda _: None)
        made._journey = journey
        return made

    def prompt(self, object_id: int, **prompt: Any) -> None:
        """See `Rewind.prompt`. Not awaited."""
        self._add(prompts.item(object_id, **prompt))

    def remove(self, object_id: int) -> None:
        """See `Rewind.remove`. Not awaited."""
        self._add(prompts.removal(object_id))

    @property
    def done(self) -> bool:
        """See `Rewind.done`."""
        return self._journey is not None and self._journey.outcome is not None

    async def wait(self) -> list[TrackedFrame]:
        """See `Rewind.wait`."""
        self._check()
        if self._journey is None or self._inside:
            raise RuntimeError("there is nothing to wait for yet: the frames are tracked again when the `with` block of the rewind is left.")
        return await self._journey.results()

    async def __aenter__(self) -> AsyncRewind:
        self._check()
        self._journey, self._had = self._begin()
        self._inside = True
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._inside = False
        assert self._journey is not None
        if kind is not None or not self._journey.edit:
            self._journey.finish([])
        else:
            self._check()
            self._start(self._journey)

    def _add(self, item: Item) -> None:
        if self._journey is None or not self._inside:
            raise RuntimeError("prompts of a rewind are given inside its `with` block.")
        edit = (*self._journey.edit, item)
        with_edits(self._had, [edit])  # what is wrong is told now
        self._journey.edit = edit


class Rewind:
    """A frame that is over, and what it should have had. What is said in the `with` block is as if it had been said before that frame was sent.

    When the block is left the frames from a snapshot on are tracked again, on a second video of the server, beside this one, which goes on. Once
    there are no more this video goes on from there: with its next frame everything is as if the prompts had come in time. An error in the block, or
    a block without prompts, changes nothing.
    """

    def __init__(self, rewind: AsyncRewind) -> None:
        self._rewind = rewind

    def prompt(
        self,
        object_id: int,
        *,
        points: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        box: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        append: bool = False,
        clear: bool = False,
    ) -> None:
        """As `Video.prompt`, for the frame of the rewind, after the prompts that it had. Raises BadPrompt."""
        self._rewind.prompt(object_id, points=points, labels=labels, box=box, mask=mask, append=append, clear=clear)

    def remove(self, object_id: int) -> None:
        """As `Video.remove`, before the frame of the rewind. What the server says against it is raised by `wait`. Raises BadPrompt."""
        self._rewind.remove(object_id)

    @property
    def done(self) -> bool:
        """Whether `wait` would return, or raise, at once."""
        return self._rewind.done

    def wait(self) -> list[TrackedFrame]:
        """Waits until the video goes on with the prompts. Gives the results of the frames tracked again, from that of the rewind on, in order.

        Each is what its frame's call would have given, but for `label`, which is "replayed", and an array in `frame`, which is a copy. `skipped`: so
        many frames before it were left out, since the server was slower than the camera.

        Raises the error for which the frames could not be tracked again: the video goes on as if there had been no rewind, and it may be tried again.
        ServerBusy: no room for a second video. BadFrameIndex: the history went on faster. VideoLost: the video was closed, or lost.
        """
        return finish(self._rewind.wait())

    def __enter__(self) -> Rewind:
        finish(self._rewind.__aenter__())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        finish(self._rewind.__aexit__(kind, error, traceback))
