"""The watch of a python model, with real processes that are really stopped: which answers never leave, which processes end, and which must not.

A process is stopped for 1.2 s, more than the second after which Triton gives it up. Nothing else here depends on how long anything takes.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from masklet.envelope import MAX_BYTES
from masklet.errors import BadRequest
from masklet.stage import STOPPED_S, Stage

STOP_S = 1.2
STOPS, MISMATCHES = "masklet_stops_total", "masklet_mismatches_total"
CHILD = Path(__file__).parents[1] / "fakes" / "stage_child.py"


class Process:
    """A child of this process with a Stage, and what it said on stderr."""

    def __init__(self, log: Path, *arguments: str) -> None:
        self._log = log
        with log.open("w") as errors:
            self.process = subprocess.Popen([sys.executable, CHILD, *arguments], stdin=-1, stdout=-1, stderr=errors, text=True)
        self.ask("idle")

    def tell(self, *line: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(line[0] if len(line) == 1 else line) + "\n")
        self.process.stdin.flush()

    def hear(self) -> Any:
        """The next answer; None where the process ended without one."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return json.loads(line) if line else None

    def ask(self, name: str, **given: Any) -> Any:
        self.tell(name, given)
        return self.hear()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)

    def go_on(self) -> None:
        time.sleep(STOP_S)
        self.process.send_signal(signal.SIGCONT)

    def pause(self) -> None:
        """Stopped for long while idle, and on again; seen by itself."""
        self.stop()
        self.go_on()
        while STOPS not in self.ask("idle"):
            time.sleep(0.01)

    def ended(self) -> int:
        """Waits for the end of the process; its code."""
        return self.process.wait(timeout=60)

    @property
    def lives(self) -> bool:
        return self.ask("idle") is not None

    def said(self) -> list[str]:
        return [line for line in self._log.read_text().splitlines() if line.startswith("masklet child: ")]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Starts processes, which end with the test."""
    begun: list[Process] = []

    def start(*arguments: str) -> Process:
        begun.append(Process(tmp_path / f"{len(begun)}.log", *arguments))
        return begun[-1]

    yield start
    for one in begun:
        one.process.kill()
        one.process.communicate()


@pytest.fixture
def child(start: Callable[..., Process]) -> Process:
    return start()


WATCHED = pytest.mark.parametrize("how", [(), ("unwatched",)], ids=["watched", "faster than the watch"])


@WATCHED
def test_a_process_that_is_stopped_at_work_ends_before_its_answer_leaves(start: Callable[..., Process], how: tuple[str, ...]) -> None:
    child = start(*how)
    child.tell("wait", {})
    assert child.hear() == "begun"
    child.stop()
    child.tell("the answer")  # its work is done at once when it goes on
    child.go_on()
    assert child.hear() is None
    assert child.ended() == 1
    assert "while it had work" in child.said()[-1]


def test_a_stop_at_work_is_counted_before_the_process_ends(child: Process) -> None:
    child.tell("wait", {})
    child.hear()
    child.stop()
    child.go_on()  # and has still work
    assert child.hear() is None
    assert child.ended() == 1
    assert f"counted {STOPS}" in child._log.read_text()


def test_work_without_a_stop_is_answered(child: Process) -> None:
    """However long it takes and waits."""
    child.tell("wait", {})
    child.hear()
    time.sleep(2 * STOP_S)
    child.tell("the answer")
    assert child.hear() == "the answer"
    assert (child.lives, child.said(), child.ask("idle")) == (True, [], [])


def test_a_process_that_is_stopped_while_idle_lives_on_counts_it_and_says_so_to_the_next_stage(child: Process) -> None:
    def stopped() -> bool:
        return json.loads(child.ask("send", token="a", video=1).partition(" ")[2])[1]["stopped"]

    assert not stopped()
    child.pause()
    assert stopped()
    assert child.ask("idle") == [STOPS]
    (line,) = child.said()
    assert "stopped for" in line
    assert "work" not in line


@WATCHED
def test_a_stop_is_seen_before_the_next_envelope_is_signed(start: Callable[..., Process], how: tuple[str, ...]) -> None:
    """The request is there when the process goes on, and its work may begin before the watch looks."""
    child = start(*how)
    child.stop()
    child.tell("send", {"token": "a", "video": 1})
    child.go_on()
    assert json.loads(child.hear().partition(" ")[2])[1]["stopped"]
    assert child.lives


def test_requests_that_are_sent_after_a_pause_are_taken(start: Callable[..., Process]) -> None:
    sender, receiver = start(), start()
    receiver.pause()
    for video, waits in ((1, 0), ("one", STOP_S)):  # a long queue is no stop
        data = sender.ask("send", token="a", video=video)
        time.sleep(waits)
        assert receiver.ask("receive", data=data, token="a", video=video) == "a"
    assert receiver.lives


def test_a_request_that_was_on_its_way_when_the_process_stood_still_ends_it(start: Callable[..., Process]) -> None:
    """Triton may have given up on it and have gone on to the next: this answer would be taken for that one's."""
    sender, receiver = start(), start()
    data = sender.ask("send", token="a", video=1)
    receiver.pause()
    assert receiver.ask("receive", data=data, token="a", video=1) is None
    assert receiver.ended() == 1
    assert "had been on its way" in receiver.said()[-1]
    assert sender.lives


def test_native_work_that_holds_the_interpreter_is_no_stop(start: Callable[..., Process]) -> None:
    """Nobody can look at a clock meanwhile, but the thread uses its CPU. On a machine with more work than CPUs it may wait for one for long, too."""
    child = start("stays")
    child.ask("prepare_to_hold")
    for _ in range(8):
        time.sleep(STOP_S)  # what was seen is said and counted by now
        before = child.ask("idle"), child.said()
        used, waited = child.ask("hold")
        assert used > 1
        if waited < STOPPED_S / 2:
            assert (child.ask("idle"), child.said()) == before
            return
    pytest.skip("this machine has more work than CPUs")


def test_the_envelope_of_another_request_is_a_fault_of_the_server_and_ends_nobody(start: Callable[..., Process]) -> None:
    sender, receiver = start(), start()
    data = sender.ask("send", token="a", video=1)
    for token, video in (("b", 1), ("", 1), ("a", 2), ("a", "1")):
        assert receiver.ask("receive", data=data, token=token, video=video) == "SERVER_FAULT"
    assert receiver.ask("receive", data=data, token="a", video=1) == "a"
    assert receiver.ask("idle") == [MISMATCHES] * 4
    assert "request 'b' of 1 came with what child made of request 'a' of 1" in receiver.said()[0]
    assert sender.lives
    assert receiver.lives


def test_what_nobody_signed_is_refused_and_is_no_mismatch(child: Process) -> None:
    data = child.ask("send", token="a", video=1)
    for forged in ("", "x", data.replace('"a"', '"b"'), data[1:], data.replace('"stopped":false', '"stopped":true')):
        assert child.ask("receive", data=forged, token="b", video=1) == "BAD_REQUEST"
    assert (child.ask("idle"), child.said()) == ([], [])


@pytest.mark.parametrize("shape", [(0,), (MAX_BYTES,), (MAX_BYTES + 1,), (1, 300), ()], ids=str)
def test_what_cannot_be_an_envelope_is_refused(shape: tuple[int, ...]) -> None:
    stage = Stage("child", lambda counter: None)
    with pytest.raises(BadRequest, match="to the model `tracker`"):
        stage.receive(np.zeros(shape, np.uint8), "a", 1)
    stage.close()


def test_a_process_that_was_stopped_and_is_out_of_step_is_ended_by_the_next_stage(start: Callable[..., Process]) -> None:
    sender, receiver = start(), start()
    sender.stop()
    sender.tell("send", {"token": "late", "video": 1})
    sender.go_on()
    assert receiver.ask("receive", data=sender.hear(), token="next", video=2) == "SERVER_FAULT"
    assert sender.ended() == -signal.SIGKILL
    assert f"its process {sender.process.pid} is ended" in receiver.said()[-1]
    assert receiver.lives
    assert receiver.ask("idle") == [MISMATCHES]


def test_a_process_that_was_stopped_and_is_in_step_goes_on(start: Callable[..., Process]) -> None:
    sender, receiver = start(), start()
    sender.stop()
    sender.tell("send", {"token": "a", "video": 1})
    sender.go_on()
    assert receiver.ask("receive", data=sender.hear(), token="a", video=1) == "a"
    assert sender.lives


def test_no_process_is_ended_but_one_of_the_same_server(start: Callable[..., Process]) -> None:
    """A number in an envelope may have become that of another program since."""
    sibling, receiver = start(), start()
    shell = subprocess.Popen(["sh", "-c", "sleep 600 & echo $!; wait"], stdout=subprocess.PIPE, text=True)
    assert shell.stdout is not None
    stranger = int(shell.stdout.readline())
    try:
        for pid, stopped in ((stranger, True), (sibling.process.pid, False), (os.getpid(), True), (1, True), (2**22, True)):
            data = sibling.ask("forge", token="a", video=1, pid=pid, stopped=stopped)
            assert receiver.ask("receive", data=data, token="b", video=1) == "SERVER_FAULT"
        os.kill(stranger, 0)
        assert shell.poll() is None
        assert sibling.lives
        data = sibling.ask("forge", token="a", video=1, pid=sibling.process.pid, stopped=True)
        receiver.ask("receive", data=data, token="b", video=1)
        assert sibling.ended() == -signal.SIGKILL
    finally:
        os.kill(stranger, signal.SIGTERM)
        shell.communicate()


def test_mismatches_write_a_line_a_second_at_most(start: Callable[..., Process]) -> None:
    """Whoever calls an inner model by its name can make as many as they like."""
    sender, receiver = start(), start()
    data = sender.ask("send", token="a", video=1)
    for _ in range(2):
        began, before = time.monotonic(), len(receiver.said())
        assert receiver.ask("receive", data=data, token="b", video=1, times=50) == "SERVER_FAULT"
        assert 1 <= len(receiver.said()) - before <= 1 + int(time.monotonic() - began)
        time.sleep(STOP_S)
    assert receiver.ask("idle") == [MISMATCHES] * 100
