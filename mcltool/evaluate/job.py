"""``mcltool evaluate``: the metrics that can be run, in a few passes over the files; scores.json and report.html."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import mcltool
from mcltool.core.errors import UsageError
from mcltool.core.files import write_text
from mcltool.evaluate.inputs import Inputs, Request, find_inputs, pair_batches
from mcltool.evaluate.metrics import METRICS, NEEDS, Score
from mcltool.evaluate.paired import PairScores, score_pairs
from mcltool.evaluate.report import write_report
from mcltool.evaluate.resources import Resources, Tell
from mcltool.evaluate.scores import ImageScores, Scores, in_order, summarise


def score_folder(
    request: Request,
    to: Path,
    extra: ImageScores | None = None,
    about: Mapping[str, Any] | None = None,
    warnings: Sequence[str] = (),
    tell: Tell = lambda *_: None,
) -> Scores:
    """Score ``request`` and write scores.json and report.html to the folder ``to``.

    extra: scores of the images from elsewhere. about, warnings: more to say of what was compared, and to warn of.
    Errors as ``find_inputs`` and ``evaluate``; then nothing is written.
    """
    inputs = find_inputs(request)
    scores = evaluate(request, inputs, extra, tell)
    scores.about |= about or {}
    scores.warnings += warnings
    write_report(to / "report.html", scores, inputs)
    write_text(to / "scores.json", scores.to_json())
    return scores


def evaluate(
    request: Request, inputs: Inputs, extra: ImageScores | None = None, tell: Tell = lambda *_: None
) -> Scores:
    """Run the request's metrics on its files. extra: scores of the images from elsewhere, reported with the others.

    Raises UsageError for a metric that was asked for and cannot run, and where none can; DataError for an image
    that cannot be read or is not of its counterpart's size.
    """
    use = Resources(request, inputs, tell)
    images = {name: dict((extra or {}).get(name, {})) for name in inputs.names}
    each, of_sets = _run_metrics(use)
    done = 0
    for batch in pair_batches(inputs, request.form) if each else ():
        for name, row in score_pairs(each, batch).items():
            images[name] |= row
        done += len(batch)
        tell("scoring images", done, len(inputs.names))
    images = {name: row for name, row in images.items() if row}
    scores = in_order(of_sets | summarise(images, request.seed))
    if request.perceptual == "random":
        for key, score in scores.items():
            if key.startswith(("style_", "semantic")):
                scores[key] = replace(score, note="random filters, not VGG")
    if not scores:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in use.not_run.items())
        raise UsageError(f"no metric can be run: {reasons}")
    return Scores(_about(request, inputs), scores, use.not_run, use.warnings, images)


def _run_metrics(use: Resources) -> tuple[list[PairScores], dict[str, Score]]:
    """Functions of the metrics of single images, and the numbers of those of sets.

    What cannot be run is noted with its reason; it is an error where it was asked for by name.
    """
    each: list[PairScores] = []
    of_sets: dict[str, Score] = {}
    for metric in METRICS.values():
        if metric.name not in use.request.asked:
            continue
        with use.explaining(metric.name):
            if not getattr(use.inputs, {"real": "reals"}.get(metric.needs, metric.needs)):
                raise UsageError(f"needs {NEEDS[metric.needs]}")
            if metric.each:
                each.extend(metric.each(use))
            if metric.sets:
                of_sets |= metric.sets(use)
        if metric.name in use.not_run and use.request.metrics:
            raise UsageError(f"{metric.name}: {use.not_run[metric.name]}")
    return each, of_sets


def _about(request: Request, inputs: Inputs) -> dict[str, Any]:
    return {
        "mcltool": mcltool.__version__,
        "out": str(request.out),
        "real": str(request.real) if request.real else None,
        "exemplars": str(request.exemplars) if request.exemplars else None,
        "others": [str(folder) for folder in request.others],
        "images": len(inputs.names),
        "outputs": len(inputs.outputs),
        "real_images": len(inputs.reals),
        "metrics": [name for name in METRICS if name in request.asked],
        "size": list(request.form.size) if request.form.size else None,
        "jpeg": request.form.jpeg,
        "perceptual": request.perceptual,
        "seed": request.seed,
    }
