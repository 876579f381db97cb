"""The end of processes, as the kernel tells it, and a bell that a signal handler rings."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from masklet_build.serve import processes as module
from masklet_build.serve.errors import ServeError
from masklet_build.serve.log import last_words
from masklet_build.serve.processes import Bell, Processes


def test_processes_that_end_are_named_those_too_that_had_ended_before() -> None:
    living, killed, early = (subprocess.Popen(["sleep", "600"]) for _ in range(3))
    try:
        early.kill()
        early.wait()
        names = {living.pid: "living", killed.pid: "killed", early.pid: "early"}
        with Processes(names) as processes:
            assert processes.wait() == ["early"]
        del names[early.pid]
        with Processes(names) as processes:
            threading.Timer(0.1, killed.kill).start()
            assert processes.wait(Bell()) == ["killed"]
    finally:
        for one in (living, killed):
            one.kill()
            one.wait()


def test_a_python_that_was_built_without_pidfd_open_watches_them_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """As conda's and uv's: they are built beside the headers of an old Linux."""
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    one = subprocess.Popen(["sleep", "600"])
    try:
        with Processes({one.pid: "one"}) as processes:
            assert processes.wait(timeout_s=0) == []
            assert not any(map(os.get_inheritable, processes._open))
            one.kill()
            assert processes.wait() == ["one"]
    finally:
        one.kill()
        one.wait()


def test_a_kernel_that_does_not_tell_is_said_and_no_descriptor_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PIDFD_OPEN", 9999)
    with pytest.raises(ServeError, match=r"pidfd_open: Function not implemented\. Linux 5\.3"), Processes({os.getpid(): "this one"}):
        pass


def test_a_signal_that_another_thread_gets_rings_a_bell_too() -> None:
    """The kernel may give it to any thread; the handler runs in the main one, which sleeps until something wakes it."""
    bell, before = Bell(), signal.getsignal(signal.SIGALRM)
    handled = []
    signal.signal(signal.SIGALRM, lambda number, frame: handled.append(number))
    try:
        with bell.rung_by_signals():
            threading.Timer(0.2, lambda: signal.pthread_kill(threading.get_ident(), signal.SIGALRM)).start()
            assert bell.wait(10)
        assert handled == [signal.SIGALRM]
        assert signal.set_wakeup_fd(-1) == -1
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_bell_that_a_signal_handler_rings_ends_the_waiting_that_it_interrupted_and_stays_rung() -> None:
    bell, before = Bell(), signal.getsignal(signal.SIGALRM)
    signal.signal(signal.SIGALRM, lambda number, frame: bell.set())
    try:
        assert not bell.wait(0)
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with Processes({os.getpid(): "this one"}) as processes:
            assert processes.wait(bell) == []
        assert bell.wait(60)
        assert bell.wait(0)
    finally:
        signal.signal(signal.SIGALRM, before)


def test_why_a_python_model_ended_itself_is_found_in_the_log(tmp_path: Path) -> None:
    log = tmp_path / "triton.log"
    assert last_words(log, ["memory_bank_0_0"]) == ""
    own = "stopped for 1.2 s while it had work; it ends, since Triton may have given it up"
    others = "memory_bank_0_0 was stopped a short while ago and is out of step with Triton: its process 7 is ended"
    log.write_text(f"masklet preprocess_0_1: {own}\nmasklet memory_bank_0_0: stopped for 0.8 s\nmasklet memory_bank_0_0: {own}\nI1121 and so on\n")
    assert last_words(log, ["memory_bank_0_0"]) == own
    assert last_words(log, ["postprocess_0_0"]) == ""
    log.write_text(f"masklet postprocess_0_0: {others}\n")
    assert last_words(log, ["memory_bank_0_0"]) == others
