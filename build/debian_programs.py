"""HAProxy, nginx, Prometheus and an RTSP server for tests, from Debian's packages, without root and outside the system. Standard library only.

The package indexes of pip have none of them. On a machine of another family they can be installed by its own means; the tests look on PATH too.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

RTSP = "gir1.2-gst-rtsp-server-1.0"
PACKAGES = {
    "haproxy": ("haproxy",),
    "nginx": ("nginx",),
    "prometheus": ("prometheus", "promtool"),
    RTSP: ("gst-python",),  # Debian's Python, which finds GStreamer
}  # Debian's packages -> the programs that the tests call
WEB_PAGES = ("libjs-", "fonts-")  # of Prometheus' own pages, which nobody looks at here
# Beside the RTSP server, and all that is used of what GStreamer's packages ask for: 16 MB of 210.
RTSP_WITH = ("gstreamer1.0-plugins-good", "python3-gi")
RTSP_LIBRARIES = ("libgstreamer1", "libgstreamer-plugins-base", "libgstrtspserver", "liborc", "libgirepository")
RTSP_PARTS = ("gir1.2-g", "gstreamer1.0-plugins-base", *RTSP_WITH, *RTSP_LIBRARIES)
SYSTEM_PATH = ":".join(
    (os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin")
)  # Debian has haproxy and nginx in /usr/sbin, not on everybody's PATH


def provide(folder: Path) -> None:
    """Puts what this machine lacks into folder/debian, and a script for each program into folder/bin. Says what it could not do."""
    lacking = [package for package, programs in PACKAGES.items() if not all(_found(program, folder) for program in programs)]
    for packages in ([name for name in lacking if name != RTSP], [name for name in lacking if name == RTSP]):
        if packages:
            _provide(packages, folder)


def _provide(lacking: list[str], folder: Path) -> None:
    print(f"setup: unpacking Debian's {' and '.join(lacking)}", flush=True)
    problem = "this machine has no apt-get" if not shutil.which("apt-get") or not shutil.which("dpkg-deb") else _unpack(lacking, folder / "debian")
    if problem:
        print(
            f"setup: no {' and '.join(lacking)}: {problem}. Tests that need them are skipped. Install them with your package "
            "manager (Fedora: dnf install haproxy nginx golang-github-prometheus gstreamer1-rtsp-server python3-gobject; anywhere: haproxy.org, "
            "nginx.org, prometheus.io/download) and have them on PATH.",
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
    rtsp = RTSP in packages
    plan, problem = _run(["apt-get", *options, "--simulate", "--no-install-recommends", "install", *packages, *(RTSP_WITH if rtsp else ())], folder)
    planned = re.findall(r"^Inst (\S+)", plan, re.MULTILINE)
    wanted = [name for name in planned if (name.startswith(RTSP_PARTS) if rtsp else not name.startswith(WEB_PAGES))]
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
    usr = folder / "debian" / "usr"
    libraries = sorted((usr / "lib").glob("*-linux-gnu*"))
    paths = {"LD_LIBRARY_PATH": libraries}
    if program == "gst-python":
        binary = Path("/usr/bin/python3")
        paths |= {
            "GI_TYPELIB_PATH": [path / "girepository-1.0" for path in libraries],
            "GST_PLUGIN_PATH": [path / "gstreamer-1.0" for path in libraries],
        }
        paths |= {"PYTHONPATH": [usr / "lib" / "python3" / "dist-packages"]}
    else:
        binary = next(path for place in ("bin", "sbin") if (path := usr / place / program).exists())
    settings = [f'{name}={shlex.quote(":".join(map(str, values)))}"${{{name}:+:${name}}}"' for name, values in paths.items()]
    script = folder / "bin" / program
    script.write_text(f'#!/bin/sh\n{" ".join(settings)} exec {shlex.quote(str(binary))} "$@"\n')
    script.chmod(0o755)
