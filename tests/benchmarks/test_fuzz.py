"""The program of hostile requests: it refuses other people's servers, repeats itself for a seed, counts errors by code, and runs."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from benchmarks.fuzz.__main__ import arguments, main
from benchmarks.fuzz.attackers import shots
from benchmarks.fuzz.messages import Content, tensor
from benchmarks.fuzz.registry import KINDS, World, chosen
from benchmarks.fuzz.tally import FOREIGN, code

MODELS = {
    "preprocess": {"FRAME": ("UINT8", (-1, -1, -1, -1)), "PROMPTS": ("BYTES", (-1, 1))},
    "image_encoder": {"IMAGE": ("UINT8", (-1, 64, 64, 3)), "ENVELOPE": ("UINT8", (-1, -1))},
    "memory_bank": {"EMBEDDING": ("FP32", (-1, 8, 4, 4)), "ENVELOPE": ("UINT8", (-1, -1)), "PROMPT_MASKS": ("UINT8", (-1, -1, 64, 64))},
    "postprocess": {"LOW": ("FP32", (-1, -1, 16, 16)), "FRAME_SIZE": ("INT32", (-1, 2))},
}
SNAPSHOT = b"MASKLET\x01" + (26).to_bytes(8, "little") + b'{"arrays":[],"objects":[]}'


@pytest.mark.parametrize("url", ["example.com:8001", "10.0.0.1:8001", "127.0.0.1.example.com:8001", "0.0.0.0:8001", "8001", "127.0.0.1:grpc"])
def test_it_attacks_this_machine_only(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        arguments().parse_args(["--url", url])
    assert "attack on somebody else's server" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["127.0.0.1:8001", "127.9.9.9:8001", "localhost:8001", "[::1]:8001"])
def test_addresses_of_this_machine_are_taken(url: str) -> None:
    assert arguments().parse_args(["--url", url]).url == url


def sent(seed: int, count: int) -> list[bytes]:
    world = World(honest=[5, 6], snapshot=SNAPSHOT, models=MODELS)
    messages = shots(random.Random(seed), chosen([]), world)
    return [b"" if message is None else message.SerializeToString(deterministic=True) for _, message in (next(messages) for _ in range(count))]


def test_a_seed_says_what_is_sent() -> None:
    assert sent(1, 500) == sent(1, 500)
    assert sent(1, 500) != sent(2, 500)


def test_every_kind_makes_requests() -> None:
    world, rng = World(honest=[5, 6], snapshot=SNAPSHOT, models=MODELS), random.Random(3)
    for kind in KINDS.values():
        for _ in range(10):
            if kind.form == "script":
                assert all(message.inputs or message.parameters for message in kind.make(rng, world)), kind.name
            elif kind.form == "content":
                assert isinstance(kind.make(rng, world), Content), kind.name


def test_no_end_is_sent_under_an_honest_id_unless_asked_for() -> None:
    def ends(dangerous: bool) -> int:
        world = World(honest=[5, 6], snapshot=SNAPSHOT, models=MODELS, dangerous=dangerous)
        kinds = chosen(["sequences", "inner", "walks"])
        messages = (message for _, message in (next(made) for made in [shots(random.Random(4), kinds, world)] * 3000))
        return sum(message.parameters["sequence_end"].bool_param for message in messages if message.parameters["sequence_id"].int64_param in (5, 6))

    assert ends(False) == 0
    assert ends(True) > 0


def test_an_unknown_kind_is_named() -> None:
    with pytest.raises(ValueError, match=r"no kind 'frame'.*frames"):
        chosen(["frame"])
    assert {kind.family for kind in chosen(["frames"])} == {"frames"}


def test_errors_are_counted_by_code() -> None:
    assert code("in ensemble 'tracker', MASKLET_BAD_FRAME: no JPEG. Send one.") == "BAD_FRAME"
    words = "[request id: 1f] in ensemble 'tracker', inference request for sequence 77 to model 'preprocess' must specify the START flag"
    assert code(words) == FOREIGN + "inference request for sequence # to model '...' must specify the START flag"


def test_a_tensor_of_bytes_holds_its_length() -> None:
    assert tensor(b"abc").data == b"\x03\x00\x00\x00abc"


@pytest.mark.server
@pytest.mark.engines
@pytest.mark.slow  # each kind of bad request has tests of its own in tests/serving
def test_a_server_withstands_hundreds_of_hostile_requests(serving_python: Path, tmp_path: Path) -> None:
    words = ["--requests", "400", "--warm-up", "600", "--minutes", "8", "--seed", "1", "--out", str(tmp_path)]
    done = main(words, serving_python)
    found = json.loads((tmp_path / "fuzz.json").read_text())
    memory = [fault for fault in found["faults"] if fault.startswith("memory grew")]  # allocators settle in thousands of requests, not in hundreds
    assert [fault for fault in found["faults"] if fault not in memory] == []
    assert done == bool(memory)
    assert set(found["kinds"]) >= set(KINDS)
    assert found["honest"]["compared"] > 0
    assert found["twins"]["refused"] > 0
