"""RUN/report.html: curves, sample grids over time and the configuration, in one file that needs no other."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Sequence
from html import escape
from io import BytesIO
from pathlib import Path

from PIL import Image

from mcltool.files import write_text
from mcltool.train.curves import Curve, curves_of, svg
from mcltool.train.folder import Row, RunFolder

GRIDS = 8
"""Sample grids shown at most, spread over the run; the last one always."""

NAMES = {
    "val_l1_warp": "Held-out: L1 of the warp",
    "val_class_match": "Held-out: class match",
    "val_match_error": "Held-out: match error",
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
figcaption b { font-weight: 600; } figcaption span { font-variant-numeric: tabular-nums; }
svg { width: 100%; height: auto; display: block; } svg text { fill: var(--faint); font-size: 10px; }
svg .raw { stroke: var(--line); opacity: .3; fill: none; }
svg .smooth { stroke: var(--line); fill: none; stroke-width: 1.8; }
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
