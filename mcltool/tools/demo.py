"""``mcltool demo``: everything from training to scores on the built-in data set ``shapes``."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mcltool.core.config import resolve
from mcltool.core.device import pick_device
from mcltool.core.errors import McltoolError
from mcltool.core.files import write_bytes, write_text
from mcltool.core.images import read_photo
from mcltool.core.index import shipped_folder
from mcltool.core.lookup import shipped_weights
from mcltool.core.pictures import contact_sheet, save_png
from mcltool.core.weights import load_model
from mcltool.data.batch import condition_picture
from mcltool.evaluate.pairs import Pair, held_out_pairs, score
from mcltool.plugin import registry as plugins
from mcltool.plugin.contract import IMAGE_SUFFIXES, DatasetPlugin, walk_files
from mcltool.tools.machine import slowdowns
from mcltool.train.display import shown
from mcltool.train.job import TrainingJob
from mcltool.train.loop import Show, fit
from mcltool.train.recorder import Progress
from mcltool.train.runs import next_run
from mcltool.translate.job import Job
from mcltool.translate.run import Run
from mcltool.translate.settings import Options

log = logging.getLogger(__name__)

PAIRS = 24
"""Held-out pairs that are translated and scored."""
SHEET_ROWS = 10
PAIRS_A_ROW = 4
"""In the sheet of ``show_photos``."""
CREDIT = "photos: Alexey Grigorev's clothing-dataset, CC0 1.0"
EARLY, PROMISED = 10, 600.0
"""Steps after which a demo's time can be estimated, and the seconds it may take without a remark."""


def run_demo(
    out: Path,
    steps: int | None = None,
    seed: int = 0,
    device: str | None = None,
    workers: int | None = None,
) -> dict[str, float]:
    """Train ``tiny`` on ``shapes`` and show what it learned; returns the content of metrics.json.

    Everything is written below ``out``: runs/demo-N/, weights.safetensors, and the output of ``show_weights``.
    """
    started = time.monotonic()
    plugin = plugins.load("shapes")
    asked = {"train.seed": seed, "train.max_steps": steps, "data.workers": workers}
    settings = {address: value for address, value in asked.items() if value is not None}
    config = resolve("shapes", plugin.preset, plugin.defaults, settings)
    weights = out / "weights.safetensors"
    job = TrainingJob(plugin, config, None, next_run(out / "runs", "demo"), weights, device)
    with shown() as show:
        fit(job, telling(show))
    return show_weights(weights, out, device, started)


def telling(show: Show) -> Show:
    """``show``, with a remark if the run will take longer than promised, and why."""
    told, started = False, None

    def watch(progress: Progress) -> None:
        nonlocal told, started
        done = progress.result.step
        now = time.monotonic()
        started = now if started is None else started  # after the first step, which also waits for the loader
        left = (progress.total - done) * (now - started) / max(1, done - 1)
        if done >= EARLY and left > PROMISED and not told:
            told, why = True, slowdowns()
            print(
                f"about {left / 60:.0f} minutes to go on this processor{f' ({why})' if why else ''}; "
                "mcltool demo --pretrained shows the result of a longer training in seconds",
                file=sys.stderr,  # looked up now: a live panel redirects it
            )
        show(progress)

    return watch


def show_weights(
    weights: Path, out: Path, device: str | None = None, started: float | None = None
) -> dict[str, float]:
    """Translate held-out pairs of ``shapes`` with a weights file and score them; returns the content of metrics.json.

    Everything is written below ``out``: conditions/, exemplars/, truth/ (as for translate-dir), out/, metrics.json and
    contact_sheet.png. started: on the monotonic clock, the time from which seconds are counted.
    """
    started = time.monotonic() if started is None else started
    plugin = plugins.load("shapes")
    net, header = load_model(weights, pick_device(device))
    side = min(header.size)
    log.info("drawing %d pairs that were not trained on, with their exact answers", PAIRS)
    pairs = held_out_pairs(plugin, plugin.index(None, "val"), PAIRS, side)
    write_pairs(plugin, pairs, out, side)
    _translate(out, weights, device)
    log.info("comparing with the exact answers")
    images = [read_photo(out / "out" / f"{pair.name}.png") for pair in pairs]
    metrics, warped = score(net, plugin, pairs, images, side)
    metrics["seconds"] = round(time.monotonic() - started, 1)
    metrics["steps"] = float(header.step)
    write_text(out / "metrics.json", json.dumps(metrics, indent=2) + "\n")
    save_png(out / "contact_sheet.png", _sheet(plugin, pairs[:SHEET_ROWS], warped, images, side))
    return metrics


def show_photos(out: Path, device: str | None = None) -> tuple[int, float]:
    """Translate the drawings that come with mcltool, using the photos beside them; returns how many, and the seconds.

    Everything is written below ``out``: conditions/, exemplars/, out/ and contact_sheet.png.
    """
    started = time.monotonic()
    shipped, weights = shipped_folder() / "clothing", shipped_weights("clothing")
    for ours, theirs in (("drawings", "conditions"), ("exemplars", "exemplars")):
        for path in walk_files(shipped / ours, IMAGE_SUFFIXES):
            write_bytes(out / theirs / path.name, path.read_bytes())
    _translate(out, weights, device)
    columns = [list(walk_files(out / name, IMAGE_SUFFIXES)) for name in ("conditions", "exemplars")]
    pictures = [
        read_photo(path)
        for drawing, photo in zip(*columns, strict=True)
        for path in (drawing, photo, out / "out" / f"{drawing.stem}.png")
    ]
    names = ("drawing", "exemplar", "result") * PAIRS_A_ROW
    rows = [pictures[at : at + len(names)] for at in range(0, len(pictures), len(names))]
    save_png(out / "contact_sheet.png", contact_sheet(rows, names, cell=192))
    return len(columns[0]), time.monotonic() - started


def _translate(out: Path, weights: Path, device: str | None) -> None:
    """Translate out/conditions with the photos of the same names in out/exemplars, to out/out."""
    log.info("translating them, as mcltool translate-dir does")
    options = Options(device=device)
    job = Job(out / "conditions", out / "exemplars", out / "out", weights, options=options)
    failed = [result for result in Run(job) if result.status == "failed"]
    if failed:
        raise McltoolError(f"{failed[0].input}: {failed[0].cause}")


def write_pairs(plugin: DatasetPlugin, pairs: Sequence[Pair], out: Path, side: int) -> None:
    """Write what a user would have (label maps and exemplar photos), and the right answers to compare with."""
    for pair in pairs:
        save_png(out / "exemplars" / f"{pair.name}.png", plugin.photo(pair.exemplar, side))
        save_png(out / "truth" / f"{pair.name}.png", pair.truth.image)
        save_png(out / "conditions" / f"{pair.name}.png", pair.truth.labels)


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
