#!/usr/bin/env python3
"""Starts Triton in the server image: clears what an earlier run left, turns a few variables into Triton's options, and becomes tritonserver.

What follows the image's name in `docker run`, or `args` in Kubernetes, is passed on to tritonserver, after the options made here.

variable                  default                  meaning
MASKLET_MODELS            /models                  model repository, as `masklet-build assemble` makes it; also s3://, gs://, as://
MASKLET_EXIT_TIMEOUT_S    30                       at SIGTERM: how long frames in flight may take
MASKLET_DRAIN_FILE        one per user             while it exists no video begins; a file of an earlier run is removed
MASKLET_TLS_DIR           none: no TLS             folder with tls.crt and tls.key of the server; with ca.crt too, clients must show a certificate
MASKLET_ADMIN_KEY         a random one             opens the restricted endpoints to who sends it
MASKLET_OTLP_URL          none: no traces          OpenTelemetry: http://collector:4318/v1/traces; one request of a thousand is traced

Standard library only: it runs in the python of Triton's image. What it shares with `masklet-build serve` lies beside it, in triton_options.py.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

import triton_options  # beside this file
from triton_options import DRAIN_VARIABLE, MALLOC, MIB, SHARED_MEMORY, STUB_SHARED_MEMORY

GRPC_PORT = 8001  # Triton's own
SHARED_MEMORY_NEEDED = 1024 * MIB  # docker/README.md, "Messages and memory"; Docker gives 64 MiB where nobody says --shm-size
INSTANCES = 5  # of python models, where the repository cannot be read: preprocess 2, memory_bank 1, postprocess 2
TRACED = 1000  # one request of so many: all frames of a stream land in one trace, which would grow without bound


class SettingError(Exception):
    """A variable is wrong. The text names it, its value and what it may be."""


def main() -> int:
    """Replaces this process by tritonserver; returns only where that is not possible."""
    drain_file = os.environ.get(DRAIN_VARIABLE) or str(triton_options.default_drain_file(GRPC_PORT))
    try:
        prefix = region_prefix(os.environ.get("HOSTNAME") or socket.gethostname(), Path("/proc/self/mountinfo").read_text())
        for leftover in clear(prefix):
            print(f"masklet: removed {leftover}, left by an earlier run", file=sys.stderr)
        stub, scarce = shared_memory(Path(_models(os.environ)))
        command = ["tritonserver", *options(os.environ, prefix, stub), *sys.argv[1:]]
    except SettingError as error:
        print(f"masklet: {error}", file=sys.stderr)
        return 2
    for line in (triton_options.forget_drain(Path(drain_file)), scarce):
        if line:
            print(f"masklet: {line}", file=sys.stderr)
    print(f"masklet: {' '.join(_shown(word) for word in command)}", file=sys.stderr, flush=True)
    try:
        os.execvpe(command[0], command, MALLOC | os.environ | {DRAIN_VARIABLE: drain_file})
    except OSError as error:
        print(f"masklet: cannot start tritonserver: {error}. This image must be built on nvcr.io/nvidia/tritonserver.", file=sys.stderr)
        return 127


def region_prefix(host: str, mounts: str) -> str:
    """How the names of this container's shared memory regions begin; the same after a restart.

    With the host's IPC namespace regions of other containers lie in the same folder, and must stay. The host name tells containers and pods apart,
    but not those with the host's network; what they all have of their own is the file that is mounted at /etc/hostname.

    mounts  /proc/self/mountinfo: "id parent device root point ..."
    """
    own = re.search(r"^\S+ \S+ \S+ (\S+) /etc/hostname ", mounts, re.MULTILINE)
    return f"masklet_{host}_{hashlib.sha256(own[1].encode()).hexdigest()[:8]}_" if own else f"masklet_{host}_"


def clear(prefix: str, folder: Path = SHARED_MEMORY) -> list[Path]:
    """Removes shared memory of an earlier Triton of this container, which a SIGKILL leaves behind. Returns what was removed."""
    found = sorted(folder.glob(f"{prefix}*"))
    for path in found:
        path.unlink(missing_ok=True)
    return found


def shared_memory(models: Path) -> tuple[int, str]:
    """What each python model begins with, and a warning where shared memory is small; "" where it is not."""
    found = os.statvfs(SHARED_MEMORY)
    size, free = found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize
    stub = triton_options.stub_bytes(free, triton_options.python_instances(models) or INSTANCES)
    if size >= SHARED_MEMORY_NEEDED:
        return stub, ""
    smaller = f", not {STUB_SHARED_MEMORY // MIB}" if stub < STUB_SHARED_MEMORY else ""
    return stub, (
        f"warning: {SHARED_MEMORY} has {size // MIB} MiB. Each python model begins with {stub // MIB} MiB{smaller}, and a request that does not fit "
        f"fails with all that share its batch. Give at least {SHARED_MEMORY_NEEDED // MIB} MiB: docker run --shm-size 2g; Kubernetes: the volume shm."
    )


def options(settings: Mapping[str, str], prefix: str, stub: int) -> list[str]:
    """Triton's options. Raises SettingError."""
    exit_timeout = _seconds(settings, "MASKLET_EXIT_TIMEOUT_S", 30)
    return [
        *triton_options.options(_models(settings), exit_timeout, prefix, stub, triton_options.admin_key(settings)),
        *_tls(settings),
        *_traces(settings),
    ]


def _models(settings: Mapping[str, str]) -> str:
    models = settings.get("MASKLET_MODELS", "/models")
    if "://" not in models and not any(Path(models).glob("*/config.pbtxt")):
        raise SettingError(
            f"MASKLET_MODELS is {models}, which holds no <model>/config.pbtxt. Mount a repository made by `masklet-build assemble` there: "
            f"docker run -v $PWD/repository:{models}:ro ..."
        )
    return models


def _seconds(settings: Mapping[str, str], name: str, default: int) -> int:
    text = settings.get(name, str(default))
    if not text.isdecimal():
        raise SettingError(f"{name} is {text!r}, and must be a whole number of seconds.")
    return int(text)


def _tls(settings: Mapping[str, str]) -> list[str]:
    folder = settings.get("MASKLET_TLS_DIR")
    if not folder:
        return []
    certificate, private, authority = (Path(folder) / name for name in ("tls.crt", "tls.key", "ca.crt"))
    missing = [str(path) for path in (certificate, private) if not os.access(path, os.R_OK)]
    if missing:
        raise SettingError(
            f"MASKLET_TLS_DIR is {folder}, where {' and '.join(missing)} cannot be read. Mount a secret of type kubernetes.io/tls there."
        )
    given = [f"--grpc-server-cert={certificate}", f"--grpc-server-key={private}"]
    if authority.exists():
        return ["--grpc-use-ssl-mutual=true", *given, f"--grpc-root-cert={authority}"]
    return ["--grpc-use-ssl=true", *given]


def _traces(settings: Mapping[str, str]) -> list[str]:
    url = settings.get("MASKLET_OTLP_URL")
    if not url:
        return []
    if not url.startswith(("http://", "https://")):
        raise SettingError(f"MASKLET_OTLP_URL is {url!r}, and must be the OTLP/HTTP address of a collector: http://collector:4318/v1/traces")
    return [
        "--trace-config=mode=opentelemetry",
        f"--trace-config=opentelemetry,url={url}",
        "--trace-config=opentelemetry,resource=service.name=masklet",
        f"--trace-config=rate={TRACED}",
        "--trace-config=level=TIMESTAMPS",
    ]


def _shown(word: str) -> str:
    """A word of the command without the admin key, for the log."""
    name, separator, _ = word.partition(":admin-key=")
    return f"{name}{separator}..." if separator else word


if __name__ == "__main__":
    sys.exit(main())
