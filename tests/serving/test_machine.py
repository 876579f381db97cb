"""What the machine must offer, and the advice where it does not."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest

from masklet_build.serve import machine


def test_the_library_of_this_very_python_is_taken(tmp_path: Path) -> None:
    """Another Python's library of the same version may lie in the system's folders, and its compiled-in modules differ."""
    facts = machine.python_facts() | {"base_prefix": str(tmp_path), "libdir": str(tmp_path / "lib")}
    assert machine.shared_libpython(facts) is None
    (tmp_path / "lib").mkdir()
    library = tmp_path / "lib" / f"libpython3.{sys.version_info[1]}.so.1.0"
    library.touch()
    assert machine.shared_libpython(facts) == library


@pytest.mark.parametrize(
    ("base", "distribution", "advice"),
    [
        ("/usr", {"ID": "debian"}, "sudo apt-get install libpython3.11"),
        ("/usr", {"ID": "ubuntu", "ID_LIKE": "debian"}, "sudo apt-get install libpython3.11"),
        ("/usr", {"ID": "fedora"}, "sudo dnf install"),
        ("/usr", {"ID": "rocky", "ID_LIKE": "rhel centos fedora"}, "sudo dnf install"),
        ("/home/me/.pyenv/versions/3.11.7", {"ID": "debian"}, "--enable-shared pyenv install 3.11"),
    ],
)
def test_a_missing_library_names_what_to_install(base: str, distribution: dict[str, str], advice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: distribution)
    text = machine.libpython_advice({"base_prefix": base, "version": "3.11"})
    assert "libpython3.11.so.1.0" in text
    assert advice in text


@pytest.mark.parametrize(
    ("system", "processor", "libc", "problem"),
    [
        ("Linux", "x86_64", ("glibc", "2.35"), None),
        ("Linux", "x86_64", ("glibc", "2.4"), "has glibc 2.4"),
        ("Linux", "x86_64", ("", ""), "another C library"),
        ("Linux", "aarch64", ("glibc", "2.39"), "this is Linux aarch64"),
        ("Darwin", "arm64", ("", ""), "this is Darwin arm64"),
    ],
)
def test_machines_that_cannot_serve_are_told_why(
    system: str, processor: str, libc: tuple[str, str], problem: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: processor)
    monkeypatch.setattr(platform, "libc_ver", lambda: libc)
    found = machine.machine_problem()
    assert found is None if problem is None else found is not None and problem in found
