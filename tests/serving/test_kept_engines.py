"""Kept engines are those of the sources and weights of now; they do not pile up."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from tests.serving import kept_engines
from tests.serving.kept_engines import engines


@pytest.fixture(autouse=True)
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources" / "export.py").write_text("one = 1\n")
    monkeypatch.setattr(kept_engines, "ROOT", tmp_path)
    monkeypatch.setattr(kept_engines, "SOURCES", (tmp_path / "sources",))
    return tmp_path / "sources"


class Maker:
    """Exports files with the number of the export in them."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self, scratch: Path) -> Path:
        self.made += 1
        (scratch / "engines").mkdir()
        (scratch / "engines" / "a.onnx").write_text(f"{self.made}")
        (scratch / "checkpoint.pt").touch()
        return scratch / "engines"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


def test_they_are_made_once_for_the_same_weights_and_sources(cache: Path, sources: Path, tmp_path: Path) -> None:
    make = Maker()
    told = [(engines(cache, of, make, tmp_path / f"{number}") / "a.onnx").read_text() for number, of in enumerate("xxyx")]
    assert told == ["1", "1", "2", "1"]
    (sources / "export.py").write_text("one = 2\n")
    assert (engines(cache, "x", make, tmp_path / "changed") / "a.onnx").read_text() == "3"
    (sources / "more.py").touch()
    assert (engines(cache, "x", make, tmp_path / "more") / "a.onnx").read_text() == "4"


def test_what_a_test_does_to_its_copy_reaches_no_other(cache: Path, tmp_path: Path) -> None:
    make = Maker()
    (engines(cache, "x", make, tmp_path / "one") / "a.onnx").write_text("spoilt")
    assert (engines(cache, "x", make, tmp_path / "two") / "a.onnx").read_text() == "1"
    assert [file.name for file in (tmp_path / "two").iterdir()] == ["a.onnx"], "and nothing else is kept"


def test_an_export_that_fails_leaves_nothing_that_is_taken_for_engines(cache: Path, tmp_path: Path) -> None:
    def fails(scratch: Path) -> Path:
        Maker()(scratch)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        engines(cache, "x", fails, tmp_path / "one")
    make = Maker()
    engines(cache, "x", make, tmp_path / "two")
    assert make.made == 1


def test_two_workers_make_them_once(cache: Path, tmp_path: Path) -> None:
    make, began, goes_on = Maker(), Event(), Event()

    def slow(scratch: Path) -> Path:
        began.set()
        goes_on.wait(60)
        return make(scratch)

    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(engines, cache, "x", slow, tmp_path / "one")
        began.wait(60)
        other = pool.submit(engines, cache, "x", slow, tmp_path / "two")
        goes_on.set()
        one.result(60), other.result(60)
    assert make.made == 1


def test_two_workers_export_different_engines_one_after_the_other(cache: Path, tmp_path: Path) -> None:
    make, began, goes_on, ended = Maker(), Event(), Event(), Event()

    def slow(scratch: Path) -> Path:
        began.set()
        goes_on.wait(60)
        ended.set()
        return make(scratch)

    def other(scratch: Path) -> Path:
        assert ended.is_set()
        return make(scratch)

    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(engines, cache, "x", slow, tmp_path / "one")
        began.wait(60)
        two = pool.submit(engines, cache, "y", other, tmp_path / "two")
        time.sleep(0.3)  # long enough to begin, if it may
        goes_on.set()
        one.result(60), two.result(60)


def test_the_oldest_go_where_all_are_too_large_but_none_that_is_in_use(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_engines, "MOST_BYTES", 2)
    make = Maker()
    for of in "abcd":
        engines(cache, of, make, tmp_path / of)
    assert make.made == len([place for place in cache.iterdir() if place.is_dir()]) == 4, "all were asked for just now"
    for age, place in enumerate(sorted((place for place in cache.iterdir() if place.is_dir()), key=lambda place: (place / "a.onnx").read_text())):
        os.utime(place, times=(time.time() - 7200 + age,) * 2)
    engines(cache, "d", make, tmp_path / "again")
    assert {(place / "a.onnx").read_text() for place in cache.iterdir() if place.is_dir()} == {"3", "4"}
    assert make.made == 4
