"""``mcltool evaluate --weights``: the held-out split as folders, translated, ready to be scored."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcltool.core.device import pick_device
from mcltool.core.errors import DataError, McltoolError, UsageError
from mcltool.core.files import digest, read_json, write_text
from mcltool.core.pictures import save_png
from mcltool.core.pixels import resize_photo
from mcltool.core.weights import load_model
from mcltool.data.dataset import open_data
from mcltool.data.reading import doubts_among, export_conditions
from mcltool.evaluate.inputs import Request
from mcltool.evaluate.job import score_folder
from mcltool.evaluate.pairs import score_correspondence
from mcltool.evaluate.resources import Tell
from mcltool.evaluate.scores import Scores
from mcltool.evaluate.split import Split
from mcltool.plugin.contract import Sample, Truth
from mcltool.translate.job import Job
from mcltool.translate.reader import output_size
from mcltool.translate.run import Run
from mcltool.translate.settings import Options

MARK = "held-out.json"
"""Says what a folder of ours was made of."""


def score_weights(
    request: Request, weights: Path, split: Split, to: Path, tell: Tell = lambda *_: None
) -> Scores:
    """Translate ``split`` with the model of ``weights`` and score it; all is below the folder ``to``.

    There are conditions/, exemplars/, real/ (the right answers), out/, scores.json and report.html; what an
    earlier evaluation of the same split left is kept. Where diversity is asked for by name, other-out/ has the
    same conditions with exemplars from half the split away. Where the data set knows the truth, the
    correspondence is scored too.

    request: its folders are not looked at. Raises UsageError where ``to`` holds something else, DataError for a
    sample that cannot be read, McltoolError for inputs that could not be translated (unless partial), and as
    ``score_folder``.
    """
    pairs = _pairs(split, request.partial)
    other = "diversity" in (request.metrics or ())
    _claim(to, split)
    _write(split, pairs, to, other, tell)
    _translate(weights, to, "exemplars", "out", request, tell)
    if other:
        _translate(weights, to, "other-exemplars", "other-out", request, tell)
    extra = _correspondence(weights, split, pairs, request.device, tell)
    request = replace(
        request,
        out=to / "out",
        real=to / "real",
        exemplars=to / "exemplars",
        conditions=to / "conditions",
        plugin=split.plugin,
        others=(to / "other-out",) if other else (),
    )
    about = {"weights": str(weights), "weights_sha256": digest(weights), "split": split.as_dict()}
    warnings = [] if extra else _warnings(pairs)
    warnings += [f"doubtful: {line}" for line in doubts_among(split.plugin, [pair.sample for pair in pairs])]
    return score_folder(request, to, extra, about, warnings, tell)


def _warnings(pairs: Sequence[_Pair]) -> list[str]:
    strange = sum(not pair.sample.group or pair.sample.group != pair.exemplar.group for pair in pairs)
    if not strange:
        return []
    return [
        f"{strange} of {len(pairs)} exemplars show another scene than the truth: psnr, ssim and lpips compare with "
        "a photo of another style"
    ]


@dataclass(frozen=True)
class _Pair:
    sample: Sample
    exemplar: Sample
    other: Sample


def _pairs(split: Split, partial: bool) -> list[_Pair]:
    """Exemplars as in EvaluationData; the other one is that of the sample half the split away.

    Raises UsageError where the list that was given has none for a sample; partial: such are left out.
    """
    _, data = open_data(split.plugin, split.root, split.config, 0, split.pairs)
    numbers = range(min(split.count or len(data), len(data)))
    lacking = [i for i in numbers if i in data.lacking]
    if lacking and not partial:
        first = lacking[0]
        raise UsageError(
            f"{split.pairs}: {len(lacking)} of {len(numbers)} held-out samples lack an exemplar, such as "
            f"{data.samples[first].id}, which {data.lacking[first]}; --partial leaves them out"
        )
    kept = [i for i in numbers if i not in data.lacking]
    half = len(kept) // 2
    return [
        _Pair(data.samples[i], data.exemplar_of(i), data.exemplar_of(kept[(place + half) % len(kept)]))
        for place, i in enumerate(kept)
    ]


def _claim(folder: Path, split: Split) -> None:
    """Make ``folder`` this split's, or find that it is."""
    mark = folder / MARK
    if mark.is_file():
        if _said(mark) != split.as_dict():
            raise UsageError(
                f"{folder}: holds another data set, size, count or pairs; choose another with --to"
            )
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(
            f"{folder}: is not empty, and not of an earlier evaluation; choose another with --to"
        )
    else:
        write_text(mark, json.dumps(split.as_dict(), indent=1) + "\n")


def _said(mark: Path) -> Any:
    try:
        return read_json(mark)
    except (OSError, ValueError) as error:
        raise UsageError(f"{mark}: cannot be read ({error}); choose another folder with --to") from None


def _write(split: Split, pairs: Sequence[_Pair], folder: Path, other: bool, tell: Tell) -> None:
    todo = {pair.sample.id: pair for pair in pairs if not _png(folder / "real", pair.sample).is_file()}
    samples = [pair.sample for pair in todo.values()]
    exported = export_conditions(split.plugin, samples, folder / "conditions", split.short_side)
    for done, result in enumerate(exported):
        if result.path is None:
            raise DataError(f"{result.id}: {result.cause}")
        pair = todo[result.id]
        save_png(_png(folder / "exemplars", pair.sample), _photo(split, pair.exemplar))
        save_png(_png(folder / "real", pair.sample), _answer(split, pair))  # last: it says that all is there
        tell("writing the held-out split", done + 1, len(todo))
    for pair in pairs if other else ():
        path = _png(folder / "other-exemplars", pair.sample)
        if not path.is_file():
            save_png(path, _photo(split, pair.other))


def _translate(weights: Path, folder: Path, exemplars: str, out: str, request: Request, tell: Tell) -> None:
    """The one place that knows the directory job."""
    conditions, options = folder / "conditions", Options(device=request.device)
    failed = []
    run = Run(Job(conditions, folder / exemplars, folder / out, weights, "stem", options=options))
    for done, result in enumerate(run):
        tell("translating", done + 1, run.total)
        if result.status == "failed":
            failed.append(f"{result.input}: {result.cause}")
    if failed and not request.partial:
        raise McltoolError(
            f"{len(failed)} inputs could not be translated, such as {failed[0]}; --partial leaves them out"
        )


def _correspondence(
    weights: Path, split: Split, pairs: Sequence[_Pair], device: str | None, tell: Tell
) -> dict[str, dict[str, float]]:
    """Scores by the sample's name, of pairs whose truth the data set knows."""
    found: dict[str, dict[str, float]] = {}
    if not pairs or _truth(split, pairs[0]) is None:
        return found
    net, _ = load_model(weights, pick_device(device))
    for done, pair in enumerate(pairs):
        truth = _truth(split, pair)
        if truth is not None:
            scores = score_correspondence(net, split.plugin, truth, pair.exemplar, split.short_side)
            names = ("class_match", "background_class_match", "match_error")
            found[pair.sample.id] = {name: getattr(scores, name) for name in names}
        tell("scoring the correspondence", done + 1, len(pairs))
    return found


def _truth(split: Split, pair: _Pair) -> Truth | None:
    return split.plugin.truth(pair.sample, pair.exemplar, split.short_side)


def _photo(split: Split, sample: Sample) -> NDArray[np.uint8]:
    """At the short side that the model was trained at."""
    photo = split.plugin.photo(sample, split.short_side)
    return resize_photo(photo, output_size((photo.shape[0], photo.shape[1]), split.short_side))


def _answer(split: Split, pair: _Pair) -> NDArray[np.uint8]:
    """What the output should be, of the output's size: the exact answer, or else the sample's photo."""
    truth = _truth(split, pair)
    if truth is not None:
        return truth.image
    size = output_size(split.plugin.condition(pair.sample, split.short_side).size, split.short_side)
    return resize_photo(split.plugin.photo(pair.sample, split.short_side), size)


def _png(folder: Path, sample: Sample) -> Path:
    return folder / f"{sample.id}.png"
