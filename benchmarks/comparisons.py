"""Server beside PyTorch: the figures of `speed` and `many_videos`, summed up and as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.floor import ENGINES
from benchmarks.report import median, ratios, spread, table, with_quartiles
from masklet.contract import TIMING_FIELDS

SERVERS = ("server", "limit 1")  # of `many_videos`


@dataclass
class Result:
    """One precision and number of objects; milliseconds.

    ways    way -> round -> frames
    bare    round -> calls, by engine
    timing  of every frame, what the server says that it spent, by stage (`masklet.contract.TIMING_FIELDS`)
    hops    of every round, the mean of what a frame takes besides: Triton, messages between processes, copies, the bank, gRPC and the client
    kept    bytes that a way holds more with every frame
    """

    precision: str
    objects: int
    ways: dict[str, list[list[float]]]
    bare: list[list[dict[str, float]]] = field(default_factory=list)
    timing: list[dict[str, float]] = field(default_factory=list)
    hops: list[float] = field(default_factory=list)
    kept: dict[str, float] = field(default_factory=dict)

    @property
    def fastest(self) -> str:
        """The fastest way that PyTorch has here."""
        return min((way for way in self.ways if way != "server"), key=lambda way: median(self._rounds(way)))

    def _rounds(self, way: str) -> list[float]:
        return [median(frames) for frames in self.ways[way]]

    def summary(self) -> dict[str, Any]:
        """Medians with quartiles, and the ratios of each round."""
        alone = [median([sum(call.values()) for call in calls]) for calls in self.bare]
        server = self._rounds("server")
        calls = [call for block in self.bare for call in block]
        return {
            "precision": self.precision,
            "objects": self.objects,
            "ms": {way: spread([ms for frames in rounds for ms in frames]) for way, rounds in self.ways.items()},
            "engines_ms": spread([sum(call.values()) for call in calls]),
            "fastest": self.fastest,
            "times_faster": spread(ratios(self._rounds(self.fastest), server)),
            "times_the_engines": spread(ratios(server, alone)),
            "engine_ms": {name: median([call[name] for call in calls]) for name in ENGINES},
            "timing_ms": {name: median([frame[name] for frame in self.timing]) for name in TIMING_FIELDS},
            "hops_ms": spread(self.hops),
            "kept_bytes_per_frame": self.kept,
        }


def speed_tables(content: Mapping[str, Any]) -> list[str]:
    """The tables of a run."""
    results, ways = content["results"], list(content["results"][0]["ms"])
    kept = [
        f"With every frame {name} holds {size / 1e6:.1f} MB more ({result['precision']})."
        for result in results
        for name, size in result["kept_bytes_per_frame"].items()
        if size > 0
    ]
    return [
        f"# Speed of {content['variant']} on a CPU",
        "",
        f"Milliseconds per frame of {content['frames']} late in a video (7 memories and 16 pointers per object), until its masks are there at",
        "that size: median and quartiles; a line has one precision. Ratios are those of each round. `benchmarks/README.md` says how to read them.",
        "",
        *table(["precision", "objects", *ways, "engines alone", "fastest of PyTorch / server", "server / engines"], map(_speed_row, results)),
        *([*kept, ""] if kept else []),
        "Where the time goes: what the server says (TIMING); in brackets the engine alone, and how much of that its products would need at the speed",
        "of a large one. Hops: Triton, messages between processes, copies, the bank, gRPC and client: all but engines, decoding, resizing and masks.",
        "",
        *table(["precision", "objects", *TIMING_FIELDS, "hops"], (_breakdown(result, content) for result in results)),
        f"A matrix product of 2048 x 2048 in the same run, GFLOP/s: {', '.join(f'{name} {value:.0f}' for name, value in content['peaks'].items())}.",
        "",
    ]


def _speed_row(result: dict[str, Any]) -> list[object]:
    ratio = f"{with_quartiles(result['times_faster'], 2)}, {result['fastest']}"
    times = [with_quartiles(values, 0 if values["median"] > 100 else 1) for values in (*result["ms"].values(), result["engines_ms"])]
    return [result["precision"], result["objects"], *times, ratio, with_quartiles(result["times_the_engines"], 2)]


def _breakdown(result: dict[str, Any], content: Mapping[str, Any]) -> list[object]:
    peak, gflop = content["peaks"][f"openvino {result['precision']}"], content["gflop"][str(result["objects"])]
    cells = []
    for name, spent in result["timing_ms"].items():
        alone = result["engine_ms"].get(name)
        cells.append(f"{spent:.1f}" + (f" ({alone:.1f}, {100 * 1000 * gflop[name] / peak / alone:.0f} %)" if alone else ""))
    return [result["precision"], result["objects"], *cells, with_quartiles(result["hops_ms"], 1)]


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
    fps: dict[str, list[float]]
    work: dict[str, list[Work]] = field(default_factory=lambda: {way: [] for way in SERVERS})
    idle: list[float] = field(default_factory=list)

    def line(self) -> str:
        """The medians so far, for people who wait."""
        return ", ".join(f"{way} {median(values):.1f}/s" for way, values in self.fps.items())

    def summary(self) -> dict[str, Any]:
        """Medians with quartiles; ratios are those of each round."""
        fastest = max((way for way in self.fps if way not in SERVERS), key=lambda way: median(self.fps[way]))
        return {
            "videos": self.videos,
            "objects": self.objects,
            "fps": {way: spread(values) for way, values in self.fps.items()},
            "times_limit_1": spread(ratios(self.fps["server"], self.fps["limit 1"])),
            "fastest": fastest,
            "times_fastest": spread(ratios(self.fps["server"], self.fps[fastest])),
            "frames_per_call": self._per_call("image_encoder", 1),
            "objects_per_call": self._per_call("memory_attention", self.objects),
            "cpu_ms_per_frame": {way: self._cpu_ms(way) for way in SERVERS},
            "idle_cpus": median(self.idle),
        }

    def _per_call(self, model: str, rows: int) -> float:
        """How much a call of an engine of the server computes: frames, or objects where a frame has `rows`."""
        return rows * self._frames("server") / sum(work.executions[model] for work in self.work["server"])

    def _cpu_ms(self, way: str) -> dict[str, float]:
        names = self.work[way][0].cpu_s
        return {name: 1000 * sum(work.cpu_s[name] for work in self.work[way]) / self._frames(way) for name in names}

    def _frames(self, way: str) -> int:
        return sum(work.frames for work in self.work[way])


def many_videos_tables(content: Mapping[str, Any]) -> list[str]:
    """The tables of a run."""
    scales, most = content["scales"], max(scale["videos"] for scale in content["scales"])
    ways = list(scales[0]["fps"])
    return [
        f"# Many videos on one server: {content['variant']}, {content['precision']}",
        "",
        f"Frames per second of all videos together, {content['frames']}, {content['in_flight']} of each video on their way: median and quartiles",
        "over rounds; everything in one precision. Ratios are those of each round. PyTorch goes from video to video, and itself changes with their",
        "number: the last ratio is to the best that it reaches with any number of them. `benchmarks/README.md` says how to read them.",
        "",
        *table(
            ["videos", "objects", *ways, "server / limit 1", "server / fastest of PyTorch", "/ its best", "frames per call", "objects per call"],
            (_scale_row(scale, scales) for scale in scales),
        ),
        f"The servers whose turn it was not used {max(scale['idle_cpus'] for scale in scales):.3f} CPUs at most (median of the blocks).",
        "",
        *(line for scale in scales if scale["videos"] == most for line in _cpu_table(scale, content)),
    ]


def _scale_row(scale: dict[str, Any], scales: Sequence[dict[str, Any]]) -> list[object]:
    best = max(other["fps"][way]["median"] for other in scales if other["objects"] == scale["objects"] for way in other["fps"] if way not in SERVERS)
    fps = [with_quartiles(values, 1) for values in scale["fps"].values()]
    fastest = f"{with_quartiles(scale['times_fastest'], 2)}, {scale['fastest']}"
    calls = [f"{scale[name]:.1f}" for name in ("frames_per_call", "objects_per_call")]
    return [
        scale["videos"],
        scale["objects"],
        *fps,
        with_quartiles(scale["times_limit_1"], 2),
        fastest,
        f"{scale['fps']['server']['median'] / best:.2f}",
        *calls,
    ]


def _cpu_table(scale: dict[str, Any], content: Mapping[str, Any]) -> list[str]:
    """Where the CPUs' time goes, process by process, and how much of it products need at the speed of a large one."""
    spent, threads = scale["cpu_ms_per_frame"], content["threads"]
    sums = {way: sum(spent[way].values()) for way in SERVERS}
    shares = [f"{sums[way] * scale['fps'][way]['median'] / 10 / threads:.0f} %" for way in SERVERS]
    peak = content["peaks"][f"openvino {content['precision']}"]
    floors = [f"{100 * scale['fps'][way]['median'] * content['gflop'][str(scale['objects'])] / peak:.0f} %" for way in SERVERS]
    return [
        f"CPU milliseconds per frame of each process, {scale['videos']} videos of {scale['objects']} object(s):",
        "",
        *table(
            ["process", *SERVERS],
            [
                *([name, *(f"{spent[way][name]:.2f}" for way in SERVERS)] for name in spent["server"]),
                ["all", *(f"{sums[way]:.2f}" for way in SERVERS)],
                ["of the time that the CPUs have", *shares],
                [f"products alone, at {peak:.0f} GFLOP/s", *floors],
            ],
        ),
    ]
