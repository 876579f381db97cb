"""The bank's arrays on a device: the same values and the same snapshots as on the host, and nothing crosses that need not."""

from __future__ import annotations

import sys
from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest

from masklet import contract
from masklet_bank.arrays import HOST, DeviceArrays, HostArrays, on_gpu
from tests.fakes import bank_driver
from tests.fakes.bank_driver import VARIANT, Client, HomeService, RecordingStages, click, home, mask, on_host
from tests.fakes.device_module import Module, ndarray

RICH = replace(VARIANT, family=replace(VARIANT.family, exclusive_prompts=True, pointer_time=True, occlusion_embedding=True))


def _values() -> np.ndarray:
    """Float32 [3, 5, 64] of every kind that a memory can have: of all sizes, ties between two bfloat16, subnormal ones, zeros."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal((3, 5, 64)) * 10.0 ** rng.integers(-30, 30, (3, 5, 64))
    values[:, 0, :4] = 1 + 2**-8, -1 - 3 * 2**-8, 1e-40, -0.0
    return values.astype(np.float32)


VALUES = _values()

# Of `made`, VALUES where the arrays live: an outcome that must be the same everywhere.
OPERATIONS = {
    "own": lambda arrays, made: arrays.own(made[1]),
    "stack one": lambda arrays, made: arrays.stack([made]),
    "stack some": lambda arrays, made: arrays.stack([made[2], made[0]]),
    "fill": lambda arrays, made: arrays.fill([made[0], None, made[2]], (5, 64), -1024.0),
    "fill with a dimension more": lambda arrays, made: arrays.fill([made[0]], (1, 5, 64), 0),
    "clip": lambda arrays, made: arrays.clip(made, 32.0),
    "widen": lambda arrays, made: arrays.widen([[arrays.round(made)[row] for row in rows] for rows in ((0, 1), (2, 0))]),
}


@pytest.fixture
def device() -> DeviceArrays:
    return DeviceArrays(Module())


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_gives_the_same_on_the_host_and_on_a_device(device, name):
    host, other = (on_host(OPERATIONS[name](arrays, arrays.put(VALUES))) for arrays in (HOST, device))
    assert host.dtype == other.dtype == np.float32
    assert host.shape == other.shape
    assert np.array_equal(host.view(np.uint32), other.view(np.uint32))


@pytest.mark.parametrize("kind", ["host", "device"])
def test_memories_are_rounded_as_ml_dtypes_rounds_and_each_is_an_array_of_its_own(device, kind):
    arrays = {"host": HOST, "device": device}[kind]
    rows = [row._inside if isinstance(row, ndarray) else row for row in arrays.round(arrays.put(VALUES))]
    assert np.array_equal(np.stack(rows), VALUES.astype(ml_dtypes.bfloat16).view(np.uint16))
    assert sum(row.nbytes for row in rows) == VALUES.nbytes // 2
    assert all(_base(row).nbytes == row.nbytes for row in rows), "a view would keep the memories of every object of the call"


def _base(array: np.ndarray) -> np.ndarray:
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


@pytest.mark.parametrize("kind", ["host", "device"])
def test_a_row_with_a_value_that_is_not_finite_is_found(device, kind):
    arrays = {"host": HOST, "device": device}[kind]
    spoilt = VALUES.copy()
    spoilt[0, 4, 63], spoilt[2, 0, 0] = np.nan, -np.inf
    assert arrays.finite(arrays.put(spoilt)) == [False, True, False]


@pytest.mark.parametrize("kind", ["host", "device"])
def test_a_row_must_be_finite_in_every_tensor_and_their_number_costs_nothing_more_to_copy(device, kind):
    arrays = {"host": HOST, "device": device}[kind]
    tensors = [np.ones(shape, np.float32) for shape in ((4, 2, 3), (4, 5), (4, 2, 2, 2))]
    tensors[0][0, 1, 2], tensors[1][2, 4], tensors[2][3, 0, 0, 0] = np.nan, np.inf, -np.inf
    made = [arrays.put(tensor) for tensor in tensors]
    assert arrays.finite(*made) == [False, True, False, False]
    assert arrays.copied.to_host == (4 if kind == "device" else 0)


def test_a_device_takes_and_gives_what_is_asked_for_and_counts_it(device):
    made = device.put(VALUES)
    assert isinstance(made, ndarray)
    assert device.put(made) is made
    assert np.array_equal(device.get(made[0]), VALUES[0])
    assert device.get(VALUES) is VALUES
    assert (device.copied.to_device, device.copied.to_host) == (VALUES.nbytes, VALUES.nbytes // 3)
    assert np.array_equal(on_host(device.adopt(made)), VALUES)
    assert device.copied.to_device == VALUES.nbytes
    with pytest.raises(TypeError, match="device"):
        device.adopt(VALUES)


@pytest.mark.parametrize("slip", [np.asarray, np.stack, np.isfinite, lambda array: array + VALUES, lambda array: VALUES + array, float])
def test_the_device_of_the_tests_gives_nothing_away_by_itself(device, slip):
    with pytest.raises(TypeError):
        slip(device.put(VALUES))


def test_without_cupy_the_bank_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(ModuleNotFoundError, match="Install cupy-cuda12x or cupy-cuda13x"):
        on_gpu(0)


def whole_life(held: HomeService) -> list[dict[str, np.ndarray]]:
    """Answers of a video in which everything happens: clicks, boxes, masks, corrections, an eviction, a restore in the middle."""
    client, answers = Client(held), []
    sent = [[click(1, (10, 20)), mask(2)], [], [click(3, (1, 1), (9, 9), labels=[2, 3])], *[[]] * 9, [click(1, (3, 4))], [mask(3)], *[[]] * 4]
    for prompts in sent:
        answers.append(client.send(*prompts))
    answers.append(client.send(click(2, (7, 7), append=True), refine=True, number=client.sent - 1))
    state = client.send(control=True, snapshot=True)
    answers.append(state)
    again = Client(held, video="moved", sent=client.sent)
    again.send(control=True, restore=state["SNAPSHOT"])
    answers += [again.send() for _ in range(20)]
    return answers


@pytest.mark.parametrize("variant", [VARIANT, RICH], ids=["plain", "rich"])
def test_a_life_on_a_device_is_that_on_the_host_to_the_last_byte_and_so_is_its_snapshot(variant):
    lives = []
    for make in (HostArrays, lambda: DeviceArrays(Module())):
        with home(make):
            lives.append(whole_life(bank_driver.service(RecordingStages(), variant=variant, max_conditioning=2)))
    for host, other in zip(*lives, strict=True):
        for name in host.keys() - {"ENVELOPE"}:
            assert host[name].dtype == other[name].dtype
            assert np.array_equal(host[name], other[name]), name


def described(objects: int, frames: int, pointers: int) -> int:
    """Bytes that describe the engine calls of a tracked frame: all inputs that are no feature, memory, pointer or mask."""
    sizes = {"V": 1, "B": objects, "F": frames, "P": pointers, "N": 2}
    own = {"EMBEDDING", "MEMORY", "POINTERS", "FEATURES", "MASK_PROMPT", "LOW", "RIVALS"}
    tensors = [
        tensor
        for model in contract.engines(RICH)
        if model.name in ("memory_attention", "mask_decoder", "memory_encoder")
        for tensor in model.inputs
        if tensor.name not in own
    ]
    return sum(tensor.numpy_dtype.itemsize * int(np.prod([sizes.get(dim, dim) for dim in tensor.dims])) for tensor in tensors)


def answered(objects: int) -> int:
    """Bytes of a tracked frame that leave the device: scores and IoUs, are memories finite, logits."""
    return objects * (4 + 4 + 1 + 4 * VARIANT.low_size**2)


@pytest.mark.parametrize("objects", [1, 3])
def test_what_a_frame_copies_is_its_description_and_its_answer_however_much_is_remembered(device, objects):
    with home(lambda: device):
        client = Client(bank_driver.service(RecordingStages(), variant=RICH))
    client.send(*[click(number, (10, 20)) for number in range(objects)])
    for frame in range(1, 40):
        before, crossed = replace(device.copied), (device.module.to_device, device.module.to_host)
        client.send()
        to_device, to_host = device.copied.to_device - before.to_device, device.copied.to_host - before.to_host
        assert to_device == described(objects, min(frame, 7), min(frame, 16))
        assert to_host == answered(objects)
        assert (device.module.to_device, device.module.to_host - to_host) == crossed, "what was counted is what happened"


def test_a_prompt_copies_its_mask_and_no_more(device):
    with home(lambda: device):
        client = Client(bank_driver.service(RecordingStages()))
    client.send()
    before = device.module.to_device
    client.send(mask(1))
    assert device.module.to_device - before == VARIANT.mask_size**2
