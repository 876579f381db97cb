"""The heap of a python model's process, as glibc keeps it (`man mallopt`, `man malloc_trim`)."""

from __future__ import annotations

import ctypes

_MMAP_THRESHOLD = -3  # M_MMAP_THRESHOLD of malloc.h
MIB = 1 << 20

_libc = ctypes.CDLL(None)


def system_blocks(size: int) -> None:
    """Blocks of `size` bytes and more are the system's from now on: freed they go back to it, and each costs page faults when used.

    Instead of what the process inherited from Triton, whose own heap sees nothing but requests.
    """
    _libc.mallopt(_MMAP_THRESHOLD, size)


def give_back() -> None:
    """Gives the free pages inside the heap to the system; a millisecond for 300 MiB. Whoever needs them next pays the page faults."""
    _libc.malloc_trim(0)
