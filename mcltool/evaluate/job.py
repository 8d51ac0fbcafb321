"""A folder of outputs, from its files to scores.json and report.html."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mcltool.evaluate.conditions import folder_pictures
from mcltool.evaluate.evaluation import Tell, evaluate
from mcltool.evaluate.inputs import Request, find_inputs
from mcltool.evaluate.report import write_report
from mcltool.evaluate.scores import ImageScores, Scores
from mcltool.files import write_text


def score_folder(
    request: Request,
    to: Path,
    conditions: Path | None = None,
    plugin: str | None = None,
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
