"""A python model that is one answer behind: every answer is another request's. It must be noticed at each boundary, whoever of them it is.

After a pause of a second Triton can leave a model in this state. Here it is planted: the model's own file gets a few more lines, which hand out the
answers of the execution before while a file exists.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from benchmarks.films import digest, film
from masklet import AsyncTracker, MaskletError, ServerFault, VideoLost
from masklet_build import nano
from masklet_build.repository.assemble import assemble
from masklet_build.serve import Server

pytestmark = [pytest.mark.server, pytest.mark.engines]

MODELS = ("preprocess", "image_encoder", "memory_bank", "postprocess")
VIDEOS, FRAMES, STRIKE = 4, 8, 3  # so many videos at once; at this frame the model falls behind
TRIES = 5  # errors after which a video is given up
TIMEOUT_S = 10

_BEHIND = """

_Right = TritonPythonModel


def _copy(response):
    if response.has_error():
        return response
    return pb_utils.InferenceResponse([pb_utils.Tensor(tensor.name(), tensor.as_numpy().copy()) for tensor in response.output_tensors()])


class TritonPythonModel(_Right):
    before = []

    def execute(self, requests):
        answers = super().execute(requests)
        before, self.before = self.before, [_copy(answer) for answer in answers]
        return before if Path({switch!r}).exists() and len(before) == len(answers) else answers
"""


def plant(model: Path, switch: Path) -> None:
    """Makes a python model hand out the answers of the execution before, where there are as many, while `switch` exists."""
    with model.open("a") as file:
        file.write(_BEHIND.format(switch=str(switch)))


@dataclass
class Shown:
    """What one video was answered: index and digest of its frames in order, and the errors between. A frame that failed is sent again."""

    answers: list[tuple[int, str]] = field(default_factory=list)
    errors: list[MaskletError] = field(default_factory=list)


async def play(tracker: AsyncTracker, number: int, strike: Callable[[], object]) -> Shown:
    """Shows a film, as far as the server allows. Every video strikes; the first to come counts."""
    shown, each = Shown(), film(number, FRAMES)
    video = await tracker.open()
    while len(shown.answers) < FRAMES and len(shown.errors) < TRIES:
        if len(shown.answers) == STRIKE:
            strike()
        if not shown.answers:  # a frame that was refused takes its prompt with it
            video.prompt(1, points=[each.click])
        try:
            result = await video.track(each.frames[len(shown.answers)])
            shown.answers.append((result.frame_index, digest(result)))
        except MaskletError as error:
            shown.errors.append(error)
            if not isinstance(error, ServerFault):  # after which it goes on
                break
    return shown


async def play_all(url: str, numbers: Sequence[int], strike: Callable[[], object]) -> list[Shown]:
    tracker = AsyncTracker(url, timeout_s=TIMEOUT_S)
    try:
        return await asyncio.gather(*(play(tracker, number, strike) for number in numbers))
    finally:
        with suppress(MaskletError):  # at the ends of videos whose server is broken
            await tracker.close()


@pytest.mark.parametrize("model", MODELS)
def test_an_answer_of_another_request_is_never_given_as_a_success(serving_python: Path, tmp_path: Path, model: str) -> None:
    drain = {"memory_bank.drain_file": str(tmp_path / "draining")}
    repository, switch = assemble("nano", nano.ENGINES, tmp_path / "repository", settings=drain), tmp_path / "behind"
    plant(repository / model / "1" / "model.py", switch)
    with Server(repository, python=serving_python, grpc_port=0, http_port=0, metrics_port=0, exit_timeout_s=1) as server:
        alone = [asyncio.run(play_all(server.grpc_url, [number], lambda: None))[0] for number in range(VIDEOS)]
        assert all(len(shown.answers) == FRAMES and not shown.errors for shown in alone), "the server was not well to begin with"
        together = asyncio.run(play_all(server.grpc_url, range(VIDEOS), switch.touch))
    wrong = [
        f"video {number}, frame {index} (answered as {one[0]})"
        for number, (shown, expected) in enumerate(zip(together, alone, strict=True))
        for index, one in enumerate(shown.answers)
        if one != expected.answers[index]
    ]
    errors = [error for shown in together for error in shown.errors]
    print(f"{model}: {len(errors)} errors: {sorted({str(error) for error in errors})}")
    assert wrong == []
    assert any(isinstance(error, ServerFault | VideoLost) for error in errors), "it was not even noticed"
