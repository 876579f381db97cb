"""What `masklet-build serve` and the server image start Triton with alike: closed endpoints, pings, memory, and the file by which a server drains.

Standard library only: in the image this file lies beside entrypoint.py and runs in the python of Triton's image.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path

MIB = 1 << 20
SHARED_MEMORY = Path("/dev/shm")
# First size and growth step of each stub's region; taken at once, so nine stubs begin with 144 MiB. From 4 to 128 MiB a frame of nano takes the same
# time: medians of 44 to 47 ms at 256x256 JPEG, 60 to 63 ms at 1280x720 raw; equal sizes were 1 to 2 ms apart.
STUB_SHARED_MEMORY = 16 * MIB
SMALLER_STUBS = (8 * MIB, 4 * MIB)  # where /dev/shm is small; Triton takes no less than 4 MiB
KEEPALIVE_MS = 30_000  # the server pings idle connections this often, so that dead clients are noticed; Triton's default is two hours
CLIENT_PING_MS = 10_000  # clients and gateways may ping this often; Triton's default of 5 minutes cuts off those that ping every 30 s
# How glibc allocates in Triton. By itself it takes, once a message of 12 MB has been freed, everything up to that size from heaps of which it hands
# back only the ends: requests of ever new sizes left 270 MB of holes. So blocks of 256 KiB and more are the system's own and go back to it at once
# (that costs a frame 0.5 microseconds for every 4 KiB of them); there are two heaps, not eight for each core, and 4 MiB of the end of each are kept.
# The python models inherit it, and choose another size of blocks (masklet/heap.py).
MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(MIB // 4), "MALLOC_TRIM_THRESHOLD_": str(4 * MIB), "MALLOC_ARENA_MAX": "2"}
# Nobody but an administrator: they read the server's memory or files, change models, or write logs. Frames come by gRPC, so over HTTP inference
# is closed too, and what stays open there is health and metadata: HTTP has no TLS in Triton.
RESTRICTED_GRPC = ("model-repository", "shared-memory", "trace", "logging")
RESTRICTED_HTTP = (*RESTRICTED_GRPC, "inference", "model-config", "statistics")
KEY_VARIABLE = "MASKLET_ADMIN_KEY"
DRAIN_VARIABLE = "MASKLET_DRAIN_FILE"  # memory_bank reads it


def options(models: str, exit_timeout_s: int, prefix: str, stub_bytes: int, key: str) -> list[str]:
    """Triton's options.

    models      model repository
    prefix      begins the name of every shared memory region of this server
    stub_bytes  first size and growth step of each python model's region
    key         opens the restricted endpoints to who sends it
    """
    return [
        f"--model-repository={models}",
        "--model-control-mode=none",  # all models at start, and no client can unload one
        "--disable-auto-complete-config",  # else each python model starts twice
        "--strict-readiness=true",  # ready only when every model is
        f"--exit-timeout-secs={exit_timeout_s}",
        f"--grpc-keepalive-time={KEEPALIVE_MS}",
        "--grpc-keepalive-permit-without-calls=true",
        f"--grpc-http2-min-recv-ping-interval-without-data={CLIENT_PING_MS}",
        f"--backend-config=python,shm-region-prefix-name={prefix}",
        f"--backend-config=python,shm-default-byte-size={stub_bytes}",
        f"--backend-config=python,shm-growth-byte-size={stub_bytes}",
        f"--grpc-restricted-protocol={','.join(RESTRICTED_GRPC)}:admin-key={key}",
        f"--http-restricted-api={','.join(RESTRICTED_HTTP)}:admin-key={key}",
    ]


def admin_key(settings: Mapping[str, str]) -> str:
    """The key to the restricted endpoints: the one of the environment, else a random one that nobody knows."""
    return settings.get(KEY_VARIABLE) or secrets.token_hex(16)


def python_instances(repository: Path) -> int:
    """How many python models a repository starts, every instance counted; each has a region of shared memory."""
    texts = [path.read_text(errors="replace") for path in repository.glob("*/config.pbtxt")]
    return sum(sum(map(int, re.findall(r"\bcount\s*:\s*(\d+)", text))) or 1 for text in texts if re.search(r'\bbackend\s*:\s*"python"', text))


def stub_bytes(free: int, instances: int) -> int:
    """How much each python model begins with where so many bytes of shared memory are free: half of it is left for large requests, if that can be."""
    fitting = (size for size in (STUB_SHARED_MEMORY, *SMALLER_STUBS) if 2 * instances * size <= free)
    return next(fitting, SMALLER_STUBS[-1])


def free_shared_memory(folder: Path = SHARED_MEMORY) -> int:
    """Bytes."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def default_drain_file(port: int) -> Path:
    """The drain file of this user's server at a gRPC port, where nobody names another."""
    return Path(f"/tmp/masklet-draining-{os.geteuid()}-{port}")


def forget_drain(file: Path) -> str:
    """Removes the file that told an earlier server to drain. Returns what there is to say; "" where there was none."""
    try:
        owner = file.lstat().st_uid
    except OSError:
        return ""
    try:
        file.unlink()
    except OSError as error:
        effect = (
            "While it is there, this server takes no new videos."
            if owner in (0, os.geteuid())
            else "This server takes no notice of it, but `masklet drain` cannot make its own there."
        )
        return (
            f"{file} cannot be removed: {error.strerror}. It is the file by which a server is told to drain, and belongs to user {owner}. {effect} "
            f"Have it removed, or name another: {DRAIN_VARIABLE} in the environment, or masklet-build assemble --set memory_bank.drain_file=FILE."
        )
    return f"removed {file}, by which an earlier server was drained"
