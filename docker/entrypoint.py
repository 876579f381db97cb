#!/usr/bin/env python3
"""Starts Triton in the server image: clears what an earlier run left, turns a few variables into Triton's options, and becomes tritonserver.

What follows the image's name in `docker run`, or `args` in Kubernetes, is passed on to tritonserver, after the options made here.

variable                  default                  meaning
MASKLET_MODELS            /models                  model repository, as `masklet-build assemble` makes it; also s3://, gs://, as://
MASKLET_EXIT_TIMEOUT_S    30                       at SIGTERM: how long frames in flight may take
MASKLET_DRAIN_FILE        /tmp/masklet-draining    memory_bank's `drain_file`; a file of an earlier run is removed
MASKLET_TLS_DIR           none: no TLS             folder with tls.crt and tls.key of the server; with ca.crt too, clients must show a certificate
MASKLET_ADMIN_KEY         a random one             opens the restricted endpoints to who sends it
MASKLET_OTLP_URL          none: no traces          OpenTelemetry: http://collector:4318/v1/traces; one request of a thousand is traced

Standard library only: it runs in the python of Triton's image.
"""

from __future__ import annotations

import os
import secrets
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")
MIB = 1 << 20
SHARED_MEMORY_NEEDED = 1024 * MIB  # docker/README.md, "Messages and memory"; Docker gives 64 MiB where nobody says --shm-size
STUB_SHARED_MEMORY = 16 * MIB  # first size and growth step of each python model's region: raw frames of 1920 x 1080 take 6 MB
# How glibc allocates, in Triton and in its python models, as under `masklet-build serve`: docker/operations.md, "Memory of the host".
MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(MIB), "MALLOC_TRIM_THRESHOLD_": str(4 * MIB), "MALLOC_ARENA_MAX": "2"}
KEEPALIVE_MS = 30_000  # the server pings idle connections this often, so that dead clients are noticed; Triton's default is two hours
CLIENT_PING_MS = 10_000  # clients and gateways may ping this often; Triton's default of 5 minutes cuts off those that ping every 30 s
TRACED = 1000  # one request of so many: all frames of a stream land in one trace, which would grow without bound
# Nobody but an administrator: they read the server's memory or files, change models, or write logs. Frames come by gRPC, so over HTTP inference
# is closed too, and what stays open there is health and metadata: HTTP has no TLS in Triton.
RESTRICTED_GRPC = ("model-repository", "shared-memory", "trace", "logging")
RESTRICTED_HTTP = (*RESTRICTED_GRPC, "inference", "model-config", "statistics")


class SettingError(Exception):
    """A variable is wrong. The text names it, its value and what it may be."""


def main() -> int:
    """Replaces this process by tritonserver; returns only where that is not possible."""
    try:
        prefix = region_prefix(os.environ.get("HOSTNAME") or socket.gethostname())
        command = ["tritonserver", *options(os.environ, prefix), *sys.argv[1:]]
    except SettingError as error:
        print(f"masklet: {error}", file=sys.stderr)
        return 2
    for leftover in clear(prefix, Path(os.environ.get("MASKLET_DRAIN_FILE", "/tmp/masklet-draining"))):
        print(f"masklet: removed {leftover}, left by an earlier run", file=sys.stderr)
    if scarce := shared_memory_problem():
        print(f"masklet: {scarce}", file=sys.stderr)
    print(f"masklet: {' '.join(_shown(word) for word in command)}", file=sys.stderr, flush=True)
    try:
        os.execvpe(command[0], command, MALLOC | os.environ)
    except OSError as error:
        print(f"masklet: cannot start tritonserver: {error}. This image must be built on nvcr.io/nvidia/tritonserver.", file=sys.stderr)
        return 127


def region_prefix(host: str) -> str:
    """How the names of this container's shared memory regions begin: the host name is the container's or the pod's, and outlives a restart.

    With the host's IPC namespace regions of other containers lie in the same folder, and must stay.
    """
    return f"masklet_{host}_"


def clear(prefix: str, drain_file: Path, folder: Path = SHARED_MEMORY) -> list[Path]:
    """Removes shared memory of an earlier Triton of this container, which a SIGKILL leaves behind, and a drain file. Returns what was removed."""
    found = [*sorted(folder.glob(f"{prefix}*")), *([drain_file] if drain_file.exists() else [])]
    for path in found:
        path.unlink(missing_ok=True)
    return found


def shared_memory_problem(folder: Path = SHARED_MEMORY) -> str:
    """A warning where the shared memory is small; "" where it is not."""
    found = os.statvfs(folder)
    size = found.f_blocks * found.f_frsize
    if size >= SHARED_MEMORY_NEEDED:
        return ""
    return (
        f"warning: {folder} has {size // MIB} MiB. Each python model begins with {STUB_SHARED_MEMORY // MIB} MiB, and a request that does not fit "
        f"fails with all that share its batch. Give at least {SHARED_MEMORY_NEEDED // MIB} MiB: docker run --shm-size 2g; Kubernetes: the volume shm."
    )


def options(settings: Mapping[str, str], prefix: str) -> list[str]:
    """Triton's options. Raises SettingError."""
    key = settings.get("MASKLET_ADMIN_KEY") or secrets.token_hex(16)
    return [
        f"--model-repository={_models(settings)}",
        "--model-control-mode=none",  # all models at start, and no client can unload one
        "--disable-auto-complete-config",  # else each python model starts twice
        "--strict-readiness=true",  # ready only when every model is
        f"--exit-timeout-secs={_seconds(settings, 'MASKLET_EXIT_TIMEOUT_S', 30)}",
        f"--grpc-keepalive-time={KEEPALIVE_MS}",
        "--grpc-keepalive-permit-without-calls=true",
        f"--grpc-http2-min-recv-ping-interval-without-data={CLIENT_PING_MS}",
        f"--backend-config=python,shm-region-prefix-name={prefix}",
        f"--backend-config=python,shm-default-byte-size={STUB_SHARED_MEMORY}",
        f"--backend-config=python,shm-growth-byte-size={STUB_SHARED_MEMORY}",
        f"--grpc-restricted-protocol={','.join(RESTRICTED_GRPC)}:admin-key={key}",
        f"--http-restricted-api={','.join(RESTRICTED_HTTP)}:admin-key={key}",
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
