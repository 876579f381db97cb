"""Every engine of an export built once, to see whether a compiler takes it and what it makes of it. The plans are thrown away."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import mkdtemp

from masklet.contract import engines
from masklet.families import Variant
from masklet_build.engines.builder import Built, build
from masklet_build.engines.compilers import Compiler
from masklet_build.engines.plans import BuildError, Settings
from masklet_build.export.lint.graph import Graph, type_name
from masklet_build.export.profiles import Limits, profiles

_IN_FP32 = (
    "Of the attentions {count} are in fp32, which is hardly ever fused: all their scores are kept in memory. To fuse them: masklet-build export "
    "VARIANT --attention bf16 ..."
)


@dataclass(frozen=True)
class Trial:
    """What a compiler made of one engine.

    profiles   names of the profiles
    reduced    attentions of the graph in fp16 or bf16: so many fused kernels each profile should have
    fp32       attentions in fp32, of which hardly any is fused
    outcome    what it built, or why it did not
    """

    engine: str
    profiles: Sequence[str]
    reduced: int
    fp32: int
    outcome: Built | BuildError

    @property
    def problems(self) -> list[str]:
        """What speaks against the engine, in whole sentences."""
        if isinstance(self.outcome, BuildError):
            return [f"{self.engine} is refused: {self.outcome}"]
        if len(self.outcome.kernels) != len(self.profiles):
            return [f"{self.engine} was built, but what became of its attention is not known: {'; '.join(self.outcome.warnings)}"]
        return [
            f"{self.engine}, profile {name!r}: only {kernels.attention} of {self.reduced} attentions in fp16 or bf16 are fused; the others keep all "
            "scores in memory. Export again with this masklet-build; where that was done, report it."
            for name, kernels in zip(self.profiles, self.outcome.kernels, strict=True)
            if kernels.attention < self.reduced
        ]

    def rows(self) -> Iterator[str]:
        """Of the table: a line per profile, the seconds in the first, or one for a refusal."""
        if isinstance(self.outcome, BuildError):
            yield f"{self.engine:18}refused"
            return
        kernels, memory = self.outcome.kernels, self.outcome.memory
        for index, name in enumerate(self.profiles):
            engine, seconds = (self.engine, f"{self.outcome.seconds:.0f}") if not index else ("", "")
            attentions = self.reduced + self.fp32
            fused = f"{kernels[index].attention if kernels else '?'} of {attentions}" if attentions else "none"
            mebibytes = str(memory[index] >> 20) if memory else "?"
            yield f"{engine:18}{name:18}{fused:>17}{mebibytes:>7}{seconds:>9}".rstrip()


def trials(folder: Path, variant: Variant, limits: Limits, compiler: Compiler) -> Iterator[Trial]:
    """Builds the engines that `export` wrote to `folder`, one after the other, in the narrow profiles of TensorRT. A bar shows the progress of each.

    What the compiler said is kept, in temporary files that the refusals name, where it refused one and was not stopped.
    """
    table, refused, ended = profiles(variant, limits), False, False
    logs = Path(mkdtemp(prefix="masklet-lint-"))
    try:
        for model in engines(variant):
            path = folder / f"{model.name}.onnx"
            outcome: Built | BuildError
            try:
                built = build(compiler, model, variant, path, table[model.name], Settings(), b"", logs / f"{model.name}.log")
                outcome = replace(built, plan=b"")  # up to hundreds of MB
            except BuildError as error:
                outcome, refused = error, True
            graph = Graph.read(path)
            types = [type_name(graph.type(softmax.input[0])) for softmax in graph.of_type("Softmax")]
            fp32 = types.count("FLOAT")
            yield Trial(model.name, [profile.name for profile in table[model.name]], len(types) - fp32, fp32, outcome)
        ended = True
    finally:
        if not (refused and ended):
            shutil.rmtree(logs)


def told(done: Sequence[Trial]) -> Iterator[str]:
    """Lines: a table of profiles, then what the compiler warned of and what speaks against the engines."""
    yield f"{'engine':18}{'profile':18}{'fused attention':>17}{'MiB':>7}{'seconds':>9}"
    for trial in done:
        yield from trial.rows()
    for trial in done:
        if isinstance(trial.outcome, Built):
            yield from (f"{trial.engine}: the compiler warns: {warning}" for warning in trial.outcome.warnings)
        yield from trial.problems
    if count := sum(trial.fp32 for trial in done):
        yield _IN_FP32.format(count=count)
