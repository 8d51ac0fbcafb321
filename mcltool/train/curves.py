"""Curves of a run's metrics: picked from its rows, smoothed, drawn as SVG or as a line of characters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mcltool.train.folder import Row

WIDTH, HEIGHT = 300, 130
LEFT, BOTTOM, TOP = 44, 18, 6
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
    """The curve, faint, and its running mean over a twentieth of the run; lowest and highest at the axis."""
    low, high = min(curve.values), max(curve.values)
    first, last = curve.steps[0], max(curve.steps[-1], curve.steps[0] + 1)
    span = (high - low) or abs(high) or 1.0

    def line(values: Sequence[float], kind: str) -> str:
        stride = -(-len(values) // MOST_POINTS)
        chosen = [*range(0, len(values) - 1, stride), len(values) - 1]
        points = [
            f"{LEFT + (WIDTH - LEFT - 2) * (curve.steps[i] - first) / (last - first):.1f},"
            f"{TOP + (HEIGHT - TOP - BOTTOM) * (1 - (values[i] - low) / span):.1f}"
            for i in chosen
        ]
        if len(points) == 1:
            x, y = points[0].split(",")
            return f"<circle class={kind} cx={x} cy={y} r=2 />"
        return f"<polyline class={kind} points='{' '.join(points)}' />"

    floor = HEIGHT - BOTTOM
    return (
        f"<svg viewBox='0 0 {WIDTH} {HEIGHT}' role=img aria-label='{label}'>"
        f"<path class=axis fill=none d='M{LEFT} {TOP}V{floor}H{WIDTH}' />"
        f"{line(curve.values, 'raw')}{line(smoothed(curve.values, len(curve.values) // 20), 'smooth')}"
        f"<text x={LEFT - 4} y={TOP + 8} text-anchor=end>{high:.3g}</text>"
        f"<text x={LEFT - 4} y={floor} text-anchor=end>{low:.3g}</text>"
        f"<text x={LEFT} y={HEIGHT - 5}>{first}</text>"
        f"<text x={WIDTH - 2} y={HEIGHT - 5} text-anchor=end>step {curve.steps[-1]}</text></svg>"
    )


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
