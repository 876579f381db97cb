"""Setup's unpacking of Debian packages, with an apt-get of ours: what it asks for, what it makes, what it says where that fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.tools import ROOT

APT = """#!/bin/sh
echo "$@" >> $LOG
case "$*" in
  *--simulate*gst-rtsp*) printf 'Inst libaa1 (1)\\nInst libgstrtspserver-1.0-0 (1)\\nInst gir1.2-gst-rtsp-server-1.0 (1)\\nInst libgtk-3-0 (3)\\n' ;;
  *--simulate*) printf 'Inst liblua5.3-0 (5.3)\\nInst libjs-d3 (3.5)\\nInst haproxy (2.6)\\n' ;;
  *download*) case "$*" in *lists*) ;; *) $FIRST ;; esac; touch haproxy_2.6.deb ;;
esac
"""
DPKG = """#!/bin/sh
mkdir -p "$3/usr/sbin" "$3/usr/lib/x86_64-linux-gnu"
printf '#!/bin/sh\\necho "$0 $LD_LIBRARY_PATH $*"\\n' > "$3/usr/sbin/haproxy"
chmod +x "$3/usr/sbin/haproxy"
"""


@pytest.fixture
def provide(tmp_path: Path):
    """Runs it as setup does, with only our programs on PATH; haproxy is missing, the others are there."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, text in (
        ("apt-get", APT),
        ("dpkg-deb", DPKG),
        ("nginx", "#!/bin/sh\n"),
        ("prometheus", "#!/bin/sh\n"),
        ("promtool", "#!/bin/sh\n"),
        ("gst-python", "#!/bin/sh\n"),
    ):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    (tmp_path / "deploy folder" / "bin").mkdir(parents=True)

    def run(first: str = "true", without: str = "") -> str:
        if without:
            (programs / without).unlink()
        code = (
            f"import pathlib, debian_programs as d; d.SYSTEM_PATH = {str(programs)!r}; d.provide(pathlib.Path({str(tmp_path / 'deploy folder')!r}))"
        )
        environment = {
            "PATH": str(programs) if without == "apt-get" else f"{programs}:/bin:/usr/bin",
            "LOG": str(tmp_path / "log"),
            "PYTHONPATH": str(ROOT / "build"),
            "FIRST": first,
        }
        return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True).stdout

    return run


def asked(tmp_path: Path) -> list[str]:
    return (tmp_path / "log").read_text().splitlines()


def test_a_program_is_unpacked_with_its_libraries_and_runs(provide, tmp_path):
    provide()
    assert asked(tmp_path) == ["--simulate --no-install-recommends install haproxy", "download liblua5.3-0 haproxy"]
    folder = tmp_path / "deploy folder"
    done = subprocess.run([folder / "bin" / "haproxy", "-v"], env={}, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"{folder}/debian/usr/sbin/haproxy {folder}/debian/usr/lib/x86_64-linux-gnu -v"


def test_of_gstreamer_only_what_the_rtsp_server_needs_is_fetched(provide, tmp_path):
    provide(without="gst-python")
    assert asked(tmp_path)[2:] == [
        "--simulate --no-install-recommends install gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-good python3-gi",
        "download libgstrtspserver-1.0-0 gir1.2-gst-rtsp-server-1.0",
    ]
    script = (tmp_path / "deploy folder" / "bin" / "gst-python").read_text()
    libraries = tmp_path / "deploy folder" / "debian" / "usr" / "lib" / "x86_64-linux-gnu"
    for setting in (
        f"LD_LIBRARY_PATH='{libraries}'",
        f"GI_TYPELIB_PATH='{libraries}/girepository-1.0'",
        f"GST_PLUGIN_PATH='{libraries}/gstreamer-1.0'",
    ):
        assert setting in script
    assert script.endswith(' exec /usr/bin/python3 "$@"\n')


def test_what_is_there_is_not_fetched_again(provide, tmp_path):
    provide()
    (tmp_path / "log").unlink()
    assert provide() == ""
    assert not (tmp_path / "log").exists()


def test_old_lists_of_the_system_are_replaced_by_lists_of_our_own(provide, tmp_path):
    assert "no haproxy" not in provide(first="exit 100")
    commands = asked(tmp_path)
    assert commands[2].endswith("update")
    assert "Dir::State::lists=" in commands[2]
    assert (tmp_path / "deploy folder" / "bin" / "haproxy").exists()


def test_without_apt_setup_goes_on_and_says_what_to_install(provide, tmp_path):
    said = provide(without="apt-get")
    assert "no haproxy: this machine has no apt-get" in said
    assert "dnf install haproxy" in said
    assert not (tmp_path / "deploy folder" / "bin" / "haproxy").exists()
