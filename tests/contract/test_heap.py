"""The heap of a python model: which blocks are the system's, and that its holes are given back. In a process of its own, as it is there."""

from __future__ import annotations

import subprocess
import sys

import pytest

MALLINFO = """
import ctypes
from masklet import heap

class Info(ctypes.Structure):  # struct mallinfo2 of malloc.h
    _fields_ = [(name, ctypes.c_size_t) for name in "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()]

libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Info
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]

def mapped(size):
    before = libc.mallinfo2().hblks
    libc.malloc(size)
    return libc.mallinfo2().hblks - before

def resident_kb():
    return int(next(line for line in open("/proc/self/status") if line.startswith("RssAnon")).split()[1])
"""


def told(program: str, **variables: str) -> list[int]:
    done = subprocess.run([sys.executable, "-c", MALLINFO + program], env=variables, capture_output=True, text=True, check=True)
    return [int(word) for word in done.stdout.split()]


@pytest.mark.parametrize("size", [1 << 20, 32 << 20])
def test_blocks_from_a_size_on_are_the_systems_whatever_was_inherited(size: int) -> None:
    program = f"print(mapped({size} // 2)); heap.system_blocks({size}); print(mapped({size} // 2), mapped({size} + 4096))"
    assert told(program, MALLOC_MMAP_THRESHOLD_=str(256 << 10)) == [1, 0, 1]


def test_holes_are_given_back() -> None:
    program = """
blocks = [libc.malloc(64 << 10) for _ in range(1024)]
for block in blocks:
    ctypes.memset(block, 1, 64 << 10)
for block in blocks[::2]:  # what lies between keeps glibc from giving them back by itself
    libc.free(block)
before = resident_kb()
heap.give_back()
print(before - resident_kb())
"""
    assert told(program)[0] > 0.8 * 512 * 64
