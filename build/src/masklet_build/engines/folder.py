"""A folder of plans: all engines of a variant, whole or not at all, and none built twice."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path

from masklet.contract import CONTRACT_VERSION, Model, engines
from masklet.families import Variant
from masklet_build.common import OutputExists, fresh_directory
from masklet_build.engines.builder import build
from masklet_build.engines.compilers import Compiler
from masklet_build.engines.plans import FILE_NAME, BuildError, Machine, Plan, Plans, PlansError, Settings
from masklet_build.export.profiles import Limits, Profile, profiles
from masklet_build.manifest import FIXTURES, Manifest, ManifestError, file_sha256

_KINDS = (".plan", ".log")  # files of an engine
_LAYERS = ".layers.json"  # and one where the compiler has an inspector


def build_plans(
    variant: Variant,
    onnx: Path,
    out: Path,
    compiler: Compiler,
    *,
    limits: Limits,
    settings: Settings,
    timing_folder: Path | None = None,
    force: bool = False,
    progress: Callable[[str], None] = lambda message: None,
) -> Plans:
    """Builds the plans of the five engines into `out`, with plans.json, all or nothing.

    Finished engines wait in a folder beside `out`, .NAME.part, until the last one is there; so an interrupted build goes on where it stopped. What
    fits in `out` already is not built again; nothing is done where everything fits.

    onnx            directory that `masklet-build export` wrote
    timing_folder   what TensorRT measured is kept in it, one file per TensorRT, GPU and driver; None: only until the build is complete
    force           replaces plans that were built to `out` before
    progress        gets a line per engine
    Raises BuildError, DeviceError where the compiler needs a GPU, and OutputExists.
    """
    out = out.absolute()
    order = _Order(variant, onnx, _manifest(onnx, variant), limits, settings, compiler, compiler.machine())
    there = _read(out)
    kept = {name: plan for name, plan in (there.engines if there else {}).items() if order.fits(there, name, out)}
    if there is not None and order.plans(kept, there.created) == there:
        progress(f"{out} is up to date")
        return there
    if order.manifest.purpose != "tensorrt":
        progress(
            f"{onnx} has graphs in the form for CPUs, of which {compiler.title} fuses less. "
            f"Better, also since in fp32 none is fused: masklet-build export {variant.name} --precision bf16 --out DIR, and --onnx DIR here."
        )
    if there is not None and not force:
        raise OutputExists(f"{out} holds other plans: {order.differences(there, kept)}. Choose another directory, or --force, which keeps what fits.")
    part = out.with_name(f".{out.name}.part")
    with fresh_directory(out, mark=FILE_NAME, force=force) as draft:
        part.mkdir(exist_ok=True)
        for name in kept:
            _copy(name, out, part)
        begun = _read(part)
        kept.update({name: plan for name, plan in (begun.engines if begun else {}).items() if order.fits(begun, name, part)})
        plans = _build_missing(order, kept, part, timing_folder or part, progress)
        for name in plans.engines:
            _copy(name, part, draft)
        if (onnx / FIXTURES).is_file():  # what `masklet-build selftest` asks the plans
            shutil.copyfile(onnx / FIXTURES, draft / FIXTURES)
        plans.write(draft)
    shutil.rmtree(part)
    return plans


@dataclass(frozen=True)
class _Order:
    """What is wanted."""

    variant: Variant
    onnx: Path
    manifest: Manifest
    limits: Limits
    settings: Settings
    compiler: Compiler
    machine: Machine

    def plans(self, built: Mapping[str, Plan], created: str = "") -> Plans:
        """plans.json with these engines."""
        created = created or datetime.now(timezone.utc).isoformat(timespec="seconds")
        graphs = (self.manifest.checkpoint, CONTRACT_VERSION, self.manifest.precision, self.manifest.attention)
        return Plans(self.variant.name, *graphs, self.limits, self.settings, self.machine, dict(built), created)

    @cached_property
    def table(self) -> Mapping[str, tuple[Profile, ...]]:
        """Engine -> its profiles."""
        return profiles(self.variant, self.limits, wide=self.compiler.wide)

    def files(self, engine: str) -> dict[str, str]:
        """File name -> sha256 of an engine's graph, and of its weights where they lie in a second file."""
        return {name: sha256 for name, sha256 in self.manifest.files.items() if name.startswith(f"{engine}.onnx")}

    def differences(self, there: Plans, kept: Mapping[str, Plan]) -> str:
        """What of the plans that are there is not as wanted, in words. `kept`: those that are."""
        was, now = _orders(there), _orders(self.plans({}))
        found = [f"{key} {was[key]}, now {now[key]}" for key in now if was[key] != now[key]]
        others = [name for name in self.table if name not in kept]
        return "; ".join(found) or f"changed files, or made of other ONNX files: {', '.join(others)}"

    def fits(self, plans: Plans | None, engine: str, folder: Path) -> bool:
        """Whether an engine in `folder` is what would be built, by what it was made of: the same build twice gives different bytes."""
        if plans is None or replace(plans.machine, driver="") != replace(self.machine, driver="") or plans.settings != self.settings:
            return False
        plan = plans.engines[engine]
        return (
            plan.profiles == self.table.get(engine)
            and plan.onnx == self.files(engine)
            and all((folder / f"{engine}{kind}").is_file() for kind in _KINDS)
            and file_sha256(folder / f"{engine}.plan") == plan.sha256
        )


class _Timings:
    """The timing cache file of one TensorRT on one GPU with one driver: what is measured elsewhere is never replayed, since its name differs."""

    def __init__(self, folder: Path, machine: Machine) -> None:
        name = f"{machine.compiler}-{machine.version}-{machine.gpu}-{machine.targets[0]}-driver-{machine.driver}"
        self._path = folder / f"{''.join(letter if letter.isalnum() or letter in '.-' else '_' for letter in name)}.timings"

    def read(self) -> bytes:
        return self._path.read_bytes() if self._path.exists() else b""

    def write(self, timings: bytes) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        draft = self._path.with_name(f"{self._path.name}.draft")
        draft.write_bytes(timings)
        draft.replace(self._path)


def _orders(plans: Plans) -> dict[str, str]:
    """What plans were built of, for and how: name -> words."""
    parts = {**vars(plans.machine), **vars(plans.limits), **vars(plans.settings)}
    graphs = {key: getattr(plans, key) for key in ("variant", "contract_version", "precision", "attention")}
    words = {key: ", ".join(value) if isinstance(value, tuple) else str(value) for key, value in {**graphs, **parts}.items()}
    return {**words, "checkpoint": " ".join(map(str, plans.checkpoint.values()))}


def _manifest(onnx: Path, variant: Variant) -> Manifest:
    try:
        manifest = Manifest.checked(onnx, variant.name)
    except ManifestError as error:
        raise BuildError(str(error)) from error
    if manifest.purpose == "torch":
        raise BuildError(f"{onnx} holds PyTorch programs, of which no plans are made. ONNX: masklet-build export {variant.name} --for tensorrt ...")
    return manifest


def _read(folder: Path) -> Plans | None:
    with suppress(PlansError):
        return Plans.read(folder)
    return None


def _copy(engine: str, source: Path, to: Path) -> None:
    _remove(engine, to)
    for kind in (*_KINDS, *([_LAYERS] if (source / f"{engine}{_LAYERS}").exists() else [])):
        shutil.copyfile(source / f"{engine}{kind}", to / f"{engine}{kind}")


def _remove(engine: str, folder: Path) -> None:
    """An engine's files, which may be of a build that was stopped, by another compiler."""
    for kind in (*_KINDS, _LAYERS):
        (folder / f"{engine}{kind}").unlink(missing_ok=True)


def _build_missing(order: _Order, kept: Mapping[str, Plan], part: Path, timing_folder: Path, progress: Callable[[str], None]) -> Plans:
    """Builds what is not kept; plans.json in `part` lists what is finished at any time."""
    timings = _Timings(timing_folder, order.machine)
    plans = order.plans(kept)
    for model in engines(order.variant):
        if model.name in kept:
            progress(f"{model.name} is up to date")
            continue
        plan = _build(order, model, timings, part, progress)
        plans = replace(plans, engines={**plans.engines, model.name: plan})
        plans.write(part)
    return replace(plans, engines={model.name: plans.engines[model.name] for model in engines(order.variant)})


def _build(order: _Order, model: Model, timings: _Timings, part: Path, progress: Callable[[str], None]) -> Plan:
    table = order.table[model.name]
    progress(f"building {model.name}: {len(table)} profile{'s' * (len(table) > 1)}")
    _remove(model.name, part)
    onnx, log_file = order.onnx / f"{model.name}.onnx", part / f"{model.name}.log"
    built = build(order.compiler, model, order.variant, onnx, table, order.settings, timings.read(), log_file)
    if built.timings:
        timings.write(built.timings)
    (part / f"{model.name}.plan").write_bytes(built.plan)
    if built.layers_json:
        (part / f"{model.name}{_LAYERS}").write_text(built.layers_json, encoding="utf-8")
    return Plan(
        sha256=file_sha256(part / f"{model.name}.plan"),
        onnx=order.files(model.name),
        profiles=table,
        build_seconds=round(built.seconds, 1),
        memory=built.memory,
        softmax_nodes=built.softmax_nodes,
        kernels=built.kernels,
        warnings=built.warnings,
    )
