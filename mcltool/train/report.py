"""RUN/report.html: curves, sample grids over time and the configuration, in one file that needs no other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mcltool.core.files import write_text
from mcltool.core.images import read_photo
from mcltool.core.pictures import embedded, page
from mcltool.evaluate.picture import WANTED
from mcltool.train.curves import Curve, curves_of, svg
from mcltool.train.run_folder import RunFolder

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


def write_report(folder: RunFolder) -> None:
    """Write the report of what the run's folder holds so far."""
    config, rows = folder.config(), folder.rows()
    height, width = config.data.size
    sections: dict[str, list[dict[str, Any]]] = {"val": [], "loss": [], "": []}
    for curve in curves_of(rows):
        group = curve.name.partition("_")[0]
        sections[group if group in sections else ""].append(_figure(curve))
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


def _figure(curve: Curve) -> dict[str, Any]:
    title, last = TITLES.get(curve.name, curve.name.removeprefix("loss_")), curve.values[-1]
    wanted = WANTED.get(curve.name.removeprefix("val_")) if curve.name.startswith("val_") else None
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
