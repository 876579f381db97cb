"""Lays out a run folder for Triton's binary from the PyPI wheel, and the command line and environment to start it with."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from masklet_build.serve import shared_memory, triton_options
from masklet_build.serve.address import Address, bracketed
from masklet_build.serve.environment import Environment
from masklet_build.serve.errors import ServeError


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
    run = RunDir(_folder_for_programs(), f"masklet_{os.getpid()}_{secrets.token_hex(4)}_")
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


def _folder_for_programs() -> Path:
    """A new private folder in the temporary folder, or in a standard one where the shell would split that path or the system runs nothing in it."""
    unfit = {}
    for base in dict.fromkeys((tempfile.gettempdir(), "/tmp", "/var/tmp")):
        unfit[base] = _unfit(base)
        if not unfit[base]:
            return Path(tempfile.mkdtemp(prefix="masklet-serve-", dir=base))
    reasons = ", ".join(f"{base!r} {why}" for base, why in unfit.items())
    raise ServeError(f"no folder is fit for Triton's python backend, which is copied and run there: {reasons}. Set TMPDIR to another.")


def _unfit(folder: str) -> str:
    """Why nothing can be run in a folder; "": it can."""
    if set(folder) & set(" \t\n'\"\\$&;()<>|*?`"):
        return "has a character in its path that a shell splits at"
    if not os.access(folder, os.W_OK):
        return "cannot be written to"
    return "is mounted noexec" if os.statvfs(folder).f_flag & os.ST_NOEXEC else ""


def command(environment: Environment, run: RunDir, address: Address, exit_timeout_s: int, key: str) -> list[str]:
    """The command line of tritonserver. Raises ServeError where the python models find too little shared memory."""
    return [
        str(environment.triton / "bin" / "tritonserver"),
        *triton_options.options(str(run.repository), exit_timeout_s, run.prefix, shared_memory.stub_bytes(run.repository), key),
        f"--backend-directory={run.path / 'backends'}",
        f"--grpc-address={bracketed(address.host)}",
        f"--grpc-port={address.grpc}",
        f"--http-address={_of_libevhtp(address.http_host)}",
        f"--http-port={address.http}",
        f"--metrics-address={_of_libevhtp(address.metrics_host)}",
        f"--metrics-port={address.metrics}",
    ]


def _of_libevhtp(host: str) -> str:
    """An address as Triton's HTTP library wants it: an IPv6 address without this is taken for a name, and nothing listens."""
    return f"ipv6:{host}" if ":" in host else host


def variables(environment: Environment, run: RunDir) -> dict[str, str]:
    """The environment variables of tritonserver, which its stubs inherit."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV")}
    libraries = [str(run.path / "libraries"), str(run.path / "python"), *filter(None, [kept.get("LD_LIBRARY_PATH")])]
    return (
        triton_options.MALLOC
        | kept
        | {
            "PATH": f"{environment.python.parent}:{kept.get('PATH', os.defpath)}",  # the stub takes its packages from the first python3 here
            "LD_LIBRARY_PATH": ":".join(libraries),
            "PYTHONUNBUFFERED": "1",  # what a model prints reaches the log at once
            "PYTHONNOUSERSITE": "1",
        }
    )
