"""What `import masklet` offers and what it costs; which modules a server can take along."""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path

import pytest

import masklet

HEAVY = ("tritonclient", "grpc", "PIL", "av", "tqdm", "torch")
VENDORED = ("contract", "families", "errors", "wire", "rle")


def test_all_names_are_exactly_the_public_ones():
    """Some are imported when they are first used; completion shows them before."""
    offered = [name for name in dir(masklet) if not name.startswith("_") and not isinstance(getattr(masklet, name), types.ModuleType)]
    assert sorted(masklet.__all__) == sorted(name for name in offered if getattr(getattr(masklet, name), "__module__", "").startswith("masklet."))
    with pytest.raises(AttributeError, match="no attribute 'Trackers'"):
        masklet.Trackers  # noqa: B018


def test_every_folder_is_a_package_that_says_what_it_holds():
    """A folder without `__init__.py` can be imported here, and is missing in the wheel."""
    folders = {source.parent for source in Path(masklet.__path__[0]).rglob("*.py")}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_every_public_name_is_documented():
    assert [name for name in masklet.__all__ if not getattr(masklet, name).__doc__] == []


def test_every_error_is_public():
    errors = [name for name, value in vars(masklet.errors).items() if isinstance(value, type) and issubclass(value, Exception)]
    assert set(errors) <= set(masklet.__all__)


def imported_by(code: str) -> set[str]:
    """The top-level modules in a fresh interpreter after the code, that are not part of Python."""
    command = [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules)"]
    loaded = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return {name.split(".")[0] for name in loaded}


def test_importing_masklet_imports_nothing_heavy():
    assert imported_by("import masklet").isdisjoint(HEAVY)


@pytest.mark.parametrize(
    "words", [["--help"], ["probe", "127.0.0.1:1"], ["probe", "127.0.0.1:1", "--ready"], ["drain", "--undo", "--drain-file", "/x"]]
)
def test_health_checks_need_neither_numpy_nor_grpc(words):
    code = f"from masklet.cli import main\ntry: main({words})\nexcept SystemExit: pass"
    assert imported_by(code).isdisjoint({*HEAVY, "numpy"})


def test_the_tests_of_imports_can_see_heavy_ones():
    assert {"tritonclient", "grpc"} <= imported_by("import masklet; masklet.Tracker('localhost:1')")


@pytest.mark.parametrize("name", VENDORED)
def test_what_servers_take_along_needs_nothing_of_the_client(name, tmp_path):
    package = tmp_path / "masklet"
    package.mkdir()
    (package / "__init__.py").touch()
    for source in Path(masklet.__path__[0]).iterdir():
        if source.stem in VENDORED:
            (package / source.name).symlink_to(source)
    assert imported_by(
        f"sys.path.insert(0, {str(tmp_path)!r})\nimport masklet.{name} as m\nassert m.__file__.startswith({str(tmp_path)!r})"
    ).isdisjoint(HEAVY)


def test_the_asyncio_client_has_the_same_names():
    for plain, twin in ((masklet.Tracker, masklet.AsyncTracker), (masklet.Video, masklet.AsyncVideo)):
        assert {name for name in vars(plain) if not name.startswith("_")} == {name for name in vars(twin) if not name.startswith("_")}
