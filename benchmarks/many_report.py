"""The figures of a run over many videos: collected, summed up, written as a table and drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.report import allowed, median, origin, products, spread, with_quartiles

WAYS = {"batched": "server", "limit_1": "server, engine batch limit 1", "eager": "eager PyTorch"}
SERVERS = ("batched", "limit_1")


@dataclass(frozen=True)
class Work:
    """What a server did in one block: frames answered, executions of each model and calls of each engine, CPU seconds of each process."""

    frames: int
    executions: Mapping[str, int]
    cpu_s: Mapping[str, float]


@dataclass
class Scale:
    """One number of videos, of so many objects each.

    fps   frames per second of all videos together, by way, one value per round
    work  of the two servers, one per round
    idle  CPUs that the servers used while it was not their turn, one value per block
    """

    videos: int
    objects: int
    fps: dict[str, list[float]] = field(default_factory=lambda: {way: [] for way in WAYS})
    work: dict[str, list[Work]] = field(default_factory=lambda: {way: [] for way in SERVERS})
    idle: list[float] = field(default_factory=list)

    def line(self) -> str:
        """The medians so far, for people who wait."""
        return ", ".join(f"{name} {median(self.fps[way]):.1f}/s" for way, name in WAYS.items())

    def summary(self) -> dict[str, Any]:
        """Medians with quartiles; ratios are those of each round."""
        return {
            "videos": self.videos,
            "objects": self.objects,
            "fps": {way: spread(values) for way, values in self.fps.items()},
            "times_limit_1": spread(ratios(self.fps["batched"], self.fps["limit_1"])),
            "times_eager": spread(ratios(self.fps["batched"], self.fps["eager"])),
            "frames_per_call": {way: self._per_call(way, "image_encoder", 1) for way in SERVERS},
            "objects_per_call": {way: self._per_call(way, "memory_attention", self.objects) for way in SERVERS},
            "cpu_ms_per_frame": {way: self._cpu_ms(way) for way in SERVERS},
            "idle_cpus": median(self.idle),
        }

    def _per_call(self, way: str, model: str, rows: int) -> float:
        """How much a call of an engine computes: frames, or objects where a frame has `rows`."""
        return rows * self._frames(way) / sum(work.executions[model] for work in self.work[way])

    def _cpu_ms(self, way: str) -> dict[str, float]:
        names = self.work[way][0].cpu_s
        return {name: 1000 * sum(work.cpu_s[name] for work in self.work[way]) / self._frames(way) for name in names}

    def _frames(self, way: str) -> int:
        return sum(work.frames for work in self.work[way])


def ratios(some: Sequence[float], others: Sequence[float]) -> list[float]:
    """Of each round: faster and slower minutes of a machine touch both."""
    return [one / other for one, other in zip(some, others, strict=True)]


@dataclass
class Lengths:
    """Milliseconds of frame 1, 2, ... of one video of one object, which is clicked on frame 0: a list per round.

    attention: the server's memory attention alone, which is what grows.
    """

    server: list[list[float]] = field(default_factory=list)
    attention: list[list[float]] = field(default_factory=list)
    eager: list[list[float]] = field(default_factory=list)

    def summary(self) -> dict[str, list[float]]:
        """Medians over the rounds, by frame."""
        return {name: [median(list(frame)) for frame in zip(*rounds, strict=True)] for name, rounds in vars(self).items()}


def alone(rounds: Mapping[int, Sequence[Mapping[str, float]]]) -> list[dict[str, Any]]:
    """The engines alone. rounds: batch -> milliseconds of a call of each engine, one per round. Gives them per frame, and the gain over batch 1."""
    totals = {batch: [sum(call.values()) / batch for call in calls] for batch, calls in rounds.items()}
    return [
        {
            "batch": batch,
            "engine_ms": {name: median([call[name] / batch for call in calls]) for name in calls[0]},
            "total_ms": median(totals[batch]),
            "gain": spread(ratios(totals[1], totals[batch])),
        }
        for batch, calls in rounds.items()
    ]


def markdown(content: dict[str, Any]) -> str:
    """The tables of a run, and where they come from."""
    scales, most = content["scales"], max(scale["videos"] for scale in content["scales"])
    lines = [
        f"# Many videos on one server: {content['variant']}, {content['precision']}",
        "",
        f"Frames per second of all videos together, {content['frames']}, {content['in_flight']} of each video on their way: median and quartiles",
        "over rounds. Ratios are those of each round. Per call: of the server's image encoder, and of its memory attention.",
        "`benchmarks/README.md` says how to read them.",
        "",
        "| videos | objects | server | limit 1 | eager PyTorch | server / limit 1 | server / eager | frames per call | objects per call |",
        "|---|---|---|---|---|---|---|---|---|",
        *(_row(scale) for scale in scales),
        "",
        f"The servers whose turn it was not used {max(scale['idle_cpus'] for scale in scales):.3f} CPUs at most (median of the blocks).",
        "",
        *(line for scale in scales if scale["videos"] == most for line in _cpu_table(scale, content["threads"])),
        "What batching can give: the engines alone, called one after the other in one process, one object a video; milliseconds per frame.",
        "",
        *_alone_table(content["engines_alone"]),
        "",
        products(content["matrix_product_gflops"]) + f" At this speed the products of the engines alone would allow, with {most} videos:",
        "",
        *(f"* {_allowed(scale, content)}" for scale in scales if scale["videos"] == most),
        "",
        "How a frame's time grows with what is remembered: one video of one object, one frame on its way, milliseconds by frame number.",
        "",
        "| frame | server | of that memory attention | eager PyTorch | eager / server |",
        "|---|---|---|---|---|",
        *_length_rows(content["memory_length_ms"]),
        "",
        *origin(content),
    ]
    return "\n".join(lines) + "\n"


def _allowed(scale: dict[str, Any], content: dict[str, Any]) -> str:
    gflop, peak = content["gflop"][str(scale["objects"])], content["matrix_product_gflops"][f"openvino {content['precision']}"]
    return allowed(gflop, peak, scale["objects"], scale["fps"]["batched"]["median"], scale["fps"]["eager"]["median"])


def _row(scale: dict[str, Any]) -> str:
    cells = [with_quartiles(scale["fps"][way], 1) for way in WAYS]
    cells += [with_quartiles(scale[name], 2) for name in ("times_limit_1", "times_eager")]
    cells += [f"{scale[name]['batched']:.1f}" for name in ("frames_per_call", "objects_per_call")]
    return f"| {scale['videos']} | {scale['objects']} | " + " | ".join(cells) + " |"


def _cpu_table(scale: dict[str, Any], threads: int) -> list[str]:
    """Where the CPUs' time goes, process by process."""
    spent = scale["cpu_ms_per_frame"]
    sums = {way: sum(spent[way].values()) for way in SERVERS}
    shares = {way: sums[way] * scale["fps"][way]["median"] / 10 / threads for way in SERVERS}
    return [
        f"CPU milliseconds per frame of each process, {scale['videos']} videos of {scale['objects']} object(s):",
        "",
        "| process | " + " | ".join(WAYS[way] for way in SERVERS) + " |",
        "|---|---|---|",
        *(f"| {name} | " + " | ".join(f"{spent[way][name]:.2f}" for way in SERVERS) + " |" for name in spent["batched"]),
        "| all | " + " | ".join(f"{sums[way]:.2f}" for way in SERVERS) + " |",
        "| of the time that the CPUs have | " + " | ".join(f"{shares[way]:.0f} %" for way in SERVERS) + " |",
        "",
    ]


def _alone_table(rows: list[dict[str, Any]]) -> list[str]:
    names = list(rows[0]["engine_ms"])
    return [
        "| batch | " + " | ".join(names) + " | all | batch 1 / this |",
        "|---|" + "---|" * (len(names) + 2),
        *(
            f"| {row['batch']} | "
            + " | ".join(f"{row['engine_ms'][name]:.2f}" for name in names)
            + f" | {row['total_ms']:.2f} | {with_quartiles(row['gain'], 2)} |"
            for row in rows
        ),
    ]


def _length_rows(lengths: dict[str, list[float]]) -> list[str]:
    rows = zip(lengths["server"], lengths["attention"], lengths["eager"], strict=True)
    return [f"| {n} | {server:.1f} | {attention:.1f} | {eager:.1f} | {eager / server:.2f} |" for n, (server, attention, eager) in enumerate(rows, 1)]


def draw(content: dict[str, Any], file: Path) -> None:
    """Frames per second over videos, a panel per number of objects, and the time of a frame over its number. Writes `file` as SVG."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    counts = sorted({scale["objects"] for scale in content["scales"]})
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "masklet"}):  # text as text, and the same file for the same numbers
        figure = Figure(figsize=(4.5 * (len(counts) + 1), 4), layout="constrained")
        *panels, last = figure.subplots(1, len(counts) + 1)
        for axes, objects in zip(panels, counts, strict=True):
            _draw_scales(axes, [scale for scale in content["scales"] if scale["objects"] == objects])
            axes.set(
                title=f"{content['variant']}, {content['precision']}, {objects} object(s) a video",
                xlabel="videos",
                ylabel="frames/s, all videos",
                ylim=(0, None),
            )
        for name, label in (("server", WAYS["batched"]), ("attention", "of that memory attention"), ("eager", WAYS["eager"])):
            times = content["memory_length_ms"][name]
            last.plot(range(1, len(times) + 1), times, label=label)
        last.set(title="one video, one object", xlabel="frame", ylabel="ms", ylim=(0, None))
        for axes in (*panels, last):
            axes.grid(alpha=0.3)
            axes.legend()
        figure.savefig(file, format="svg", metadata={"Date": None})


def _draw_scales(axes: Any, scales: list[dict[str, Any]]) -> None:
    """A line per way, from quartile to quartile at each point."""
    videos = [scale["videos"] for scale in scales]
    for way, label in WAYS.items():
        values = [scale["fps"][way] for scale in scales]
        middle = [value["median"] for value in values]
        below = [value["median"] - value["quartile_1"] for value in values]
        above = [value["quartile_3"] - value["median"] for value in values]
        axes.errorbar(videos, middle, (below, above), label=label, marker="o", markersize=3, capsize=2)
    axes.set_xscale("log", base=2)
    axes.set_xticks(videos, [str(count) for count in videos])
