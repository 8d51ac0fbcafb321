"""``mcltool demo``: the whole road on the embedded ``shapes`` data set, scored against the exact truth."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from mcltool import plugins
from mcltool.config import Config, resolve
from mcltool.data.batches import condition_picture
from mcltool.data.contract import DatasetPlugin, Sample, Truth
from mcltool.data.images import read_photo
from mcltool.device import pick_device
from mcltool.errors import McltoolError
from mcltool.evaluate.correspondence import match_and_warp
from mcltool.evaluate.truth import psnr, score_matches, true_matches, warp_by_cells
from mcltool.files import write_text
from mcltool.model.encoder import STRIDE
from mcltool.model.network import MCLNet
from mcltool.pictures import contact_sheet, save_png
from mcltool.train.fit import Show, fit
from mcltool.translate.job import translate_dir
from mcltool.weights import load_model

PAIRS = 24
"""Held-out pairs that are translated and scored."""
SHEET_ROWS = 10


@dataclass(frozen=True, eq=False)
class Pair:
    """A held-out pair: ids of its files, the samples, and the exact answer."""

    name: str
    condition: Sample
    exemplar: Sample
    truth: Truth


def run_demo(
    out: Path, steps: int | None = None, seed: int = 0, device: str | None = None, show: Show | None = None
) -> dict[str, float]:
    """Train ``tiny`` on ``shapes``, translate held-out pairs and score them; returns what metrics.json holds.

    Everything is below ``out``: conditions/, exemplars/, truth/ (as written for translate-dir), out/,
    runs/demo-N/, weights.safetensors, metrics.json and contact_sheet.png.
    """
    started = time.monotonic()
    plugin = plugins.load("shapes")
    settings = {"train.seed": seed} | ({} if steps is None else {"train.max_steps": steps})
    config = resolve("shapes", plugin.preset, plugin.defaults, settings)
    weights = fit(plugin, config, None, _new_run(out), out / "weights.safetensors", device, show)

    side = config.data.size[0]
    pairs = held_out_pairs(plugin, PAIRS, side)
    write_pairs(plugin, pairs, out, side)
    job = translate_dir(out / "conditions", out / "exemplars", out / "out", weights, device=device)
    results = list(job)
    failed = [r for r in results if r.status == "failed"]
    if failed:
        raise McltoolError(f"{failed[0].input}: {failed[0].cause}")

    net, _ = load_model(weights, pick_device(device))
    images = [read_photo(out / "out" / f"{pair.name}.png") for pair in pairs]
    metrics, warped = score(net, plugin, pairs, images, side)
    metrics["seconds"] = round(time.monotonic() - started, 1)
    metrics["steps"] = float(config.train.max_steps or 0)
    write_text(out / "metrics.json", json.dumps(metrics, indent=2) + "\n")
    save_png(out / "contact_sheet.png", _sheet(plugin, pairs[:SHEET_ROWS], warped, images, side))
    return metrics


def held_out_pairs(plugin: DatasetPlugin, count: int, side: int) -> list[Pair]:
    """``count`` pairs of the split val, one a style; condition and exemplar are two views of it."""
    samples = plugin.index(None, "val")
    groups: dict[str, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(sample.group, []).append(sample)
    pairs = []
    for number, views in enumerate(list(groups.values())[:count]):
        truth = plugin.truth(views[0], views[1], side)
        assert truth is not None, f"{plugin.name} has no exact truth"
        pairs.append(Pair(f"pair-{number:03d}", views[0], views[1], truth))
    return pairs


def write_pairs(plugin: DatasetPlugin, pairs: Sequence[Pair], out: Path, side: int) -> None:
    """Write what a user would have: label maps, exemplar photos, and the right answers to compare with."""
    for pair in pairs:
        save_png(out / "exemplars" / f"{pair.name}.png", plugin.photo(pair.exemplar, side))
        save_png(out / "truth" / f"{pair.name}.png", pair.truth.image)
        save_png(out / "conditions" / f"{pair.name}.png", pair.truth.labels)


def score(
    net: MCLNet, plugin: DatasetPlugin, pairs: Sequence[Pair], images: Sequence[NDArray[np.uint8]], side: int
) -> tuple[dict[str, float], list[NDArray[np.uint8]]]:
    """Scores of the translated ``images`` and of the correspondence, and each pair's warped exemplar.

    psnr_db, psnr_exemplar_db and oracle_psnr_db count pixels whose source shows in the exemplar.
    """
    grid = (side // STRIDE, side // STRIDE)
    rows: dict[str, list[float]] = {}
    warped = []
    for pair, image in zip(pairs, images, strict=True):
        truth, exemplar = pair.truth, plugin.photo(pair.exemplar, side)
        match, warp = match_and_warp(net, plugin, truth, exemplar)
        best = true_matches(truth, grid)
        found, ceiling = score_matches(truth, match, grid), score_matches(truth, best, grid)
        values = {
            "psnr_db": psnr(image, truth.image, truth.visible),
            "psnr_exemplar_db": psnr(exemplar, truth.image, truth.visible),
            "psnr_warp_db": psnr(warp, truth.image, truth.visible),
            "class_match": found.class_match,
            "background_class_match": found.background_class_match,
            "match_error": found.match_error,
            "oracle_psnr_db": psnr(warp_by_cells(exemplar, best, grid), truth.image, truth.visible),
            "oracle_class_match": ceiling.class_match,
            "oracle_match_error": ceiling.match_error,
        }
        for name, value in values.items():
            rows.setdefault(name, []).append(value)
        warped.append(warp)
    return {name: round(fmean(values), 4) for name, values in rows.items()} | {"pairs": len(pairs)}, warped


def _sheet(
    plugin: DatasetPlugin,
    pairs: Sequence[Pair],
    warped: Sequence[NDArray[np.uint8]],
    images: Sequence[NDArray[np.uint8]],
    side: int,
) -> NDArray[np.uint8]:
    rows = []
    for pair, warp, image in zip(pairs, warped, images, strict=False):
        condition = condition_picture(pair.truth.labels, plugin.spec)
        rows.append([condition, plugin.photo(pair.exemplar, side), warp, image, pair.truth.image])
    return contact_sheet(rows, ("condition", "exemplar", "warped", "result", "truth"))


def _new_run(out: Path) -> Path:
    """A run folder below ``out`` that holds no run yet: a demo may be repeated in one place."""
    number = 1
    while (out / "runs" / f"demo-{number}" / "metrics.jsonl").exists():
        number += 1
    return out / "runs" / f"demo-{number}"


__all__ = ["Config", "Pair", "held_out_pairs", "run_demo", "score", "write_pairs"]
