"""Lays out a run folder for Triton's binary from the PyPI wheel, and the command line and environment to start it with."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from masklet_build.serve.environment import Environment
from masklet_build.serve.errors import ServeError

MIB = 1 << 20
# First size and growth step of each stub's region; taken at once, so nine stubs begin with 144 MiB. Triton takes 4 MiB or more. From 4 to 128 MiB
# a frame of nano takes the same time: medians of 44 to 47 ms at 256x256 JPEG, 60 to 63 ms at 1280x720 raw; equal sizes were 1 to 2 ms apart.
STUB_SHARED_MEMORY = 16 * MIB
KEEPALIVE_MS = 30_000  # the server pings idle connections this often, so that dead clients are noticed
CLIENT_PING_MS = 10_000  # clients may ping this often; Triton's default of 5 minutes cuts off those that ping every 30 s
# How glibc allocates, in Triton and in its python models. By itself it takes, once a message of 12 MB has been freed, everything up to that size from
# heaps of which it hands back only the ends: requests of ever new sizes left 270 MB of holes. So blocks of 1 MiB and more are the system's own and go
# back to it at once (that costs a frame 0.5 microseconds for every 4 KiB of them); there are two heaps, not eight for each core, and 4 MiB of the end
# of each are kept. The same in docker/entrypoint.py.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(MIB), "MALLOC_TRIM_THRESHOLD_": str(4 * MIB), "MALLOC_ARENA_MAX": "2"}


@dataclass(frozen=True)
class Address:
    """Where one server listens: host and the three ports."""

    host: str
    grpc: int
    http: int
    metrics: int

    @property
    def reachable_host(self) -> str:
        """The host for a client on this machine."""
        return "127.0.0.1" if self.host in ("0.0.0.0", "::", "") else self.host


@dataclass(frozen=True)
class RunDir:
    """The run folder: a path without spaces, because Triton starts its stubs through an unquoted shell line.

    path/backends       python backend and the stub that fits the interpreter
    path/libraries      link to the wheel's shared libraries
    path/python         holds a link to libpython alone: the other libraries of that folder could shadow the system's
    path/repository     link to the model repository, which may have spaces in its path
    path/triton.log     Triton's log, unless the caller wants it elsewhere
    prefix              begins the name of every shared memory region of this server and of no other
    """

    path: Path
    prefix: str

    @property
    def repository(self) -> Path:
        """The link to the model repository."""
        return self.path / "repository"


def make_run_dir(environment: Environment, repository: Path) -> RunDir:
    """Makes the run folder of a server. Raises ServeError where the disk or the temporary folder does not allow it."""
    run = RunDir(_folder_without_spaces(), f"masklet_{os.getpid()}_{secrets.token_hex(4)}_")
    backend = run.path / "backends" / "python"
    try:
        backend.mkdir(parents=True)
        for source in (environment.triton / "backends" / "python").iterdir():
            if source.is_file():
                shutil.copy(source, backend)
        shutil.copy(environment.stub, backend)
        (run.path / "python").mkdir()
        (run.path / "python" / environment.libpython.name).symlink_to(environment.libpython.resolve())
        (run.path / "libraries").symlink_to(environment.libraries)
        run.repository.symlink_to(repository.resolve())
    except OSError as error:
        shutil.rmtree(run.path, ignore_errors=True)
        raise ServeError(f"cannot prepare the run folder {run.path}: {error}. Set TMPDIR to a folder with about 20 MB to spare.") from error
    return run


def _folder_without_spaces() -> Path:
    """A new private folder in the temporary folder, or in a standard one if that path has a character that the shell would split at."""
    for base in dict.fromkeys((tempfile.gettempdir(), "/tmp", "/var/tmp")):
        if not set(base) & set(" \t\n'\"\\$&;()<>|*?`") and os.access(base, os.W_OK):
            return Path(tempfile.mkdtemp(prefix="masklet-serve-", dir=base))
    raise ServeError(f"the temporary folder {tempfile.gettempdir()!r} has a space in its path and /tmp is not writable. Set TMPDIR to another.")


def command(environment: Environment, run: RunDir, address: Address, exit_timeout_s: int) -> list[str]:
    """The command line of tritonserver."""
    return [
        str(environment.triton / "bin" / "tritonserver"),
        f"--model-repository={run.repository}",
        f"--backend-directory={run.path / 'backends'}",
        "--model-control-mode=none",  # all models at start, and no client can unload one
        "--disable-auto-complete-config",  # else each stub starts twice
        f"--exit-timeout-secs={exit_timeout_s}",
        f"--grpc-address={address.host}",
        f"--grpc-port={address.grpc}",
        f"--http-address={address.host}",
        f"--http-port={address.http}",
        f"--metrics-address={address.host}",
        f"--metrics-port={address.metrics}",
        f"--grpc-keepalive-time={KEEPALIVE_MS}",
        "--grpc-keepalive-permit-without-calls=true",
        f"--grpc-http2-min-recv-ping-interval-without-data={CLIENT_PING_MS}",
        f"--backend-config=python,shm-region-prefix-name={run.prefix}",
        f"--backend-config=python,shm-default-byte-size={STUB_SHARED_MEMORY}",
        f"--backend-config=python,shm-growth-byte-size={STUB_SHARED_MEMORY}",
    ]


def variables(environment: Environment, run: RunDir) -> dict[str, str]:
    """The environment variables of tritonserver, which its stubs inherit."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV")}
    libraries = [str(run.path / "libraries"), str(run.path / "python"), *filter(None, [kept.get("LD_LIBRARY_PATH")])]
    return (
        MALLOC
        | kept
        | {
            "PATH": f"{environment.python.parent}:{kept.get('PATH', os.defpath)}",  # the stub takes its packages from the first python3 here
            "LD_LIBRARY_PATH": ":".join(libraries),
            "PYTHONUNBUFFERED": "1",  # what a model prints reaches the log at once
            "PYTHONNOUSERSITE": "1",
        }
    )
