"""A folder of outputs, from its files to scores.json and report.html."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcltool.core.errors import McltoolError
from mcltool.core.files import write_text
from mcltool.core.images import read_photo
from mcltool.data.batch import condition_picture
from mcltool.evaluate.evaluation import evaluate
from mcltool.evaluate.folders import find_images
from mcltool.evaluate.inputs import Request, find_inputs
from mcltool.evaluate.report import ConditionPicture, write_report
from mcltool.evaluate.resources import Tell
from mcltool.evaluate.scores import ImageScores, Scores
from mcltool.plugin.contract import DatasetPlugin

Picture = NDArray[np.uint8]


def folder_pictures(folder: Path | None, plugin: DatasetPlugin | None) -> ConditionPicture:
    """The pictures of the conditions below ``folder``: as the plugin draws them, without one as the files look.

    A condition that is missing or cannot be read has none. Raises UsageError for an unknown plugin or no folder.
    """
    if folder is None:
        return lambda _: None
    read = _reader(folder, plugin)

    def picture(name: str) -> Picture | None:
        try:
            return read(name)
        except (McltoolError, KeyError):
            return None

    return picture


def _reader(folder: Path, plugin: DatasetPlugin | None) -> Callable[[str], Picture]:
    if plugin is None:
        images = find_images(folder, "--conditions")
        return lambda name: read_photo(images[name])
    found = {condition.id: condition for condition in plugin.conditions(folder)}

    def draw(name: str) -> Picture:
        condition = plugin.read_part(found[name].files, found[name].part)
        return condition_picture(plugin.render(condition), plugin.spec)

    return draw


def score_folder(
    request: Request,
    to: Path,
    conditions: Path | None = None,
    plugin: DatasetPlugin | None = None,
    extra: ImageScores | None = None,
    about: Mapping[str, Any] | None = None,
    warnings: Sequence[str] = (),
    tell: Tell = lambda *_: None,
) -> Scores:
    """Score ``request`` and write scores.json and report.html to the folder ``to``.

    conditions: a folder of them, drawn in the report by ``plugin``, or without one as the files look. extra:
    scores of the images from elsewhere. about, warnings: more to say of what was compared, and to warn of.
    Errors as ``find_inputs`` and ``evaluate``; then nothing is written.
    """
    inputs = find_inputs(request)
    picture = folder_pictures(conditions, plugin)
    scores = evaluate(request, inputs, extra, tell)
    scores.about |= about or {}
    scores.warnings += warnings
    write_report(to / "report.html", scores, inputs, picture)
    write_text(to / "scores.json", scores.to_json())
    return scores
