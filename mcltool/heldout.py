"""``mcltool evaluate --weights``: the held-out split as folders, translated, ready to be scored."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcltool import plugins
from mcltool.config import DataConfig
from mcltool.data.contract import DatasetPlugin, Sample, Truth
from mcltool.data.dataset import EvaluationData
from mcltool.data.export import export_conditions
from mcltool.data.resize import resize_photo
from mcltool.device import pick_device
from mcltool.errors import DataError, McltoolError, UsageError
from mcltool.evaluate.correspondence import correspondence_scores
from mcltool.files import write_text
from mcltool.pictures import save_png
from mcltool.translate.job import translate_dir
from mcltool.translate.prepare import output_size
from mcltool.translate.translator import plugin_of
from mcltool.weights import load_model, read_header

MARK = "held-out.json"
"""Says what a folder of ours was made of."""

Tell = Callable[[str, int, int], None]


@dataclass(frozen=True)
class HeldOut:
    """A split as folders below ``folder``: conditions, exemplars, real (the right answers), out (translated).

    other: a second OUT, of exemplars in other styles; None where none was asked for. scores: of the
    correspondence, by the sample's name, where the data set knows the truth. warnings: about the pairing.
    """

    folder: Path
    plugin: DatasetPlugin
    other: Path | None
    scores: dict[str, dict[str, float]]
    warnings: list[str]

    @property
    def out(self) -> Path:
        return self.folder / "out"


@dataclass(frozen=True)
class Split:
    """What is scored: the first ``count`` samples (None: all) of a data set's split, at a short side in pixels."""

    plugin: DatasetPlugin
    root: Path | None
    name: str
    count: int | None
    data: DataConfig

    @property
    def short_side(self) -> int:
        return min(self.data.size)

    def as_dict(self) -> dict[str, Any]:
        root = str(self.root.resolve()) if self.root else None
        return {
            "plugin": self.plugin.name,
            "plugin_version": self.plugin.version,
            "root": root,
            "split": self.name,
            "count": self.count,
            "short_side": self.short_side,
        }


def split_of(
    weights: Path, plugin_name: str | None, root: Path | None, name: str, count: int | None
) -> Split:
    """The split to score a weights file on. Raises UsageError where it was trained on another data set."""
    plugin = plugin_of(weights)
    if plugin_name and plugin_name != plugin.name:
        raise UsageError(f"--plugin {plugin_name}: {weights} was trained on {plugin.name}")
    return Split(plugin, plugins.data_root(plugin, root), name, count, read_header(weights).config.data)


def translate_held_out(
    weights: Path,
    split: Split,
    folder: Path,
    other: bool = False,
    partial: bool = False,
    device: str | None = None,
    tell: Tell = lambda *_: None,
) -> HeldOut:
    """Write ``split`` below ``folder`` and translate it; what is there already of the same split is kept.

    other: translate a second time, with exemplars from half the split away. partial: go on where some inputs
    could not be translated. Raises UsageError where ``folder`` holds something else, DataError for a sample that
    cannot be read, McltoolError for inputs that could not be translated.
    """
    pairs = _pairs(split)
    _claim(folder, split)
    _write(split, pairs, folder, other, tell)
    _translate(weights, folder, "exemplars", "out", partial, device, tell)
    if other:
        _translate(weights, folder, "other-exemplars", "other-out", partial, device, tell)
    scores = _correspondence(weights, split, pairs, device, tell)
    warnings = []
    strange = sum(pair.sample.group != pair.exemplar.group or not pair.sample.group for pair in pairs)
    if strange and not scores:
        warnings.append(
            f"{strange} of {len(pairs)} exemplars show another scene: psnr, ssim and lpips compare with a photo "
            "of another style"
        )
    return HeldOut(folder, split.plugin, folder / "other-out" if other else None, scores, warnings)


@dataclass(frozen=True)
class _Pair:
    sample: Sample
    exemplar: Sample
    other: Sample


def _pairs(split: Split) -> list[_Pair]:
    """Exemplars as in EvaluationData; the other one is that of the sample half the split away."""
    samples = split.plugin.index(split.root, split.name)
    exemplar_of = EvaluationData(split.plugin, samples, split.data).exemplar_of
    half = len(samples) // 2
    return [
        _Pair(sample, samples[exemplar_of(i)], samples[exemplar_of((i + half) % len(samples))])
        for i, sample in enumerate(samples[: split.count])
    ]


def _claim(folder: Path, split: Split) -> None:
    """Make ``folder`` this split's, or find that it is."""
    mark = folder / MARK
    if mark.is_file():
        if json.loads(mark.read_text("utf-8")) != split.as_dict():
            raise UsageError(f"{folder}: holds another split, data set or size; choose another with --to")
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(
            f"{folder}: is not empty, and not of an earlier evaluation; choose another with --to"
        )
    else:
        write_text(mark, json.dumps(split.as_dict(), indent=1) + "\n")


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


def _translate(
    weights: Path, folder: Path, exemplars: str, out: str, partial: bool, device: str | None, tell: Tell
) -> None:
    job = translate_dir(
        folder / "conditions", folder / exemplars, folder / out, weights, "stem", device=device
    )
    failed = []
    for done, result in enumerate(job):
        tell("translating", done + 1, result.total)
        if result.status == "failed":
            failed.append(f"{result.input}: {result.cause}")
    if failed and not partial:
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
            exemplar = split.plugin.photo(pair.exemplar, split.short_side)
            found[pair.sample.id] = correspondence_scores(net, split.plugin, truth, exemplar)
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
