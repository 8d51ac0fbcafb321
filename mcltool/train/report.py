"""RUN/report.html: curves, sample grids over time and the configuration, in one file that needs no other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mcltool.core.files import write_text
from mcltool.core.images import read_photo
from mcltool.core.pictures import embedded, page
from mcltool.evaluate.picture import WANTED
from mcltool.train.run_folder import Row, RunFolder

WIDTH, HEIGHT = 300, 130
LEFT, RIGHT, BOTTOM, TOP = 66, 6, 20, 8
"""Of a curve's picture and its margins, in pixels."""
MOST_POINTS = 300
GRIDS = 8
"""Sample grids shown at most, spread over the run; the last one always."""

TITLES = {
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
"""Titles of quantities other than loss terms."""

Curve = list[tuple[int, float]]
"""Steps at which a quantity was logged, at least one, and its values."""


def write_report(folder: RunFolder) -> None:
    """Write the report of what the run's folder holds so far."""
    config, rows = folder.config(), folder.rows()
    height, width = config.data.size
    sections: dict[str, list[dict[str, Any]]] = {"val": [], "loss": [], "": []}
    for name, curve in curves_of(rows).items():
        group = name.partition("_")[0]
        sections[group if group in sections else ""].append(_figure(name, curve))
    facts = [
        config.plugin,
        f"preset {config.preset}",
        f"{height} x {width} pixels",
        f"batch {config.train.batch_size}",
        f"step {rows[-1]['step'] if rows else 0}",
    ]
    html = page(
        "run",
        name=folder.path.resolve().name,
        facts=", ".join(facts),
        scores=sections["val"],
        losses=sections["loss"],
        others=sections[""],
        samples=_samples(folder.sample_files()),
        settings={"plugin": config.plugin, "preset": config.preset, **config.settings()},
    )
    write_text(folder.report, html)


def _figure(name: str, curve: Curve) -> dict[str, Any]:
    title, last = TITLES.get(name, name.removeprefix("loss_")), curve[-1][1]
    wanted = WANTED.get(name.removeprefix("val_")) if name.startswith("val_") else None
    verdict = wanted.verdict(last) if wanted else ""
    return {
        "title": title,
        "last": f"{last:.4g}",
        "wanted": wanted,
        "verdict": verdict,
        "svg": svg(curve, title),
    }


def _samples(files: Sequence[Path]) -> dict[str, str]:
    """Sample grids by name, as data addresses."""
    last = len(files) - 1
    chosen = sorted({round(i * last / (GRIDS - 1)) for i in range(GRIDS)}) if files else []
    pictures = {files[i].stem: read_photo(files[i]) for i in chosen}
    return {name: embedded(picture, max(picture.shape)) for name, picture in pictures.items()}


def curves_of(rows: Sequence[Row]) -> dict[str, Curve]:
    """Every number in ``rows``, in the order of its first appearance; values that were not finite are left out."""
    found: dict[str, Curve] = {}
    for row in rows:
        for name, value in row.items():
            if name != "step" and isinstance(value, int | float):
                found.setdefault(name, []).append((row["step"], float(value)))
    return found


def smoothed(values: Sequence[float], span: int) -> list[float]:
    """Exponential running mean over about the last ``span`` values; early ones are means of what there is."""
    keep, total, weight, result = 1 - 1 / max(1, span), 0.0, 0.0, []
    for value in values:
        total, weight = keep * total + value, keep * weight + 1
        result.append(total / weight)
    return result


def svg(curve: Curve, label: str) -> str:
    """The curve, faint, and its running mean over a twentieth of the run; lowest and highest at the axis.

    A constant lies in the middle; a single value is a dot.
    """
    steps, values = [step for step, _ in curve], [value for _, value in curve]
    low, high, first, last = min(values), max(values), steps[0], steps[-1]
    floor, right = HEIGHT - BOTTOM, WIDTH - RIGHT

    def place(step: int, value: float) -> tuple[float, float]:
        along = (step - first) / (last - first) if last > first else 0.5
        up = (value - low) / (high - low) if high > low else 0.5
        return LEFT + (right - LEFT) * along, floor - (floor - TOP) * up

    def line(values: Sequence[float]) -> list[tuple[float, float]]:
        stride = -(-len(values) // MOST_POINTS)
        return [place(steps[i], values[i]) for i in [*range(0, len(values) - 1, stride), len(values) - 1]]

    texts: list[tuple[float, float, str, str]]
    texts = [(LEFT - 5, place(first, value)[1] + 3.5, "end", text) for value, text in _ends(low, high)]
    if last > first:
        texts += [(LEFT, HEIGHT - 5, "start", str(first)), (right, HEIGHT - 5, "end", f"step {last}")]
    else:
        texts.append(((LEFT + right) / 2, HEIGHT - 5, "middle", f"step {first}"))
    return page(
        "curve",
        label=label,
        width=WIDTH,
        height=HEIGHT,
        axis=f"M{LEFT} {TOP}V{floor}H{right}",
        lines={"raw": line(values), "smooth": line(smoothed(values, len(values) // 20))},
        texts=texts,
    )


def _ends(low: float, high: float) -> list[tuple[float, str]]:
    """The ends of an axis with as many digits as tell them apart; one where they are equal."""
    if low == high:
        return [(low, f"{low:.4g}")]
    digits = next((n for n in range(4, 7) if f"{low:.{n}g}" != f"{high:.{n}g}"), 7)
    return [(high, f"{high:.{digits}g}"), (low, f"{low:.{digits}g}")]
