"""explain.html: one page that needs nothing beside it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from masklet_build.explain import drawings, findings, plots
from masklet_build.explain.attention import Doubles
from masklet_build.explain.drawings import Frame, Mask
from masklet_build.explain.evidence import Evidence
from masklet_build.explain.replay import Moment, Replayed

_WIDE, _NARROW = 560, 264  # pixels: width of the picture of the frame, and of those in rows

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #222; max-width: 1130px; margin: 24px auto; padding: 0 16px; }
h1 { margin-bottom: 0; } h2 { margin-top: 36px; border-bottom: 1px solid #ccc; } h3 { margin: 28px 0 6px; }
svg { font: 13px system-ui, sans-serif; display: block; margin: 6px 0 14px; max-width: 100%; height: auto; }
img { display: block; width: 100%; } figure { margin: 0; } figcaption { font-size: 13px; padding: 4px 6px 6px; }
.facts, .note { color: #555; font-size: 13px; margin: 4px 0; }
.warning { background: #fff4dc; border-left: 4px solid #d55e00; padding: 6px 12px; margin: 8px 0; }
.side { display: grid; grid-template-columns: minmax(0, 560px) 1fr; gap: 20px; align-items: start; }
.row { display: grid; grid-template-columns: repeat(4, minmax(0, 1fr)); gap: 12px; }
.row figure { border: 2px solid #ddd; } .row figure.taken { border-color: #e61496; }
.share { height: 6px; margin: 0 0 4px; min-width: 1px; }
.key { display: inline-block; width: 12px; height: 12px; vertical-align: -1px; margin: 0 4px 0 10px; }
.heat { display: inline-block; width: 120px; height: 12px; vertical-align: -1px; margin: 0 6px; }
table { border-collapse: collapse; font-size: 14px; }
td, th { padding: 2px 14px 2px 0; text-align: right; } td:first-child, th:first-child { text-align: left; }
"""


def page(made: findings.Explanation, shown: Sequence[tuple[Moment, Evidence]], replayed: Replayed) -> str:
    """The page; `shown` goes with `made.answers`."""
    parts = [
        f"<h1>Object {made.object_id} on frame {made.frame}</h1>",
        f'<p class="facts">{escape(_facts(made))}</p>',
        *(f'<p class="warning">{escape(text)}</p>' for text in made.warnings),
    ]
    for index, (answer, (moment, evidence)) in enumerate(zip(made.answers, shown, strict=True), 1):
        if len(made.answers) > 1:
            parts.append(f"<h2>Answer {index} of {len(made.answers)}: {answer.kind} (request {answer.request})</h2>")
        parts += _answer(answer, moment, evidence, replayed, made.object_id)
    parts += _over_time(made)
    title, body = f"masklet explain: object {made.object_id}, frame {made.frame}", "\n".join(parts)
    head = f'<head><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style></head>'
    return f'<!doctype html>\n<html lang="en">{head}\n<body>{body}</body></html>\n'


def _facts(made: findings.Explanation) -> str:
    weights = f"{made.weights['file']}, sha256 {made.weights['sha256'][:12]}"
    return f"video {made.video} · {made.variant}, replayed in PyTorch, float32, with {weights} · all numbers: explain.json"


def _answer(answer: findings.Answer, moment: Moment, evidence: Evidence, replayed: Replayed, object_id: int) -> list[str]:
    frame = replayed.picture(moment.recorded.frame_index)
    assert frame is not None
    told = "".join(f"<li>{escape(text)}</li>" for text in answer.told)
    parts = ['<div class="side">', _asked(frame, moment, object_id), f"<div><ul>{told}</ul>{_table(answer)}</div></div>"]
    if answer.attention is not None and evidence.maps is not None:
        parts += _attention(answer.attention, evidence.maps, moment, replayed, object_id)
    if answer.choice is not None and evidence.masks is not None:
        part = drawings.around(np.any(evidence.masks, axis=0))
        parts += ["<h3>Candidate masks</h3>", f'<p class="note">{_CANDIDATES}</p>', '<div class="row">']
        parts += [_candidate(frame[part], one, mask[part]) for one, mask in zip(answer.choice.candidates, evidence.masks, strict=True)] + ["</div>"]
    return parts


_CANDIDATES = (
    "What the decoder made, before an absent object's mask is emptied; the part of the frame around them. Stability: the part of a mask that stays "
    "when the threshold moves a little."
)


def _asked(frame: Frame, moment: Moment, object_id: int) -> str:
    """The frame with the replayed mask, and the recorded one as an outline."""
    assert moment.replayed is not None
    picture = drawings.tinted(drawings.scaled(frame, _WIDE), moment.replayed.mask(object_id), drawings.TAKEN)
    recorded = moment.recorded_mask(object_id)
    if recorded is not None:
        picture = drawings.outlined(picture, recorded)
    keys = _key("#e61496", "replayed mask") + ("" if recorded is None else _key("#fff; border: 1px solid #222", "outline of the recorded one"))
    return _figure(picture, f"frame {moment.recorded.frame_index}{keys}")


def _table(answer: findings.Answer) -> str:
    """Figures as recorded and as replayed."""
    rows = [("presence logit", "presence", ".2f"), ("predicted IoU", "predicted_iou", ".3f"), ("area, pixels", "area", ",")]
    rows.append(("IoU with the frame before", "iou_before", ".3f"))
    cells = [(name, *(_shown(getattr(one, field), form) for one in (answer.recorded, answer.replayed))) for name, field, form in rows]
    cells.append(("IoU of both masks", "", _shown(answer.agreement, ".4f")))
    body = "".join(f"<tr><td>{name}</td><td>{recorded}</td><td>{replayed}</td></tr>" for name, recorded, replayed in cells)
    return f"<table><tr><th></th><th>recorded</th><th>replayed</th></tr>{body}</table>"


def _shown(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _attention(found: findings.Attention, maps: Doubles, moment: Moment, replayed: Replayed, object_id: int) -> list[str]:
    keys = (_key(plots.PROMPTED, "prompted frame"), _key(plots.TRACKED, "tracked frame"), _key(plots.POINTER, "object pointers"))
    rows = [plots.Bar(_name(one), _colour(one), one.share, one.layers, found.even_memory) for one in found.memories]
    of_pointers = [sum(layer) for layer in zip(*(one.layers for one in found.pointers), strict=True)]
    pointers = sum(one.share for one in found.pointers)
    rows.append(plots.Bar(f"{len(found.pointers)} object pointers", plots.POINTER, pointers, of_pointers, found.even_pointer * len(found.pointers)))
    each = [plots.Bar(_name(one), plots.POINTER, one.share, one.layers, found.even_pointer) for one in found.pointers]
    return [
        "<h3>What it attended to</h3>",
        f'<p class="note">Attention of {found.queries} ({found.cells} of {found.places}): all that is remembered gets 100 %.'
        f"{''.join(keys)} Dots: each layer. Dashed: if it had no preference.</p>",
        plots.bars(rows),
        f"<details><summary>each object pointer (one vector per frame)</summary>{plots.bars(each)}</details>",
        f'<p class="note">Where it looked there:<span class="heat" style="background: {drawings.heat_legend()}"></span>nothing to most of that '
        "frame&#8217;s attention; each picture has its own scale. White: the object&#8217;s mask there.</p>",
        '<div class="row">',
        *(_memory(one, heat, moment, replayed, object_id) for one, heat in zip(found.memories, maps, strict=True)),
        "</div>",
    ]


def _memory(one: findings.MemoryShare, heat: Doubles, moment: Moment, replayed: Replayed, object_id: int) -> str:
    frame = replayed.picture(one.frame)
    bar = f'<div class="share" style="width: {one.share:.1%}; background: {_colour(one)}"></div>'
    text = f"{bar}<b>{one.share:.1%}</b> {escape(_name(one))}<br>most at one place: {one.peak_share:.2%}"
    if one.without_place:
        text += f"<br>at no place (global latents): {one.without_place:.1%}"
    if frame is None:
        return f"<figure><figcaption>{text}<br>The recording begins after this frame, so there is no picture of it.</figcaption></figure>"
    picture = drawings.with_heat(drawings.scaled(frame, _NARROW), heat, float(heat.max()))
    mask = replayed.mask(one.frame, object_id, before=moment)
    return _figure(picture if mask is None else drawings.outlined(picture, mask), text)


def _candidate(frame: Frame, one: findings.Candidate, mask: Mask) -> str:
    picture = drawings.outlined(drawings.tinted(drawings.scaled(frame, _NARROW), mask, drawings.TAKEN if one.taken else drawings.OTHER), mask)
    name = "the single mask" if one.name == "single" else f"candidate {one.name}"
    text = f"<b>{name}{', taken' if one.taken else ''}</b><br>predicted IoU {one.predicted_iou:.3f}, stability {one.stability:.3f}<br>"
    same = "" if one.taken else f", IoU {one.iou_with_taken:.3f} with the one taken"
    return _figure(picture, f"{text}{one.area:,} pixels{same}", "taken" if one.taken else "")


def _over_time(made: findings.Explanation) -> list[str]:
    newest = {one.frame: one for one in made.moments}  # where a frame was answered several times
    moments = [newest[frame] for frame in sorted(newest)]
    marks = plots.Marks(made.frame, sorted({one.frame for one in made.moments if one.prompted}))

    def line(name: str, field: str, colour: str, *, recorded: bool) -> plots.Line:
        pairs = [(one.frame, one.recorded if recorded else one.replayed) for one in moments]
        return plots.Line(name, colour, [(frame, None if one is None else getattr(one, field)) for frame, one in pairs], dashed=recorded)

    def both(field: str, colour: str, name: str = "") -> list[plots.Line]:
        """What was recorded over what was replayed: where they agree, one sees both."""
        return [line(f"{name}replayed", field, colour, recorded=False), line(f"{name}recorded", field, "#222", recorded=True)]

    return [
        "<h2>Over time</h2>",
        f'<p class="note">The vertical line is frame {made.frame}; triangles are prompted frames. Replayed ends there.</p>',
        plots.lines("presence logit (present above 0)", both("presence", plots.TRACKED), marks, level=0),
        plots.lines("predicted IoU", both("predicted_iou", plots.POINTER), marks, low=0, high=1),
        plots.lines("IoU of the mask with the frame before", both("iou_before", plots.OTHER), marks, low=0, high=1),
        plots.lines("area of the mask, pixels", both("area", plots.PROMPTED), marks, low=0),
    ]


def _name(one: findings.MemoryShare | findings.PointerShare) -> str:
    ago = f"{abs(one.distance)} {'before' if one.distance >= 0 else 'ahead'}"
    return f"frame {one.frame} ({'prompted, ' if one.conditioning else ''}{ago})"


def _colour(one: findings.MemoryShare) -> str:
    return plots.PROMPTED if one.conditioning else plots.TRACKED


def _key(colour: str, text: str) -> str:
    return f'<span class="key" style="background: {colour}"></span>{escape(text)}'


def _figure(picture: Frame, caption: str, kind: str = "") -> str:
    return f'<figure class="{kind}"><img src="{drawings.embedded(picture)}" alt=""><figcaption>{caption}</figcaption></figure>'
