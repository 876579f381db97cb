"""Tables and the plot of `benchmarks.skipping`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from benchmarks.report import table

_BLUE, _RED, _GREY = "#0072b2", "#d55e00", "#767676"  # Okabe and Ito: told apart with a colour vision deficiency
_LEFT, _TOP, _WIDE, _HIGH, _PANEL = 50, 60, 320, 220, 430  # pixels: of a panel's axes, and from one panel to the next
_TICKS = 5
_Line = tuple[str, str, Sequence[Mapping[str, float]]]  # name, colour, values
_LIVE = (
    *("camera", "server", "server : camera", "tracked", "age, ms", "own frame", "**now**", "its J", "slow", "fast"),
    *("queue: age, ms", "own frame", "**now**", "follow - queue"),
)


def lines(found: Mapping[str, Any]) -> list[str]:
    """The report."""
    pixels, sizes = found["pixels_per_frame"], found["sizes_per_second"]
    return [
        "# What skipping frames does to masks",
        "",
        f"`nano` on {found['clips']} drawn test clips of {found['frames']} frames, {found['side']} x {found['side']}, {found['objects']} objects, "
        "one click each on the first frame. J&F unless another measure is named; mean ± standard error over objects, those of a clip being one draw. "
        f"Taken as {found['rate']} frames/s, an object moves {pixels[1]:.1f} pixels a frame ({pixels[0]:.1f} to {pixels[2]:.1f} for 80 % of them), "
        f"which is {found['rate'] * pixels[1]:.0f} pixels or {sizes[1]:.1f} of its own size a second ({sizes[0]:.1f} to {sizes[2]:.1f}; size: root "
        f"of the area). Here the server took {1000 * found['frame_s']:.0f} ms for a frame with one object, one at a time; other work was going on.",
        "",
        "![J&F when frames are skipped](skipping.svg)",
        "",
        "## Every k-th frame",
        "",
        "Within a row all are compared on the same frames: every k-th one, without that with the click. *All*: every frame was tracked. *Jumping*: "
        "`frame_index` is the number of the frame, as `follow` sends it. *Counted*: indices without gaps, so that memories seem newer than they are.",
        "",
        *table(["k", "all", "jumping", "its J", "its F", "counted", "jumping - all", "jumping - counted"], map(_step, found["steps"])),
        "## The newest answer against now",
        "",
        f"At each of the {found['rate']} frames of the clip a second, what is shown (the newest answer that is there) is compared with the truth "
        "of that moment. Cameras see a part of these frames. Servers are simulated, with frame times that vary by a tenth either way and 2 ms of "
        "transport each way; `follow` is the client's own flow control, *queue* sends every frame of the camera and waits. Masks are those that "
        "the real server gives for the frames that each gets to. *Own frame*: the same answers beside the truth of the frames they are for, so "
        "what is lost from there to *now* is lateness alone. *Slow*, *fast*: halves of the objects, by own sizes per second. The queue's age grows "
        f"for as long as the camera runs, here {found['frames'] / found['rate']:.1f} s; its own frames are early ones, near the click and easy.",
        "",
        *table(_LIVE, map(_live, found["live"])),
        "Perfect masks, shown so many frames late: what no tracker that does not foresee can beat.",
        "",
        *table([f"frames late ({found['rate']}/s)", "now", "slow", "fast"], map(_late, found["late"])),
    ]


def _shown(one: Mapping[str, float], sign: str = "") -> str:
    return f"{one['mean']:{sign}.3f} ± {one['error']:.3f}"


def _step(one: Mapping[str, Any]) -> Sequence[object]:
    kept, differences = one["jumping"], (_shown(one[name], "+") if one["step"] > 1 else "" for name in ("lost", "gain"))
    return one["step"], _shown(one["all"]), _shown(kept), f"{kept['J']:.3f}", f"{kept['F']:.3f}", _shown(one["counted"]), *differences


def _live(one: Mapping[str, Any]) -> Sequence[object]:
    follow, queue = one["follow"], one["queue"]
    now = follow["now"]
    return (
        one["camera"],
        one["server"],
        Fraction(one["server"], one["camera"]),
        f"{follow['share']:.0%}",
        f"{1000 * follow['age']:.0f}",
        f"{follow['own']['mean']:.3f}",
        _shown(now),
        f"{now['J']:.3f}",
        *(f"{now[half]:.3f}" for half in ("slow", "fast")),
        f"{1000 * queue['age']:.0f}",
        f"{queue['own']['mean']:.3f}",
        _shown(queue["now"]),
        _shown(one["gain"], "+"),
    )


def _late(one: Mapping[str, Any]) -> Sequence[object]:
    return one["frames"], _shown(one), f"{one['slow']:.3f}", f"{one['fast']:.3f}"


def plot(found: Mapping[str, Any]) -> str:
    """SVG: every k-th frame, and the newest answer against now for the fastest camera."""
    steps, rate = found["steps"], max(one["camera"] for one in found["live"])
    live = [one for one in found["live"] if one["camera"] == rate]
    left = _panel(
        0,
        "J&amp;F of every k-th frame with indices that jump",
        "k",
        [str(one["step"]) for one in steps],
        (-0.04, 0.04),
        [
            ("less that of the same frames where all were tracked", _BLUE, [one["lost"] for one in steps]),
            ("less that with indices counted on", _RED, [one["gain"] for one in steps]),
        ],
    )
    right = _panel(
        _PANEL,
        f"The newest answer against now, camera {rate}/s",
        "frames/s of the server",
        [str(one["server"]) for one in live],
        (0.0, 1.0),
        [
            ("follow, against its own frame", _GREY, [one["follow"]["own"] for one in live]),
            ("follow", _BLUE, [one["follow"]["now"] for one in live]),
            ("every frame, queued", _RED, [one["queue"]["now"] for one in live]),
        ],
    )
    width, height = _PANEL + _LEFT + _WIDE + 20, _TOP + _HIGH + 100
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">'
        "<style>text { font-family: system-ui, sans-serif; font-size: 13px }</style>"
        f'<rect width="100%" height="100%" fill="#fff"/>{left}{right}</svg>\n'
    )


def _panel(at: int, title: str, axis: str, names: Sequence[str], ends: tuple[float, float], drawn: Sequence[_Line]) -> str:
    """Lines with bars of one standard error, side by side so that they do not hide each other; their names below. `ends`: of the vertical axis."""
    first, places = at + _LEFT, [at + _LEFT + _WIDE * (index + 0.5) / len(names) for index in range(len(names))]

    def y(value: float) -> float:
        return _TOP + _HIGH * (ends[1] - value) / (ends[1] - ends[0])

    parts = [f'<text x="{first}" y="{_TOP - 30}" font-weight="600">{title}</text>']
    bottom = _TOP + _HIGH
    for tick in range(_TICKS):
        value = ends[0] + (ends[1] - ends[0]) * tick / (_TICKS - 1)
        parts.append(f'<line x1="{first}" x2="{first + _WIDE}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{first - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.2f}</text>')
    parts += [f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{name}</text>' for x, name in zip(places, names, strict=True)]
    parts.append(f'<text x="{first + _WIDE / 2}" y="{bottom + 36}" text-anchor="middle">{axis}</text>')
    for number, (name, colour, values) in enumerate(drawn):
        points = [(x + 5 * (number - 1), one["mean"], one["error"]) for x, one in zip(places, values, strict=True)]
        parts.append(
            f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{" ".join(f"{x:.1f},{y(mean):.1f}" for x, mean, _ in points)}"/>'
        )
        for x, mean, error in points:
            parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y(mean - error):.1f}" y2="{y(mean + error):.1f}" stroke="{colour}"/>')
            parts.append(f'<circle cx="{x:.1f}" cy="{y(mean):.1f}" r="3" fill="{colour}"/>')
        row = bottom + 58 + 18 * number
        parts.append(f'<line x1="{first}" x2="{first + 24}" y1="{row - 4}" y2="{row - 4}" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{first + 30}" y="{row}">{name}</text>')
    return "".join(parts)
