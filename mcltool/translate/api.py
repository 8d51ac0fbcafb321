"""The engine of translate-dir as library calls, for conditions one by one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, repeat
from os import PathLike, fspath
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mcltool.core import files
from mcltool.core.errors import DataError, McltoolError, UsageError
from mcltool.core.weights import default_weights, find_weights
from mcltool.plugin.contract import ConditionFiles, DatasetPlugin
from mcltool.translate.images import OutputSize, save_picture, short_side_of
from mcltool.translate.job import WINDOW_BATCHES, Settings, plugin_of
from mcltool.translate.pipeline import Output, Pipeline
from mcltool.translate.plan import Task
from mcltool.translate.reader import Preparer, Reader
from mcltool.translate.translator import Translator

Name = str | PathLike[str]


@dataclass(frozen=True, eq=False)
class TranslatedImage:
    """What became of one condition.

    image: (H, W, 3) uint8 RGB, or None where cause says why there is none. extras: the pictures of
    ``save``, by kind. milliseconds: to read and translate.
    """

    condition: Path
    exemplar: Path
    image: NDArray[np.uint8] | None
    cause: str
    extras: dict[str, NDArray[np.uint8]]
    milliseconds: int


def translate_images(
    conditions: Iterable[Name],
    exemplars: Name | Iterable[Name],
    weights: Name | None = None,
    *,
    size: OutputSize = "trained",
    save: Sequence[str] = (),
    batch_size: int = 0,
    precision: str = "auto",
    device: str | None = None,
    workers: int = 0,
) -> Iterator[TranslatedImage]:
    """Translate condition files; yields one image each, in their order, as they are done.

    conditions: files, as many as you like: they are read as they are needed. exemplars: one photo for all, or
    one a condition. weights: a weights file; None takes the newest runs/*/weights.safetensors, else those
    that come with mcltool. size: of the images in pixels, the short side or (height, width); "trained" or "keep".
    save: of "warp", "grid" and "confidence". batch_size: 0 takes what suits the device. workers: processes that
    read files; 0 reads in a thread. (A program that asks for processes needs ``if __name__ == "__main__":`` around
    its work.)

    A condition or photo that cannot be read is an image of None with its cause. Raises UsageError, when
    called, where the weights or settings cannot be used; while iterating, where exemplars are too few.
    """
    settings = Settings(precision, size, save=tuple(save), batch_size=batch_size)
    path = find_weights(weights) if weights is not None else default_weights(Path.cwd())
    translator = Translator(path, plugin_of(path), precision, device)
    return _images(translator, _paired(conditions, exemplars), settings, workers)


def translate_file(
    condition: Path, exemplar: Path, out: Path, weights: Path, settings: Settings, device: str | None = None
) -> list[Path]:
    """Translate one condition into the picture ``out``; returns all files that were written.

    Raises DataError where a file cannot be read, UsageError where the request cannot be carried out.
    """
    settings.check_format()
    _check_out(out, condition, exemplar)
    translator = Translator(weights, plugin_of(weights, settings.canvas), settings.precision, device)
    (made,) = _images(translator, [(condition, exemplar)], settings, 0)
    if made.image is None:
        raise DataError(made.cause)
    pictures = {
        out.with_name(f"{out.stem}.{kind}{out.suffix}"): picture for kind, picture in made.extras.items()
    }
    for path, picture in (pictures | {out: made.image}).items():
        with files.replacing(path) as temporary, files.create(temporary) as file:
            save_picture(file, picture, settings.format, settings.quality)
    return [*pictures, out]


def _images(
    translator: Translator, pairs: Iterable[tuple[Name, Name]], settings: Settings, workers: int
) -> Iterator[TranslatedImage]:
    side = short_side_of(settings.size, translator.short_side)
    batch = settings.batch_size or translator.fitting_batch_size(side)
    with Reader(Preparer(translator.plugin, translator.short_side, settings.size), workers) as reader:
        pipeline = Pipeline(translator, reader, batch, settings.save)
        waiting: dict[int, Output] = {}
        due = 0
        for outputs in pipeline.run(_windows(translator.plugin, pairs, WINDOW_BATCHES * batch)):
            waiting |= {output.task.number: output for output in outputs}
            while due in waiting:
                yield _image(waiting.pop(due), translator, settings)
                due += 1


def _windows(plugin: DatasetPlugin, pairs: Iterable[tuple[Name, Name]], size: int) -> Iterator[list[Task]]:
    rest = iter(enumerate(pairs))
    while chunk := list(islice(rest, size)):
        tasks = []
        for number, (condition, exemplar) in chunk:
            found, photo = files_of(plugin, Path(condition)), fspath(exemplar)
            paths = tuple(map(fspath, found.files))
            tasks.append(Task(number, fspath(condition), photo, "", paths, found.part, photo, alone=True))
        yield tasks


def _image(output: Output, translator: Translator, settings: Settings) -> TranslatedImage:
    pictures = {} if output.cause else output.pictures(settings.save, translator.plugin.spec)
    image = pictures.pop("", None)
    return TranslatedImage(
        Path(output.task.input),
        Path(output.task.photo),
        image,
        output.cause,
        pictures,
        round(output.milliseconds),
    )


def _paired(conditions: Iterable[Name], exemplars: Name | Iterable[Name]) -> Iterator[tuple[Name, Name]]:
    if isinstance(exemplars, str | PathLike):
        yield from zip(conditions, repeat(exemplars), strict=False)
        return
    photos = iter(exemplars)
    for number, condition in enumerate(conditions):
        photo = next(photos, None)
        if photo is None:
            raise UsageError(
                f"{number} exemplars for more conditions: expected one a condition, or a single photo"
            )
        yield condition, photo


def _check_out(out: Path, *inputs: Path) -> None:
    if out.is_dir():
        raise UsageError(f"{out}: expected the name of a picture to write, found a folder")
    for path in inputs:
        if out.exists() and path.exists() and out.samefile(path):
            raise UsageError(f"{out}: is an input; give another name to write to")


def files_of(plugin: DatasetPlugin, path: Path, part: str = "") -> ConditionFiles:
    """The condition that ``path`` is one of the files of; part: which one, where they hold several."""
    alone = ConditionFiles(path.stem, (path,), part)
    if type(plugin).conditions is DatasetPlugin.conditions:  # a condition is a file
        return alone
    try:
        of_path = (found for found in plugin.conditions(path.parent) if path in found.files)
        return next((found for found in of_path if part in ("", found.part)), alone)
    except McltoolError:  # of another file in the folder
        return alone
