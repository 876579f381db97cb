"""Errors in the words of the command line: what they say of Python is of no use there."""

from __future__ import annotations

import re

# What texts of the client and of servers have for people who write Python -> what it is for those who run a command; empty: nothing.
_WORDS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), words)
    for pattern, words in (
        (r"For TLS pass tls=masklet\.Tls\(\)", "For TLS add --tls"),
        (r"timeout_s", "--timeout-s"),
        (r"; the server takes (\d+ pixels(?: a side)?)\. Send it smaller\.", r"; the server takes \1. Scale frames down with --max-side."),
        (r"`proxy` of the tracker, --proxy of the command", "--proxy of `masklet track`"),
        (r"Make a new Tracker and open a new video here, or start", "Start"),
        (r" \(prompt \d+\)", ""),
        (r" ?The prompts of objects \[[\d, ]*\] (?:are dropped|go with the next frame)\.", ""),
        (r" The video goes on without it and its prompts\.", ""),
        (r" ?Its newest snapshot is `state` of this error: open a new video from it\.", " Start again when a server is there."),
        (r"Open a new one and prompt again\.", "Start again when a server is there."),
        (r"Open a new video and prompt again,? or restore a snapshot(, and)?", r"Start again; with --resilient it goes on by itself\1"),
        (r"Open a new video and prompt again\.|Open a new one\.", "Start again; with --resilient it goes on by itself."),
        (r"Open a new video; if the server is only slow, with", "Start again; if the server is only slow, with"),
        (r"Open a new video, later or on another server\.", "Try again, later or on another server."),
        (r"Then open a new video\.", "Then start again."),
        (r"Go on from a snapshot, or open a new video\.", "Start again."),
        (r"or open the video on another server\.", "or on another server."),
        (r"Open (?:the video|your video) (on|under) ", r"Try \1 "),
    )
)


_OPTIONS = re.compile(
    r" Scale frames down with --max-side\.|"
    "; with --resilient it goes on by itself|; if the server is only slow, with a larger --timeout-s|, or with a larger --timeout-s"
)


def told(error: BaseException | str, *, options: bool = True) -> str:
    """The text of an error for somebody who runs a command. `options`: it has those of `masklet track`."""
    text = str(error)
    for pattern, words in _WORDS:
        text = pattern.sub(words, text)
    return text if options else _OPTIONS.sub("", text)


def counted(number: int, what: str) -> str:
    """1, "frame" -> "1 frame"; 2, "frame" -> "2 frames"."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
