"""The soak with real servers, clients and a gateway: a short run in which every kind of fault strikes, and runs with a defect that it must find.

Defects are planted in the servers' own models: some more lines at the end of a file.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from benchmarks import ROOT
from benchmarks.soak.__main__ import main
from benchmarks.soak.faults import KINDS
from benchmarks.soak.figures import Bars, breaches, lives, videos
from benchmarks.soak.run import Outcome, Plan, run
from benchmarks.soak.servers import Fleet
from masklet_build import nano
from tests.deploy.tools import tool

pytestmark = [
    pytest.mark.server,
    pytest.mark.engines,
    pytest.mark.programs,
    pytest.mark.slow,  # what becomes of each fault alone is in tests/serving and tests/deploy, what is made of a record in test_soak.py
]

BRIEF = Plan(minutes=0.7, seed=5, videos=6, fps=4, resilient=0.5, scripts=4, steps=24)

FORGETS = """

from masklet_bank.bank import ObjectBank

_read, _Right = ObjectBank.read, TritonPythonModel


class TritonPythonModel(_Right):
    several = False

    def execute(self, requests):
        TritonPythonModel.several = len(self._service.videos) > 1
        return super().execute(requests)


def _forgetful(bank, reads):
    reading = _read(bank, reads)
    if TritonPythonModel.several:
        reading.memories[:] = reading.memories[:1] * len(reading.memories)
    return reading


ObjectBank.read = _forgetful
"""

TAKES_NO_SNAPSHOT = """

from masklet.errors import BadState
from masklet_bank import snapshot


def _refused(*given):
    raise BadState("planted. Take another.")


snapshot.parse = _refused
"""

LEAKS = """

_Right = TritonPythonModel


class TritonPythonModel(_Right):
    kept = []

    def execute(self, requests):
        self.kept.extend(bytearray(b"x") * 500_000 for request in requests)
        return super().execute(requests)
"""


def planted(model: str, lines: str) -> Callable[[Path], None]:
    def damage(repository: Path) -> None:
        with (repository / model / "1" / "model.py").open("a") as file:
            file.write(lines)

    return damage


def soaked(folder: Path, python: Path, damage: Callable[[Path], object]) -> Outcome:
    """A run without faults."""
    fleet = Fleet("nano", nano.ENGINES, python, "haproxy", tool("haproxy"), damage)
    return run(BRIEF, [], fleet, folder, threading.Event(), print)


def test_a_bank_that_forgets_when_it_has_several_videos_is_found(serving_python: Path, tmp_path: Path) -> None:
    outcome = soaked(tmp_path, serving_python, planted("memory_bank", FORGETS))
    assert outcome.record.wrong_count > 0
    assert any(breach.startswith("a wrong answer: ") for breach in breaches(outcome, Bars()))


def test_a_resilient_video_that_cannot_be_restored_is_found(serving_python: Path, tmp_path: Path) -> None:
    outcome = soaked(tmp_path, serving_python, planted("memory_bank", TAKES_NO_SNAPSHOT))
    assert outcome.record.wrong_count == 0
    assert videos(outcome.record, resilient=True)["frames_lost"] > 0
    found = [breach for breach in breaches(outcome, Bars()) if breach.startswith("a resilient video was lost: ")]
    assert found
    assert "BadState: planted" in found[0]


def test_a_model_that_keeps_something_of_every_request_is_found(serving_python: Path, tmp_path: Path) -> None:
    outcome, bars = soaked(tmp_path, serving_python, planted("postprocess", LEAKS)), Bars(least_s=20)
    assert outcome.record.wrong_count == 0
    assert any("lasting, process" in breach and " grew by " in breach for breach in breaches(outcome, bars))
    found = {life: each["growth"] for life, each in lives(outcome.record.looks, bars).items() if not life.startswith("client")}
    assert len(found) == 2
    for growth in found.values():
        assert sum(size for name, size in growth.items() if name.startswith("postprocess")) > bars.growth, growth


def test_every_kind_of_fault_strikes_and_no_mask_is_wrong_and_no_frame_of_a_resilient_video_lost(tmp_path: Path) -> None:
    tool("haproxy")
    done = main(["--minutes", "2.2", "--seed", "1", "--pause", "3", "--out", str(tmp_path)])
    found = json.loads((tmp_path / "soak.json").read_text())
    assert found["breaches"] == []
    assert done == 0
    assert {one["kind"] for one in found["struck"]} == set(KINDS)
    assert all("could not be done" not in one["said"] for one in found["struck"])
    assert found["answers"] > 0
    assert found["wrong"] == 0
    assert found["resilient"]["frames_lost"] == 0
    assert sum(found["resilient"]["interruptions"].values()) > 0
    assert found["plain"]["answered"] > 0
    assert found["faults"]["server killed"]["server_s"]["count"] > 0
    assert [life for life in found["memory"] if life.startswith("lasting, process")]


def processes_of(folder: Path) -> list[str]:
    """Command lines of the processes that have a folder in their environment or arguments."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):  # it ended while we looked
                words = (entry / "cmdline").read_bytes()
                if str(folder).encode() in words + (entry / "environ").read_bytes():
                    found.append(words.replace(b"\0", b" ").decode(errors="replace"))
    return found


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder with a short name: that of HAProxy's socket may have 97 characters."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def test_an_interrupt_ends_it_in_order_with_the_report_and_leaves_no_process(tmp_path: Path, scratch: Path) -> None:
    tool("haproxy")
    words = [sys.executable, "-m", "benchmarks.soak", "--minutes", "5", "--faults", "none", "--seed", "3", "--out", str(tmp_path)]
    running = subprocess.Popen(
        words, cwd=ROOT, env=os.environ | {"TMPDIR": str(scratch)}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert running.stderr is not None
    said = ""
    while "videos live" not in said[-300:] and (line := running.stderr.readline()):
        said += line
    assert len(processes_of(scratch)) > 10, f"servers with their models, the gateway, clients; it said:\n{said}"
    running.send_signal(signal.SIGINT)
    running.communicate()
    assert running.returncode == 0
    found = json.loads((tmp_path / "soak.json").read_text())
    assert found["breaches"] == []
    assert found["resilient"]["ended"].get("stopped", 0) > 0
    assert 0 < found["seconds"] < 300
    assert processes_of(scratch) == []
    assert [*scratch.iterdir()] == []
