"""The tables of docs/benchmarks.md, from the figures of speed.py: between its markers, the rest is written by hand."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
GIB, GIGA = 2**30, 1e9
PRESETS = ("base", "paper", "hd")

Figures = dict[str, dict[str, Any]]

PEERS = {
    "CoCosNet, 256": (8.9, 1083, 2.6, 39, 9.3),
    "UNITE, 256": ("15.7-17.5", 1493, 7.5, 52, 12.1),
    "DynaST, 256": ("6.1-6.6", 707, 2.9, 30, 11.7),
    "MATEBIT, 256": ("1.6-1.9", 262, 1.6, "8.3-10.2", 5.0),
    "CoCosNet-v2, 512": ("65-73", 3279, 2.5, "", "over 20"),
}
"""Published code, fp32, batch 1: seconds and GFLOP an image, GiB, seconds of a training step, GiB."""


def write_page(figures: Figures) -> None:
    """Put every table into its place in the page."""
    text = PAGE.read_text()
    tables = {
        "translating": translating(figures),
        "training": training(figures),
        "targets": targets(figures),
        "parts-translating": parts(figures, "translate-1"),
        "parts-training": parts(figures, "train"),
        "difference": differences(figures),
        "machine": machine(figures),
    }
    for name, table in tables.items():
        place = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        assert place.search(text), f"{PAGE}: no place for the table {name}"
        text = place.sub(lambda found, table=table: found[1] + table + found[2], text)  # type: ignore[misc]
    PAGE.write_text(text)


def translating(figures: Figures) -> str:
    rows: list[Sequence[Any]] = []
    for preset in PRESETS:
        for suffix in ("1", "4", "fp32"):
            f = figures.get(f"{preset}-translate-{suffix}")
            if f:
                each = [seconds(f[kind], f["batch"]) for kind in ("different", "repeating")]
                work = operations(f) / f["batch"] / GIGA
                label = f"**{preset}**, {f['size'][0]}"
                rows.append(
                    (label, f["precision"], f["batch"], *each, f"{work:.0f}", gib(f), percent(rate_share(f)))
                )
    for name, (time, work, memory, *_) in PEERS.items():
        rows.append((name, "fp32", 1, time, "", work, memory, ""))
    headings = (
        "", "precision", "batch", "s an image, exemplars all different", "one exemplar, repeating", "GFLOP an image",
        "GiB", "of the matrix rate",
    )  # fmt: skip
    return table(headings, rows)


def training(figures: Figures) -> str:
    rows: list[Sequence[Any]] = []
    for preset in PRESETS:
        for suffix in ("train", "train-recompute"):
            f = figures.get(f"{preset}-{suffix}")
            if f:
                work = f"{operations(f) / GIGA:.0f}"
                again = "yes" if f["recompute"] else "no"
                label = f"**{preset}**, {f['size'][0]}"
                rows.append(
                    (label, f["precision"], again, seconds(f["step"]), gib(f), work, percent(rate_share(f)))
                )
    for name, (*_, time, memory) in PEERS.items():
        rows.append((name, "fp32", "", time, memory, 4192 if name.startswith("CoCosNet,") else "", ""))
    headings = ("", "precision", "recompute", "s a step", "GiB", "GFLOP", "of the matrix rate")
    return table(headings, rows)


def targets(figures: Figures) -> str:
    """What was asked for, and what was measured."""

    def image(name: str, kind: str = "different") -> float | None:
        f = figures.get(name)
        return f[kind]["median"] / f["batch"] if f else None

    def step(name: str) -> float | None:
        return figures[name]["step"]["median"] if name in figures else None

    def memory(name: str) -> float | None:
        return figures[name]["memory"] / GIB if name in figures else None

    def work(name: str) -> float | None:
        return operations(figures[name]) / GIGA if name in figures else None

    asked: list[tuple[str, float, float | None, str]] = [
        ("`base`, GFLOP an image", 150, work("base-translate-1"), ""),
        ("`base`, an image", 0.8, image("base-translate-1"), " s"),
        ("`base`, a training step", 5, step("base-train"), " s"),
        ("`base`, memory of it", 3, memory("base-train"), " GiB"),
        ("`paper`, an image", 5.4, image("paper-translate-1"), " s"),
        ("`paper`, an image, one exemplar", 3.7, image("paper-translate-1", "repeating"), " s"),
        ("`paper`, a training step", 20, step("paper-train"), " s"),
        ("`paper`, memory of one with recompute", 5, memory("paper-train-recompute"), " GiB"),
        ("`hd` at 512, an image", 10, image("hd-translate-1"), " s"),
        ("`hd` at 512, memory of a training step", 10, memory("hd-train"), " GiB"),
    ]
    rows = [
        (
            what,
            f"{most:g}{unit}",
            f"{got:.2f}{unit}" if got < 100 else f"{got:.0f}{unit}",
            "yes" if got <= most else "no",
        )
        for what, most, got, unit in asked
        if got is not None
    ]
    for preset in PRESETS:
        f = figures.get(f"{preset}-translate-1")
        if f:
            share = rate_share(f)
            what = f"`{preset}`, share of the matrix rate while translating"
            rows.append((what, "at least 65%", percent(share), "yes" if share >= 0.65 else "no"))
    return table(("", "at most", "measured", "reached"), rows)


def parts(figures: Figures, suffix: str) -> str:
    """A table a preset."""
    text = ""
    headings = ("", "GFLOP", "MB moved", "ms", "share", "of the matrix rate", "floor, ms", "times the floor")
    for preset in PRESETS:
        f = figures.get(f"{preset}-{suffix}")
        if not f:
            continue
        total, peak = sum(p["seconds"] for p in f["parts"]), matrix_rate(f)
        whole = {key: sum(p[key] for p in f["parts"]) for key in ("operations", "bytes", "seconds", "floor")}
        rows = [
            (
                p["name"],
                f"{p['operations'] / GIGA:.1f}" if p["operations"] else "",
                f"{p['bytes'] / 1e6:.0f}",
                f"{1e3 * p['seconds']:.0f}",
                percent(p["seconds"] / total),
                percent(p["operations"] / p["seconds"] / peak) if p["operations"] else "",
                f"{1e3 * p['floor']:.0f}",
                f"{p['seconds'] / p['floor']:.1f}" if p["floor"] else "",
            )
            for p in [*f["parts"], {"name": "**all**", **whole}]
        ]
        text += f"`{preset}`, {f['precision']}, batch {f['batch']}:\n\n{table(headings, rows)}\n"
    return text


def differences(figures: Figures) -> str:
    found = [(preset, figures.get(f"{preset}-difference")) for preset in PRESETS]
    rows = [
        (f"`{preset}`", f["precision"], f"{f['max']:.4f}", f"{f['mean']:.5f}", f"{f['deviation']:.3f}")
        for preset, f in found
        if f
    ]
    return table(("", "precision", "largest", "mean", "standard deviation of the image"), rows)


def machine(figures: Figures) -> str:
    """Least and most of what the processes measured."""
    machines = [f["machine"] for f in figures.values() if "machine" in f]
    forms = list(machines[0]["matrix"])
    sizes = list(machines[0]["copy"][forms[0]])

    def between(values: list[float]) -> str:
        return f"{min(values) / GIGA:.0f} to {max(values) / GIGA:.0f}"

    rows = [
        (
            form,
            between([m["matrix"][form] for m in machines]),
            between([m["convolution"][form] for m in machines]),
            *(between([m["copy"][form][size] for m in machines]) for size in sizes),
        )
        for form in forms
    ]
    copies = [f"copy of {int(size) >> 20} MiB, GB/s" for size in sizes]
    name = f"{machines[0]['name']}, {machines[0]['threads']} threads"
    return f"{name}:\n\n" + table(("", "product, GFLOP/s", "convolution, GFLOP/s", *copies), rows)


def table(headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def seconds(times: dict[str, float], batch: int = 1) -> str:
    """The median and what it lay between."""
    median, least, most = (times[key] / batch for key in ("median", "least", "most"))
    return f"{median:.2f} ({least:.2f}-{most:.2f})"


def gib(figure: dict[str, Any]) -> str:
    return f"{figure['memory'] / GIB:.1f}"


def percent(share: float) -> str:
    return f"{share:.0%}"


def operations(figure: dict[str, Any]) -> int:
    return sum(part["operations"] for part in figure["parts"])


def matrix_rate(figure: dict[str, Any]) -> float:
    """The most operations a second that its process saw, in its precision."""
    form = figure["precision"]
    return max(figure["machine"]["matrix"][form], figure["machine"]["convolution"][form])


def rate_share(figure: dict[str, Any]) -> float:
    times = figure["different"] if "different" in figure else figure["step"]
    return operations(figure) / times["median"] / matrix_rate(figure)
