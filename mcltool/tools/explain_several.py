"""``mcltool explain`` with several exemplars: which of them gave each place of the condition its colours."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from os import fspath
from pathlib import Path

import numpy as np
import torch

from mcltool.core.errors import DataError, UsageError
from mcltool.core.pictures import MARKS, Panel, Strip, panel_sheet, save_png
from mcltool.data.batch import condition_picture
from mcltool.model.correspondence import mixture_warp
from mcltool.translate.exemplars import Exemplar, check
from mcltool.translate.job import plugin_of
from mcltool.translate.plan import Task
from mcltool.translate.reader import Preparer, files_of, read_condition
from mcltool.translate.translator import Translator

log = logging.getLogger(__name__)

CELL = 256
"""Height in pixels of the pictures on the sheet."""


def explain_several(
    condition: Path,
    exemplars: Sequence[Exemplar],
    out: Path,
    weights: Path,
    part: str = "",
    device: str | None = None,
    canvas: tuple[int, int] | None = None,
    labels: str = "",
) -> list[float]:
    """Write the picture ``out`` (.png), and return each exemplar's share of the warped exemplar, all together 1.

    part, canvas, labels: as in ``explain``. Raises UsageError or DataError before anything is written.
    """
    if out.suffix.lower() != ".png" or out.is_dir():
        raise UsageError(f"{out}: expected the name of a .png file to write")
    if not 2 <= len(exemplars) <= len(MARKS):
        raise UsageError(
            f"--exemplar: {len(exemplars)} of them: a picture shows 2 to {len(MARKS)}, each in a colour"
        )
    plugin = plugin_of(weights, canvas, labels)
    check(exemplars, plugin.spec, "--exemplar")
    model = Translator(weights, plugin, "fp32", device)
    preparer, found = Preparer(plugin, model.short_side), files_of(plugin, condition, part)
    task = Task(0, "", "", "", tuple(map(fspath, found.files)), found.part, tuple(exemplars))
    read, photos = preparer.condition(task), [preparer.photo(one.path) for one in exemplars]
    for cause in filter(None, (read.cause, *(photo.cause for photo in photos))):
        raise DataError(cause)
    if doubt := plugin.doubt(read_condition(plugin, found.files, found.part)):
        log.warning("doubtful: %s", doubt)
    assert read.pixels is not None
    assert read.weights is not None
    pixels = [photo.pixels for photo in photos if photo.pixels is not None]
    encoded = [model.encode([photo])[0] for photo in pixels]
    pictures = model.translate([read.pixels], [(encoded, read.weights)], ["warp"])()
    with torch.inference_mode():
        u_ND = model.model.condition_features(torch.from_numpy(read.pixels)[None].to(model.device))[0]
        givers = torch.eye(len(encoded), device=model.device)
        shares_NE = mixture_warp(
            u_ND,
            [one.v for one in encoded],
            [mark.expand(len(one.v), -1) for one, mark in zip(encoded, givers, strict=True)],
            torch.from_numpy(read.weights).to(model.device).flatten(1),
            model.model.temperature,
        ).cpu()
    colours = torch.tensor(MARKS[: len(encoded)], dtype=torch.float)
    givers_hw3 = (shares_NE @ colours).round().numpy().astype(np.uint8).reshape(*read.weights.shape[1:], 3)
    shares = shares_NE.mean(0).tolist()
    planes = read.pixels if read.pixels.ndim == 2 else read.pixels.transpose(1, 2, 0)
    legend = [
        Panel(photo, f"{exemplar.label(Path(exemplar.path).name)}: {share:.0%}", colour)
        for photo, exemplar, share, colour in zip(pixels, exemplars, shares, MARKS, strict=False)
    ]
    made = [
        Panel(condition_picture(planes, plugin.spec), "condition"),
        Panel(givers_hw3, "who gave each place its colours"),
        Panel(pictures["warp"][0], "warped exemplars"),
        Panel(pictures["image"][0], "output"),
    ]
    save_png(
        out, panel_sheet([Strip("", made), Strip("Exemplars, and their share of the places", legend)], CELL)
    )
    return shares
