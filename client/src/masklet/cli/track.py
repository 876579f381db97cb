"""`masklet track`: a video in, masks and an overlay video out."""

from __future__ import annotations

import argparse
import itertools
import sys
from collections import deque
from collections.abc import Iterator, Mapping

from masklet.cli.arguments import ObjectPrompt
from masklet.cli.connection import tls_of
from masklet.cli.failure import need
from masklet.cli.told import told
from masklet.cli.writers import Writer
from masklet.connection.interruption import Interruption
from masklet.overlay import Image
from masklet.results import TrackedFrame
from masklet.sources import Source, open_source
from masklet.sources.images import read_image
from masklet.tracker import Tracker, Video

_INTERRUPTED = 130  # what shells give for Ctrl-C


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; gives its exit code. Raises Failure, MaskletError, OSError."""
    tqdm, tracker = need("tqdm").tqdm, _tracker(arguments)
    with (
        open_source(arguments.video) as source,
        Writer(arguments.out, arguments.fps or source.fps) as writer,
        tqdm(total=_total(source, arguments.max_frames), unit="frame") as bar,
    ):
        try:
            with tracker.open(resilient=arguments.resilient or len(arguments.url) > 1) as video:
                _prompt(video, arguments.prompts)
                for frame, result in _tracked(video, (frame.image for frame in itertools.islice(source, arguments.max_frames))):
                    writer.write(frame, result)
                    bar.update()
        except KeyboardInterrupt:
            print(f"\nstopped after {bar.n} frames; what was written to {arguments.out} is kept", file=sys.stderr)
            return 0 if source.live else _INTERRUPTED
    for interruption in video.interruptions:
        print(f"survived: {_told(interruption)}", file=sys.stderr)
    print(f"{bar.n} frames: {arguments.out}/masks, {arguments.out}/masks.jsonl, {arguments.out}/overlay.mp4")
    return 0


def _tracked(video: Video, frames: Iterator[Image]) -> Iterator[tuple[Image, TrackedFrame]]:
    """Each frame with its result."""
    on_their_way: deque[Image] = deque()

    def sent() -> Iterator[Image]:
        for frame in frames:
            on_their_way.append(frame)
            yield frame

    for result in video.track_many(sent()):
        yield on_their_way.popleft(), result


def _prompt(video: Video, prompts: Mapping[int, ObjectPrompt]) -> None:
    for object_id, said in prompts.items():
        mask = None if said.mask is None else read_image(said.mask).any(axis=2)
        video.prompt(object_id, points=said.points or None, labels=said.labels or None, box=said.box, mask=mask)


def _told(interruption: Interruption) -> str:
    way = f"from {interruption.from_url} to {interruption.to_url} in {interruption.seconds:.1f} s"
    return f"{interruption.cause}: {way}, {interruption.frames_replayed} frames computed again. {told(interruption.reason)}"


def _tracker(arguments: argparse.Namespace) -> Tracker:
    return Tracker(
        arguments.url,
        tls=tls_of(arguments),
        headers=dict(arguments.header),
        timeout_s=arguments.timeout_s,
        model=arguments.model,
        proxy=arguments.proxy,
    )


def _total(source: Source, most: int | None) -> int | None:
    counts = [count for count in (source.count, most) if count is not None]
    return min(counts, default=None)
