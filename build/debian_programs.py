"""HAProxy, nginx and Prometheus for the tests of docker/, from Debian's packages, without root and outside the system. Standard library only.

The package indexes of pip have none of them. On a machine of another family they can be installed by its own means; the tests look on PATH too.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

PACKAGES = {
    "haproxy": ("haproxy",),
    "nginx": ("nginx",),
    "prometheus": ("prometheus", "promtool"),
}  # Debian's packages -> the programs that the tests call
WEB_PAGES = ("libjs-", "fonts-")  # of Prometheus' own pages, which nobody looks at here
SYSTEM_PATH = ":".join(
    (os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin")
)  # Debian has haproxy and nginx in /usr/sbin, not on everybody's PATH


def provide(folder: Path) -> None:
    """Puts what this machine lacks into folder/debian, and a script for each program into folder/bin. Says what it could not do."""
    lacking = [package for package, programs in PACKAGES.items() if not all(_found(program, folder) for program in programs)]
    if not lacking:
        return
    print(f"setup: unpacking Debian's {' and '.join(lacking)}", flush=True)
    problem = "this machine has no apt-get" if not shutil.which("apt-get") or not shutil.which("dpkg-deb") else _unpack(lacking, folder / "debian")
    if problem:
        print(
            f"setup: no {' and '.join(lacking)}: {problem}. Tests that need them are skipped. Install them with your package "
            "manager (Fedora: dnf install haproxy nginx golang-github-prometheus; anywhere: haproxy.org, nginx.org, "
            "prometheus.io/download) and have them on PATH.",
            flush=True,
        )
        return
    for package in lacking:
        for program in PACKAGES[package]:
            _write_script(program, folder)


def _found(program: str, folder: Path) -> bool:
    return (folder / "bin" / program).exists() or shutil.which(program, path=SYSTEM_PATH) is not None


def _unpack(packages: list[str], folder: Path) -> str:
    """Downloads packages and the libraries that are not installed, and unpacks them. Returns why that was not possible, or ""."""
    archives = folder / "archives"
    archives.mkdir(parents=True, exist_ok=True)
    problem = _download(packages, archives, [])
    if problem:  # the lists of the system may be missing or old; lists of our own need no root
        options = _own_lists(folder / "apt")
        problem = _run(["apt-get", *options, "update"], archives)[1] or _download(packages, archives, options)
    for archive in sorted(archives.glob("*.deb")):
        problem = problem or _run(["dpkg-deb", "--extract", str(archive), str(folder)], archives)[1]
    shutil.rmtree(archives)
    return problem


def _download(packages: list[str], folder: Path, options: list[str]) -> str:
    plan, problem = _run(["apt-get", *options, "--simulate", "--no-install-recommends", "install", *packages], folder)
    wanted = [name for name in re.findall(r"^Inst (\S+)", plan, re.MULTILINE) if not name.startswith(WEB_PAGES)]
    return problem or _run(["apt-get", *options, "download", *wanted], folder)[1]


def _own_lists(folder: Path) -> list[str]:
    """Options that make apt-get keep its lists and caches in `folder`."""
    for name in ("lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return ["-o", f"Dir::State::lists={folder / 'lists'}", "-o", f"Dir::Cache={folder / 'cache'}", "-o", "APT::Sandbox::User="]


def _run(command: list[str], folder: Path) -> tuple[str, str]:
    """Standard output, and what went wrong in one line."""
    done = subprocess.run(command, cwd=folder, env=os.environ | {"LC_ALL": "C"}, capture_output=True, text=True)
    if done.returncode == 0:
        return done.stdout, ""
    said = [line for line in done.stderr.splitlines() if line.startswith("E:")] or [done.stderr.strip() or f"exit code {done.returncode}"]
    return done.stdout, f"`{shlex.join(command[:1] + command[-2:])}` said: {said[-1]}"


def _write_script(program: str, folder: Path) -> None:
    """A script that runs the unpacked program with the unpacked libraries; `exec`, so that it has the script's process id."""
    binary = next(path for place in ("bin", "sbin") if (path := folder / "debian" / "usr" / place / program).exists())
    libraries = ":".join(str(path) for path in sorted((folder / "debian" / "usr" / "lib").glob("*-linux-gnu*")))
    script = folder / "bin" / program
    path = shlex.quote(libraries) + '"${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"'
    script.write_text(f'#!/bin/sh\nLD_LIBRARY_PATH={path} exec {shlex.quote(str(binary))} "$@"\n')
    script.chmod(0o755)
