"""Every engine against the float32 network: all profiles, every row of every call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from masklet.contract import engines
from masklet.families import Variant
from masklet_build.check.calls import Call, calls
from masklet_build.export.bars import BARS
from masklet_build.export.fixtures.compare import Figures, compare
from masklet_build.export.fixtures.fixtures import Fixtures
from masklet_build.export.profiles import Profile
from masklet_build.in_process import Stages
from masklet_build.models.samples import Sizes


@dataclass(frozen=True)
class Checked:
    """One call: figures of each output, and what is wrong, if anything. `kernels`: which, where the same engine has several."""

    engine: str
    profile: str
    sizes: Sizes
    figures: Mapping[str, Figures]
    problem: str | None
    kernels: str = ""


@dataclass(frozen=True)
class EngineReport:
    """All calls of all engines. `unchecked`: engine -> profiles that no row belongs to."""

    precision: str
    checked: Sequence[Checked]
    unchecked: Mapping[str, Sequence[str]]

    @property
    def failed(self) -> list[str]:
        """Engines that are off, in the order in which a frame meets them."""
        return list(dict.fromkeys(one.engine for one in self.checked if one.problem))

    @property
    def problems(self) -> list[str]:
        """What is wrong, call by call."""
        return [one.problem for one in self.checked if one.problem]


def check_engines(
    variant: Variant,
    stages: Stages,
    fixtures: Fixtures,
    table: Mapping[str, Sequence[Profile]],
    precision: str,
    progress: Callable[[str], None],
    kernels: str = "",
) -> EngineReport:
    """Asks every engine what the fixtures hold. `precision`: a key of BARS; `kernels`: of these stages. An engine that raises is a finding, not an
    error."""
    checked, unchecked = [], {}
    for model in engines(variant):
        planned = list(calls(fixtures, model, table[model.name]))
        progress(f"checking {model.name}: {len(planned)} calls{f', {kernels}' if kernels else ''}")
        checked += [_check(call, stages, precision, kernels) for call in planned]
        if missing := [profile.name for profile in table[model.name] if profile.name not in {call.profile for call in planned}]:
            unchecked[model.name] = missing
    return EngineReport(precision, checked, unchecked)


def _check(call: Call, stages: Stages, precision: str, kernels: str) -> Checked:
    bar, figures, told = BARS[precision], {}, f"{call.engine}, {call.told}{f', {kernels}' if kernels else ''}"
    try:
        outputs = stages.call(call.engine, call.inputs)
    except Exception as error:  # whatever the runtime raises: the report names the call
        problems = [f"{type(error).__name__}: {error}"]
    else:
        if missing := set(call.rows[0].outputs) - set(outputs):
            problems = [f"no output {', '.join(sorted(missing))}"]
        else:
            figures = {name: compare(name, outputs[name], call.rows, bar) for name in call.rows[0].outputs}
            problems = [f"{name} {problem}" for name, one in figures.items() if (problem := one.problem(bar))]
    return Checked(call.engine, call.profile, call.sizes, figures, f"{told}: {'; '.join(problems)}" if problems else None, kernels)
