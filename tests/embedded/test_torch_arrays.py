"""The bank's arrays as PyTorch tensors do, to the bit, what its numpy arrays do; and what crosses between host and device is counted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from masklet_bank.arrays import HOST, Copied  # noqa: E402
from masklet_build.embedded.torch_arrays import TorchArrays  # noqa: E402
from tests.fakes.bank_driver import VARIANT, Client, RecordingStages, click, home, mask, service  # noqa: E402
from tests.memory_bank.test_arrays import RICH, answered, described, whole_life  # noqa: E402

pytestmark = pytest.mark.torch


@pytest.fixture
def arrays() -> TorchArrays:
    return TorchArrays(torch.device("cpu"), Copied())


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(3)


def test_rounding_gives_the_same_bits_for_every_upper_half_and_ties(arrays: TorchArrays) -> None:
    upper = np.arange(1 << 16, dtype=np.uint32)
    upper = upper[(upper & 0x7F80) != 0x7F80]  # neither infinite nor NaN
    lower = np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32)
    values = ((upper[:, None] << 16) | lower).view(np.float32).reshape(6, -1, 64)
    for mine, host in zip(arrays.round(arrays.put(values)), HOST.round(values), strict=True):
        np.testing.assert_array_equal(arrays.get(mine), host)
        assert arrays.get(mine).dtype == np.uint16


def test_widening_gives_the_same_values(arrays: TorchArrays, random: np.random.Generator) -> None:
    stored = [[random.integers(0, 0x7F80, (5, 64)).astype(np.uint16) for _ in range(3)] for _ in range(2)]
    mine = arrays.widen([[arrays.put(memory) for memory in of_object] for of_object in stored])
    np.testing.assert_array_equal(mine.numpy(), HOST.widen(stored))
    assert mine.dtype == torch.float32


def test_the_other_operations_give_the_same_values(arrays: TorchArrays, random: np.random.Generator) -> None:
    parts = [random.standard_normal((2, 3)).astype(np.float32) * 40 for _ in range(3)]
    mine = [arrays.put(part) for part in parts]
    for count in (1, 3):
        np.testing.assert_array_equal(arrays.stack(mine[:count]).numpy(), HOST.stack(parts[:count]))
    np.testing.assert_array_equal(arrays.clip(mine[0], 32).numpy(), HOST.clip(parts[0], 32))
    np.testing.assert_array_equal(arrays.fill([None, mine[1]], (2, 3), -1024).numpy(), HOST.fill([None, parts[1]], (2, 3), -1024))
    memory = random.standard_normal((3, 4, 64)).astype(np.float32)
    memory[1, 3, 5], memory[2, 0, 0] = np.nan, np.inf
    assert arrays.finite(arrays.put(memory)) == HOST.finite(memory) == [True, False, False]
    pointers = np.array([[1, np.nan], [1, 1], [1, 1]], np.float32)
    assert arrays.finite(arrays.put(memory), arrays.put(pointers)) == HOST.finite(memory, pointers) == [False, False, False]
    np.testing.assert_array_equal(arrays.adopt(mine[2]).numpy(), parts[2])


def test_what_is_kept_holds_no_more_than_itself(arrays: TorchArrays) -> None:
    """A view would keep the memories of all objects of a call alive."""
    call = arrays.put(np.ones((4, 5, 64), np.float32))
    for kept in (*arrays.round(call), arrays.own(call[2])):
        assert kept.untyped_storage().nbytes() == kept.nbytes
        assert kept.untyped_storage().data_ptr() != call.untyped_storage().data_ptr()


def test_a_tensor_that_was_put_does_not_change_with_the_array(arrays: TorchArrays) -> None:
    array = np.ones(3, np.float32)
    tensor = arrays.put(array)
    array[:] = 7
    assert tensor.tolist() == [1, 1, 1]


def test_only_what_crosses_is_counted(arrays: TorchArrays) -> None:
    tensor = arrays.put(np.zeros((2, 5, 64), np.float32))
    assert (arrays.copied.to_device, arrays.copied.to_host) == (2560, 0)
    arrays.put(tensor)
    stored = arrays.round(tensor)
    arrays.widen([stored])
    arrays.stack([arrays.own(tensor), arrays.clip(tensor, 1)])
    arrays.fill([tensor, None], (2, 5, 64), 0)
    assert (arrays.copied.to_device, arrays.copied.to_host) == (2560, 0)
    arrays.get(stored[0])
    assert arrays.copied.to_host == 640  # two bytes a value
    arrays.finite(tensor, arrays.put(np.zeros((2, 3), np.float32)))
    assert arrays.copied.to_host == 642
    sent = arrays.send({"MEMORY": tensor, "SLOT": np.zeros((2, 7), np.int32)})
    assert sent["MEMORY"] is tensor
    assert arrays.copied.to_device == 2560 + 24 + 56


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors that give nothing away by themselves, as if a GPU had to be waited for."""

    def refuse(*arguments: object) -> None:
        raise TypeError("a value was read off the device behind the bank's back")

    for name in ("__array__", "__float__", "__int__", "__bool__", "__index__", "item", "tolist"):
        monkeypatch.setattr(torch.Tensor, name, refuse)


@pytest.mark.parametrize("variant", [VARIANT, RICH], ids=["plain", "rich"])
@pytest.mark.usefixtures("strict")
def test_a_life_on_tensors_is_that_on_the_host_to_the_last_byte_and_so_is_its_snapshot(arrays: TorchArrays, variant) -> None:
    host = whole_life(service(RecordingStages(), variant=variant, max_conditioning=2))
    with home(lambda: arrays):
        tensors = whole_life(service(RecordingStages(), variant=variant, max_conditioning=2))
    for one, other in zip(host, tensors, strict=True):
        for name in one.keys() - {"ENVELOPE"}:
            assert one[name].dtype == other[name].dtype
            np.testing.assert_array_equal(one[name], other[name], name)


@pytest.mark.parametrize("objects", [1, 3])
@pytest.mark.usefixtures("strict")
def test_what_a_frame_copies_is_its_description_and_its_answer_however_much_is_remembered(arrays: TorchArrays, objects: int) -> None:
    with home(lambda: arrays):
        client = Client(service(RecordingStages(), variant=RICH))
    client.send(*[click(number, (10, 20)) for number in range(objects)])
    for frame in range(1, 24):
        before = replace(arrays.copied)
        client.send()
        assert arrays.copied.to_device - before.to_device == described(objects, min(frame, 7), min(frame, 16))
        assert arrays.copied.to_host - before.to_host == answered(objects)


@pytest.mark.usefixtures("strict")
def test_a_mask_prompt_crosses_once(arrays: TorchArrays) -> None:
    with home(lambda: arrays):
        client = Client(service(RecordingStages()))
    client.send()
    before = replace(arrays.copied)
    client.send(mask(1))
    assert 0 <= arrays.copied.to_device - before.to_device - VARIANT.mask_size**2 < 200  # and the description of the calls
