"""RUN/report.html: curves, sample grids over time and the configuration, in one file that needs no other."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from io import BytesIO
from pathlib import Path

from PIL import Image

from mcltool.core.files import write_text
from mcltool.evaluate.picture import WANTED
from mcltool.train.run_folder import Row, RunFolder

WIDTH, HEIGHT = 300, 130
LEFT, RIGHT, BOTTOM, TOP = 66, 6, 20, 8
MOST_POINTS = 300
BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class Curve:
    """A quantity over the steps at which it was logged, at least one."""

    name: str
    steps: Sequence[int]
    values: Sequence[float]


def curves_of(rows: Sequence[Row]) -> list[Curve]:
    """Every number in ``rows``, in the order of its first appearance; what was not finite is left out."""
    steps: dict[str, list[int]] = {}
    values: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.items():
            if name != "step" and isinstance(value, int | float):
                steps.setdefault(name, []).append(row["step"])
                values.setdefault(name, []).append(float(value))
    return [Curve(name, steps[name], values[name]) for name in steps]


def smoothed(values: Sequence[float], span: int) -> list[float]:
    """Running mean that forgets: about the last ``span`` values count; early ones are means of what there is."""
    keep, total, weight, result = 1 - 1 / max(1, span), 0.0, 0.0, []
    for value in values:
        total, weight = keep * total + value, keep * weight + 1
        result.append(total / weight)
    return result


def svg(curve: Curve, label: str) -> str:
    """The curve, faint, and its running mean over a twentieth of the run; lowest and highest at the axis.

    What does not change lies in the middle; a single value is a dot.
    """
    low, high = min(curve.values), max(curve.values)
    first, last = curve.steps[0], curve.steps[-1]
    floor, right = HEIGHT - BOTTOM, WIDTH - RIGHT

    def place(step: int, value: float) -> tuple[float, float]:
        along = (step - first) / (last - first) if last > first else 0.5
        up = (value - low) / (high - low) if high > low else 0.5
        return LEFT + (right - LEFT) * along, floor - (floor - TOP) * up

    def line(values: Sequence[float], kind: str) -> str:
        stride = -(-len(values) // MOST_POINTS)
        chosen = [*range(0, len(values) - 1, stride), len(values) - 1]
        points = [place(curve.steps[i], values[i]) for i in chosen]
        if len(points) == 1:
            return f"<circle class=dot cx='{points[0][0]:.1f}' cy='{points[0][1]:.1f}' r='3' />"
        return f"<polyline class={kind} points='{' '.join(f'{x:.1f},{y:.1f}' for x, y in points)}' />"

    texts: list[tuple[float, float, str, str]]
    texts = [(LEFT - 5, place(first, value)[1] + 3.5, "end", text) for value, text in _ends(low, high)]
    if last > first:
        texts += [(LEFT, HEIGHT - 5, "start", str(first)), (right, HEIGHT - 5, "end", f"step {last}")]
    else:
        texts.append(((LEFT + right) / 2, HEIGHT - 5, "middle", f"step {first}"))
    labels = "".join(
        f"<text x='{x:g}' y='{y:g}' text-anchor='{anchor}'>{text}</text>" for x, y, anchor, text in texts
    )
    return (
        f"<svg viewBox='0 0 {WIDTH} {HEIGHT}' role=img aria-label='{label}'>"
        f"<path class=axis fill=none d='M{LEFT} {TOP}V{floor}H{right}' />"
        f"{line(curve.values, 'raw')}{line(smoothed(curve.values, len(curve.values) // 20), 'smooth')}{labels}</svg>"
    )


def _ends(low: float, high: float) -> list[tuple[float, str]]:
    """The ends of an axis with as many digits as tell them apart; one where they are one."""
    if low == high:
        return [(low, f"{low:.4g}")]
    digits = next((n for n in range(4, 7) if f"{low:.{n}g}" != f"{high:.{n}g}"), 7)
    return [(high, f"{high:.{digits}g}"), (low, f"{low:.{digits}g}")]


def sparkline(values: Sequence[float], width: int) -> str:
    """The last values as ``width`` bars at most, between their lowest and highest."""
    if not values:
        return ""
    stride = -(-len(values) // width)
    means = [
        sum(part) / len(part) for part in (values[i : i + stride] for i in range(0, len(values), stride))
    ]
    low, span = min(means), (max(means) - min(means)) or 1.0
    return "".join(BARS[round((value - low) / span * (len(BARS) - 1))] for value in means)


GRIDS = 8
"""Sample grids shown at most, spread over the run; the last one always."""

NAMES = {
    "val_score": "Score of the picture (0 to 1)",
    "val_vary": "Variety, to that of photos",
    "val_layout": "Colours explained by the classes, to photos",
    "val_style": "Colours follow the exemplar (correlation)",
    "val_detail": "Detail, to that of photos",
    "val_patch": "Patch distance, to that of a blur",
    "val_l1": "L1 of the output to a known answer",
    "val_l1_warp": "L1 of the warp to a known answer",
    "val_perceptual": "Perceptual distance to a known answer",
    "val_statistics": "Perceptual distance to the exemplar's means",
    "val_class_match": "Class match",
    "val_match_error": "Match error",
    "lr": "Learning rate",
    "gradient_norm": "Gradient norm",
    "images_per_second": "Images a second",
    "memory_mib": "Memory (MiB)",
    "skipped": "Steps skipped (not finite)",
}
"""Titles of what is no loss term."""

STYLE = """
:root { color-scheme: light dark; --ink: #1d1f27; --paper: #fff; --faint: #8a8f9c; --line: #3b66d1; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e7ee; --paper: #16171d; --faint: #7d8290; --line: #7fa2ff; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 0 auto;
  max-width: 1180px; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem; }
p.facts { color: var(--faint); margin: .2rem 0 0; }
.curves { display: grid; gap: 1rem 1.5rem; grid-template-columns: repeat(auto-fill, minmax(260px, 1fr)); }
figure { margin: 0; } figcaption { display: flex; justify-content: space-between; font-size: .9rem; }
figcaption b { font-weight: 600; }
i { font-style: normal; color: #c2452d; } i.good { color: #2d8a4e; }
figcaption span { font-variant-numeric: tabular-nums; }
svg { width: 100%; height: auto; display: block; } svg text { fill: var(--faint); font-size: 10px; }
svg .raw { stroke: var(--line); opacity: .3; fill: none; }
svg .smooth { stroke: var(--line); fill: none; stroke-width: 1.8; } svg .dot { fill: var(--line); }
svg .axis { stroke: var(--faint); opacity: .4; }
.grids { display: grid; gap: 1.5rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 440px), 1fr)); }
.grids img { width: 100%; height: auto; border-radius: 4px; }
table { border-collapse: collapse; } td { padding: .1rem 1rem .1rem 0; vertical-align: top; }
td:last-child { font-family: ui-monospace, monospace; font-size: .85rem; overflow-wrap: anywhere; }
"""


def write_report(folder: RunFolder) -> None:
    """Write the report of what the run's folder holds by now."""
    config, rows = folder.config(), folder.rows()
    height, width = config.data.size
    done = rows[-1]["step"] if rows else 0
    batch = config.train.batch_size
    facts = f"{config.plugin}, preset {config.preset}, {height} x {width} pixels, batch {batch}, step {done}"
    name = escape(folder.path.resolve().name)
    parts = [
        f"<h1>{name}</h1><p class=facts>{escape(facts)}</p>",
        _section("Held-out scores", _curves(rows, "val_")),
        _section("Losses (unweighted terms)", _curves(rows, "loss_")),
        _section("Samples over time", _grids(folder.sample_files())),
        _section("The machine and the steps", _curves(rows, "")),
        f"<details><summary><h2 style='display:inline'>Configuration</h2></summary>{_settings(config)}</details>",
    ]
    page = (
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{name}</title><style>{STYLE}</style><body>{''.join(parts)}</body></html>\n"
    )
    write_text(folder.report, page)


def _section(title: str, content: str) -> str:
    return f"<h2>{title}</h2>{content}" if content else ""


def _curves(rows: Sequence[Row], prefix: str) -> str:
    """Figures of all quantities whose name begins with ``prefix``; of an empty one, of those with neither."""
    found = [
        curve
        for curve in curves_of(rows)
        if (curve.name.startswith(prefix) if prefix else not curve.name.startswith(("val_", "loss_")))
    ]
    return f"<div class=curves>{''.join(map(_figure, found))}</div>" if found else ""


def _figure(curve: Curve) -> str:
    title = escape(NAMES.get(curve.name, curve.name.removeprefix("loss_")))
    last = f"{curve.values[-1]:.4g}"
    wanted = WANTED.get(curve.name.removeprefix("val_")) if curve.name.startswith("val_") else None
    if wanted:
        verdict = wanted.verdict(curve.values[-1])
        last = f"<i class={verdict}>{last} {verdict}, wanted {wanted.good_from:g} to {wanted.good_to:g}</i>"
    return f"<figure><figcaption><b>{title}</b><span>{last}</span></figcaption>{svg(curve, title)}</figure>"


def _grids(samples: Sequence[Path]) -> str:
    last = len(samples) - 1
    chosen = sorted({round(i * last / (GRIDS - 1)) for i in range(GRIDS)}) if samples else []
    figures = [
        f"<figure><figcaption><b>{escape(samples[i].stem)}</b></figcaption>"
        f"<img alt='Sample grid of {escape(samples[i].stem)}' src='{_embedded(samples[i])}'></figure>"
        for i in chosen
    ]
    return f"<div class=grids>{''.join(figures)}</div>" if figures else ""


def _embedded(picture: Path) -> str:
    with Image.open(picture) as image, BytesIO() as file:
        image.convert("RGB").save(file, "JPEG", quality=88)
        return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def _settings(config: object) -> str:
    lines = []
    for section, values in dataclasses.asdict(config).items():  # type: ignore[call-overload]
        pairs = values.items() if isinstance(values, dict) else [("", values)]
        for key, value in pairs:
            address = f"{section}.{key}" if key else section
            lines.append(f"<tr><td>{escape(address)}</td><td>{escape(str(value))}</td></tr>")
    return f"<table>{''.join(lines)}</table>"
