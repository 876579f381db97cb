"""The bar of a build."""

from __future__ import annotations

from itertools import pairwise

from masklet_build.engines.callbacks import Progress


def test_progress_never_goes_back_and_ends_at_the_end() -> None:
    bar = Progress("engine")
    shown = [0.0]

    def step(phase: str, number: int) -> None:
        assert bar.step(phase, number)
        shown.append(bar.shown)

    bar.start("outer", None, 2)
    bar.start("inner", "outer", 4)
    for number in range(4):
        step("inner", number)
    bar.finish("inner")
    step("outer", 0)
    step("outer", 1)
    bar.finish("outer")
    bar.start("second", None, 2)
    step("second", 0)
    bar.close()
    assert shown[1] == 1 / 8
    assert shown[-1] == 1
    assert all(earlier <= later for earlier, later in pairwise(shown))


def test_a_build_that_is_stopped_does_not_end_at_the_end() -> None:
    """A compiler ends all phases when it stops."""
    bar = Progress("engine")
    bar.start("outer", None, 4)
    bar.start("inner", "outer", 2)
    assert bar.step("inner", 0)
    bar.cancelled = True
    assert not bar.step("inner", 1)
    bar.finish("inner")
    bar.finish("outer")
    bar.close()
    assert bar.shown == 1 / 4
