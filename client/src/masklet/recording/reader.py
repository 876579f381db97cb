"""Reads recordings back: requests with their tensors as they were sent, and what came."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masklet.errors import SourceError
from masklet.inputs import bytes_tensor, frame_tensors
from masklet.recording.film import FilmReader
from masklet.recording.lines import FORMAT, SESSION, text, whole_lines
from masklet.rle import Rle
from masklet.transport.protocol import Request


@dataclass(frozen=True, eq=False)
class RecordedAnswer:
    """What a server answered. Arrays are as in `TrackedFrame`; `rles` is None where no masks were asked for. timing: milliseconds by stage."""

    frame_index: int
    object_ids: tuple[int, ...]
    rles: list[Rle] | None
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    ious: NDArray[np.float32]
    timing: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Exchange:
    """A request and what came of it: an answer, a refusal (its text), or neither, where the stream broke or the recording ends.

    request  with its tensors as they were sent, but for the owner's token; those of the frame are read when somebody looks
    sent_s, answered_s  seconds after the recording began; answered_s is 0 where nothing came
    """

    request: Request
    sent_s: float
    answer: RecordedAnswer | None = None
    refusal: str = ""
    answered_s: float = 0.0


@dataclass(frozen=True, eq=False)
class Recording:
    """What one server was asked about one video.

    folder     where it is
    identity   who recorded it, and what the server said of itself: variant, precision, checkpoint_sha256, version, limits, ...
    exchanges  in the order in which requests were sent
    broken     why the stream ended, if it broke
    """

    folder: Path
    identity: Mapping[str, Any]
    exchanges: Sequence[Exchange]
    broken: str = ""


def folders(folder: str | Path) -> list[Path]:
    """The recordings in a folder, oldest first: itself, and those that its later streams made in it. Raises SourceError where there is none."""
    folder = Path(folder)
    numbered = [one for one in folder.glob("*") if one.name.isdecimal()] if folder.is_dir() else []
    found = [one for one in (folder, *sorted(numbered, key=lambda one: int(one.name))) if (one / SESSION).exists()]
    if not found:
        raise SourceError(f"{folder} is no recording: it has no {SESSION}. `masklet track --record` and Tracker(record=...) make recordings.")
    return found


def read(folder: str | Path) -> Recording:
    """One recording, up to where it was cut off, if it was. Raises SourceError."""
    folder = folders(folder)[0]
    try:
        lines = whole_lines((folder / SESSION).read_bytes())
        film = FilmReader(folder)
        if lines and lines[0].get("recording") != FORMAT:
            raise SourceError(f"{folder} is a recording of form {lines[0].get('recording')}; this version of masklet reads form {FORMAT}.")
        exchanges: list[Exchange] = []
        for line in _whole(lines[1:], film):
            if line.get("answer", line.get("request", 0)) < 0:  # belongs to nothing that was asked
                continue
            if "answer" in line:
                exchanges[line["answer"]] = _answered(exchanges[line["answer"]], line)
            elif "refusal" in line:
                exchanges[line["request"]] = replace(exchanges[line["request"]], refusal=line["refusal"], answered_s=line["t"])
            elif "request" in line:
                exchanges.append(Exchange(_request(line, film), line["t"]))
        broken = next((line["break"] for line in lines if "break" in line), "")
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise SourceError(f"{folder / SESSION} is damaged ({type(error).__name__}: {error}). Only a file that was cut off can be read.") from error
    return Recording(folder, lines[0] if lines else {}, exchanges, broken)


def _whole(lines: Sequence[Mapping[str, Any]], film: FilmReader) -> Iterator[Mapping[str, Any]]:
    """The lines up to the first request whose frame is not there any more."""
    for line in lines:
        if "frame" in line and not film.has(line["frame"]):
            return
        yield line


def _answered(exchange: Exchange, line: Mapping[str, Any]) -> Exchange:
    count = len(line["objects"])
    answer = RecordedAnswer(
        line["frame_index"],
        tuple(line["objects"]),
        line["rles"],
        np.array(line["boxes"], np.float32).reshape(count, 4),
        np.array(line["scores"], np.float32),
        np.array(line["ious"], np.float32),
        line["timing"],
    )
    return replace(exchange, answer=answer, answered_s=line["t"])


def _request(line: Mapping[str, Any], film: FilmReader) -> Request:
    prompts = text(line["prompts"])[:-1]
    given: dict[str, Callable[[], np.ndarray]] = {"PROMPTS": lambda: bytes_tensor(prompts)}
    if "state" in line:
        given["STATE"] = lambda: np.frombuffer(film.file(line["state"]), np.uint8)[None]
    if "frame" in line:
        size = tuple(line["size"]) if "size" in line else None
        names = ("FRAME_ENCODED",) if size is None else ("FRAME", "FRAME_SIZE")
        given |= {name: partial(_frame_tensor, film, line["frame"], size, name) for name in names}
    return Request(line["video"], line["start"], line["end"], _Later(given), line["parameters"], f"request {line['request']}")


def _frame_tensor(film: FilmReader, place: Mapping[str, Any], size: tuple[int, int] | None, name: str) -> np.ndarray:
    return frame_tensors(film.frame(place, size))[0][name]


class _Later(Mapping[str, np.ndarray]):
    """Tensors that are read when somebody looks: minutes of frames are more than a machine remembers."""

    def __init__(self, given: Mapping[str, Callable[[], np.ndarray]]) -> None:
        self._given = given

    def __getitem__(self, name: str) -> np.ndarray:
        return self._given[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._given)

    def __len__(self) -> int:
        return len(self._given)
