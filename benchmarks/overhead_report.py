"""Where a frame's time goes: taken apart, summed up, written as tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.bare import ENGINES
from benchmarks.null_repository import CALLS
from benchmarks.report import median, origin, spread, with_quartiles

Row = dict[str, float]

STEPS = ("preprocess", "image_encoder", "memory_bank", "postprocess")  # of the ensemble
CALLED = ENGINES[1:]  # by memory_bank, in its own process
COLUMNS = {
    "work": "engine, decoding, resizing, mask coding",
    "queue": "waiting",
    "copies": "copies in and out",
    "bank": "the bank's own",
    "hops": "hops",
}
HOPS = {  # name -> the two models whose times are subtracted, and how many hops lie between them
    "gRPC to Triton and one python model": ("small", None, 1),
    "an ensemble around it": ("chain_small_1", "small", 1),
    "a further model in an ensemble": (f"chain_small_{1 + CALLS}", "chain_small_1", CALLS),
    "a further model in an ensemble, with a frame's features": (f"chain_features_{CALLS}", "chain_features_0", CALLS),
    "a model of sequences in place of a stateless one": ("stateful", "small", 1),
    "a model called by a model": ("caller", "small", CALLS),
    "a model called by a model, with a frame's features": ("features_caller", "small", CALLS),
    "three models called one after the other, with a frame's features": ("three_caller", "small", 1),
    "the same three as an ensemble that is called": ("ensemble_caller", "small", 1),
}


@dataclass(frozen=True)
class Passed:
    """Means over the frames of one block, in milliseconds.

    frame      from the client's call to its answer
    decoding   what of that the client takes to decode the mask
    timing     what the server says of it, by stage (`masklet.contract.TIMING_FIELDS`)
    models     what Triton says: model -> phase (`triton_times.PHASES`) -> time
    """

    frame: float
    decoding: float
    timing: Mapping[str, float]
    models: Mapping[str, Mapping[str, float]]


def taken_apart(real: Passed, null: Passed) -> dict[str, Row]:
    """A frame's time by place and by column of COLUMNS; the cells add up to it.

    real, null: of the real server and of the one whose models compute nothing. What image_encoder takes there is not the engine: a message to its
    process and back, and the copy of its outputs. The other engines run in memory_bank, which clocks them.
    """
    models, timing = real.models, real.timing
    whole = {name: models[name]["success"] for name in STEPS}
    rows = {
        "client and gRPC": {"work": real.decoding, "hops": real.frame - real.decoding - models["tracker"]["success"]},
        "ensemble": {"hops": models["tracker"]["success"] - sum(whole.values())},
    }
    for name in ("preprocess", "postprocess"):
        rows[name] = _row(models[name], whole[name], work=timing[name])
    encoder = models["image_encoder"]["compute_infer"] - null.models["image_encoder"]["compute_infer"]
    rows["image_encoder"] = _row(models["image_encoder"], whole["image_encoder"], work=encoder)
    rows |= {name: {"work": timing[name]} for name in CALLED}
    calls = sum(timing[name] for name in CALLED)
    rows["memory_bank"] = _row(models["memory_bank"], whole["memory_bank"] - calls, bank=timing["memory_bank"])
    return rows


def _row(model: Mapping[str, float], whole: float, **known: float) -> Row:
    """What Triton says of waiting and copies, what is known besides, and the rest of `whole` as hops."""
    row = {**known, "queue": model["queue"], "copies": model["compute_input"] + model["compute_output"]}
    return {**row, "hops": whole - sum(row.values())}


def hops_and_copies(rows: Mapping[str, Row]) -> float:
    """All but engines, decoding, resizing and mask coding."""
    return sum(value for row in rows.values() for name, value in row.items() if name != "work")


@dataclass
class Case:
    """One variant and precision; lists have a value per round.

    real, null  frames through the real server and through the one that computes nothing
    separate    milliseconds of a frame through a server whose engines are models of their own
    bare        milliseconds of the engines alone, in one process
    chains      model of the null repository -> milliseconds of a request
    """

    variant: str
    precision: str
    frames: str
    real: list[Passed] = field(default_factory=list)
    null: list[Passed] = field(default_factory=list)
    separate: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)
    chains: dict[str, list[float]] = field(default_factory=dict)

    def summary(self) -> dict[str, Any]:
        """Medians over rounds, with quartiles where it matters."""
        rounds = [taken_apart(real, null) for real, null in zip(self.real, self.null, strict=True)]
        lost = [hops_and_copies(rows) for rows in rounds]
        return {
            "variant": self.variant,
            "precision": self.precision,
            "frames": self.frames,
            "frame_ms": spread([real.frame for real in self.real]),
            "hops_and_copies_ms": spread(lost),
            "hops_and_copies_percent": spread([100 * part / real.frame for part, real in zip(lost, self.real, strict=True)]),
            "engines_in_server_ms": spread([sum(rows[name]["work"] for name in ENGINES) for rows in rounds]),
            "engines_alone_ms": spread(self.bare),
            "separate_ms": spread([separate - real.frame for separate, real in zip(self.separate, self.real, strict=True)]),
            "null_frame_ms": spread([null.frame for null in self.null]),
            "place_ms": {name: {key: median([rows[name][key] for rows in rounds]) for key in rounds[0][name]} for name in rounds[0]},
            "hop_ms": {name: spread(values) for name, values in self._hops().items()},
        }

    def _hops(self) -> dict[str, list[float]]:
        found = {}
        for name, (longer, shorter, count) in HOPS.items():
            less = self.chains[shorter] if shorter else [0.0] * len(self.chains[longer])
            found[name] = [(one - other) / count for one, other in zip(self.chains[longer], less, strict=True)]
        return found


def markdown(content: dict[str, Any]) -> str:
    """The tables of a run, and where they come from."""
    lines = [
        "# What the server adds to its engines",
        "",
        "One video of one object late in its life, one frame on its way, milliseconds: median and quartiles over rounds. Hops and copies are all but",
        "engines, decoding, resizing and mask coding. `benchmarks/README.md` says how to read them.",
        "",
        "| variant | precision | frames | a frame | hops and copies | % of the frame | engines in it | engines alone | frame of null models "
        "| more with separate engines |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(_summary_row(case) for case in content["cases"]),
        "",
        *(line for case in content["cases"] for line in (*_place_table(case), *_hop_table(case))),
        *origin(content),
    ]
    return "\n".join(lines) + "\n"


def _summary_row(case: dict[str, Any]) -> str:
    names = ("frame_ms", "hops_and_copies_ms", "hops_and_copies_percent", "engines_in_server_ms", "engines_alone_ms", "null_frame_ms", "separate_ms")
    cells = " | ".join(with_quartiles(case[name], 1) for name in names)
    return f"| {case['variant']} | {case['precision']} | {case['frames']} | {cells} |"


def _place_table(case: dict[str, Any]) -> list[str]:
    """Where a frame's time goes."""
    rows = case["place_ms"]
    sums = {key: sum(row.get(key, 0.0) for row in rows.values()) for key in COLUMNS}
    return [
        f"Where a frame's time goes, {case['variant']}, {case['precision']}, {case['frames']} (medians, so sums are rough):",
        "",
        "| | " + " | ".join(COLUMNS.values()) + " |",
        "|---|" + "---|" * len(COLUMNS),
        *(f"| {name} | " + " | ".join(f"{row[key]:.2f}" if key in row else "" for key in COLUMNS) + " |" for name, row in rows.items()),
        "| all | " + " | ".join(f"{value:.2f}" for value in sums.values()) + " |",
        "",
    ]


def _hop_table(case: dict[str, Any]) -> list[str]:
    """What a hop costs where models compute nothing."""
    return [
        f"Hops of models that compute nothing; features as those of {case['variant']}:",
        "",
        "| | ms |",
        "|---|---|",
        *(f"| {name} | {with_quartiles(values, 2)} |" for name, values in case["hop_ms"].items()),
        "",
    ]
