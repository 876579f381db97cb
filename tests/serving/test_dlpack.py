"""Tensors that pass between the bank and its engines by DLPack, through Triton's own stubs: what a client gets is the same.

There is no GPU here. The bank's arrays are those of a device without one (fakes/device_module.py), which says that it is the CPU: Triton's code for
DLPack runs, its CUDA code does not.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import tests.fakes
from masklet import AsyncTracker, TrackedFrame
from masklet_build.repository.assemble import assemble
from masklet_build.serve import Server
from tests.fakes import device_module, dlpack
from tests.serving.agreement import equal
from tests.serving.films import Film, Outcome, make_film, play
from tests.serving.scraping import eventually
from tests.serving.small import VARIANT

pytestmark = [pytest.mark.server, pytest.mark.torch]

ROOT = Path(__file__).resolve().parents[2]
COPIED = 'bank_copied_bytes_total{direction="to_host"}'

# The bank's HOST becomes a device, whose arrays are no numpy arrays.
ARRAYS = """

from tests.fakes import device_module

device_module.ndarray.DEVICE = (1, 0)  # the CPU, for DLPack
HOST = DeviceArrays(device_module.Module())
"""

# Every large tensor is taken as one that lies on a GPU.
MODEL = """

_where_it_lies = array_of


def array_of(tensor, arrays):
    large = tensor.name() in {"EMBEDDING", "MASK_PROMPT", "CONDITIONED", "LOW", "POINTER", "MEMORY", "SCORE"}
    return arrays.adopt(tensor) if large else _where_it_lies(tensor, arrays)
"""


@pytest.fixture(scope="module")
def on_a_device(small_engines: Path, serving_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    repository = assemble(VARIANT, small_engines, tmp_path_factory.mktemp("dlpack") / "repository", target="separate")
    version = repository / "memory_bank" / "1"
    (version / "tests" / "fakes").mkdir(parents=True)
    for module in (tests, tests.fakes, device_module, dlpack):
        shutil.copy(module.__file__, version / Path(module.__file__).relative_to(ROOT))
    for name, more in (("masklet_bank/arrays.py", ARRAYS), ("masklet_triton/engines.py", MODEL)):
        with (version / name).open("a") as file:
            file.write(more)
    with Server(repository, python=serving_python, grpc_port=0, http_port=0, metrics_port=0, exit_timeout_s=1) as server:
        yield server


async def play_all(url: str, films: list[Film]) -> list[Outcome]:
    async with AsyncTracker(url, timeout_s=60) as tracker:
        return [outcome for film in films for outcome in await play(tracker, film)]


def test_masks_are_those_of_host_arrays_to_the_last_bit(small_server: Server, on_a_device: Server) -> None:
    films = [make_film(seed=4, number=number) for number in range(6)]
    expected, outcomes = (asyncio.run(play_all(server.grpc_url, films)) for server in (small_server, on_a_device))
    pairs = list(zip(expected, outcomes, strict=True))
    assert [type(one) for one, _ in pairs] == [type(other) for _, other in pairs]
    frames = [(one, other) for one, other in pairs if isinstance(one, TrackedFrame) and isinstance(other, TrackedFrame)]
    assert all(equal(one, other) for one, other in frames)
    assert sum(len(one.object_ids) > 0 for one, _ in frames) > 10
    copied = eventually(on_a_device, lambda numbers: numbers[COPIED] > 0)[COPIED]
    assert copied > sum(one.logits.nbytes for one, _ in frames), "else the bank was not on its device"
