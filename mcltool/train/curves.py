"""Quantities over the steps of a run: as curves of the report, and as bars in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mcltool.core.pictures import page
from mcltool.train.run_folder import Row

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
    """Every number in ``rows``, in the order of its first appearance; values that were not finite are left out."""
    steps: dict[str, list[int]] = {}
    values: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.items():
            if name != "step" and isinstance(value, int | float):
                steps.setdefault(name, []).append(row["step"])
                values.setdefault(name, []).append(float(value))
    return [Curve(name, steps[name], values[name]) for name in steps]


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
    low, high = min(curve.values), max(curve.values)
    first, last = curve.steps[0], curve.steps[-1]
    floor, right = HEIGHT - BOTTOM, WIDTH - RIGHT

    def place(step: int, value: float) -> tuple[float, float]:
        along = (step - first) / (last - first) if last > first else 0.5
        up = (value - low) / (high - low) if high > low else 0.5
        return LEFT + (right - LEFT) * along, floor - (floor - TOP) * up

    def line(values: Sequence[float]) -> list[tuple[float, float]]:
        stride = -(-len(values) // MOST_POINTS)
        return [
            place(curve.steps[i], values[i]) for i in [*range(0, len(values) - 1, stride), len(values) - 1]
        ]

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
        lines={"raw": line(curve.values), "smooth": line(smoothed(curve.values, len(curve.values) // 20))},
        texts=texts,
    )


def _ends(low: float, high: float) -> list[tuple[float, str]]:
    """The ends of an axis with as many digits as tell them apart; one where they are equal."""
    if low == high:
        return [(low, f"{low:.4g}")]
    digits = next((n for n in range(4, 7) if f"{low:.{n}g}" != f"{high:.{n}g}"), 7)
    return [(high, f"{high:.{digits}g}"), (low, f"{low:.{digits}g}")]


def sparkline(values: Sequence[float], width: int) -> str:
    """The last values as ``width`` bars at most, between their lowest and highest."""
    if not values:
        return ""
    stride = -(-len(values) // width)
    parts = [values[i : i + stride] for i in range(0, len(values), stride)]
    means = [sum(part) / len(part) for part in parts]
    low, span = min(means), (max(means) - min(means)) or 1.0
    return "".join(BARS[round((value - low) / span * (len(BARS) - 1))] for value in means)
