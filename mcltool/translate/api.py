"""Translating a few conditions: as library calls, with a model that stays loaded, and into a file (``translate``)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice, repeat
from os import PathLike, fspath
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mcltool.core import files
from mcltool.core.errors import DataError, UsageError
from mcltool.core.images import read_photo
from mcltool.core.lookup import default_weights, find_weights
from mcltool.core.pictures import Picture
from mcltool.plugin.contract import Condition, ConditionSpec
from mcltool.translate import reader
from mcltool.translate.exemplars import Exemplar, Name, Style, between, check, together, uncovered_note
from mcltool.translate.job import plugin_of
from mcltool.translate.pipeline import WINDOW_BATCHES, Pipeline
from mcltool.translate.plan import Task
from mcltool.translate.saving import pictures_to_save, provenance, resized, save_picture
from mcltool.translate.settings import Settings
from mcltool.translate.translator import Translator


@dataclass(frozen=True, eq=False)
class TranslatedImage:
    """What became of one condition.

    image: (H, W, 3) uint8 RGB, or None where cause says why there is none. extras: the pictures of ``save``, by kind.
    milliseconds: to read and translate. exemplars: all that acted together, exemplar the first of them; uncovered:
    positions (of 4 x 4 pixels of the network) at which regions and classes left none, so that all served.
    """

    condition: Path
    exemplar: Path
    image: NDArray[np.uint8] | None
    cause: str
    extras: dict[str, NDArray[np.uint8]]
    milliseconds: int
    exemplars: tuple[Exemplar, ...] = ()
    uncovered: int = 0


def translate_images(
    conditions: Iterable[Name],
    exemplars: Name | Exemplar | Iterable[Style],
    weights: Name | None = None,
    *,
    size: reader.OutputSize = "trained",
    save: Sequence[str] = (),
    batch_size: int = 0,
    precision: str = "auto",
    device: str | None = None,
    workers: int = 0,
) -> Iterator[TranslatedImage]:
    """Translate condition files; yields one image each, in their order, as they are done.

    conditions: files, as many as you like: they are read as they are needed. exemplars: one photo for all, or one a
    condition, or a list of several a condition, which act together as their weights and regions say. weights: as
    --weights; None takes the newest runs/*/weights.safetensors. size: of the images in pixels, the short side or
    (height, width); "trained" or "keep". save: of "warp", "grid" and "confidence". batch_size: 0 takes what suits the
    device. workers: processes that read files; 0 reads in a thread. (A program that asks for processes needs
    ``if __name__ == "__main__":`` around its work.)

    A condition or photo that cannot be read is an image of None with its cause. Raises UsageError, when called, where
    the weights or settings cannot be used; while iterating, where exemplars are too few or cannot act together.
    """
    settings = Settings(precision, size, save=tuple(save), batch_size=batch_size)
    path = find_weights(weights) if weights is not None else default_weights(Path.cwd())
    translator = Translator(path, plugin_of(path), precision, device)
    return translate_each(translator, _paired(conditions, exemplars), settings, workers)


def translate_each(
    translator: Translator, pairs: Iterable[tuple[Name, Style]], settings: Settings, workers: int = 0
) -> Iterator[TranslatedImage]:
    """As ``translate_images``, with a model that is loaded."""
    preparer = reader.Preparer(translator.plugin, translator.short_side, settings.size)
    batch = settings.batch_size or translator.fitting_batch_size(settings.size)
    pipeline = Pipeline(translator, preparer, batch, settings.save, workers)
    waiting: dict[int, Task] = {}
    due, tasks = 0, _tasks(translator, pairs)
    windows = iter(lambda: list(islice(tasks, WINDOW_BATCHES * batch)), [])
    with closing(pipeline.run(windows)) as batches:
        for done in batches:
            waiting |= {task.number: task for task in done}
            while due in waiting:
                yield _image(waiting.pop(due), translator.plugin.spec, settings)
                due += 1


class Model:
    """A model that is loaded once and translates pair by pair; ``from_pretrained`` makes it.

    weights: their file. spec: what its conditions are made of.
    """

    def __init__(self, weights: Path, precision: str = "auto", device: str | None = None) -> None:
        self.weights = weights
        self._translator = Translator(weights, plugin_of(weights), precision, device)

    @property
    def spec(self) -> ConditionSpec:
        return self._translator.plugin.spec

    def translate(
        self,
        condition: Name | NDArray[np.uint8],
        exemplar: Name | NDArray[np.uint8],
        size: reader.OutputSize = "trained",
    ) -> NDArray[np.uint8]:
        """The image (H, W, 3) uint8 RGB with the structure of ``condition`` and the style of ``exemplar``.

        condition: a file, as the data set plugin reads it, or labels (H, W) uint8. exemplar: a file, or a photo
        (H, W, 3) uint8 RGB. size: of the image in pixels, as in ``translate_images``. Raises DataError where one of
        them cannot be used.
        """
        model, found = self._translator, self._condition(condition)
        asked = reader.asked_size(found.size, size, model.short_side)
        short = reader.short_side_of(size, model.short_side)
        planes = reader.prepare_condition(model.plugin, found, reader.network_size(asked, min(asked)))
        photo = exemplar if isinstance(exemplar, np.ndarray) else read_photo(Path(exemplar), short)
        if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3:
            raise DataError(f"exemplar: expected (H, W, 3) uint8, found {photo.shape} {photo.dtype}")
        made = model.translate([planes], model.encode([reader.prepare_photo(photo, short)]))
        return resized(made()["image"][0], asked)

    def _condition(self, condition: Name | NDArray[np.uint8]) -> Condition:
        if not isinstance(condition, np.ndarray):
            found = reader.files_of(self._translator.plugin, Path(condition))
            return reader.read_condition(self._translator.plugin, found.files, found.part)
        if self.spec.kind != "labels":
            raise UsageError(f"condition: these weights take {self.spec.kind}; give the file that shows them")
        if condition.dtype != np.uint8 or condition.ndim != 2:
            raise DataError(f"condition: expected (H, W) uint8, found {condition.shape} {condition.dtype}")
        if condition.size and condition.max() >= self.spec.channels:
            raise DataError(f"condition: label {condition.max()}; there are {self.spec.channels} classes")
        return Condition((condition.shape[0], condition.shape[1]), condition)


def from_pretrained(weights: Name, *, precision: str = "auto", device: str | None = None) -> Model:
    """The model of ``weights``: a file, a run folder, a name, or hf://ORG/NAME[@REVISION], as --weights takes them.

    precision, device: as --precision and --device; None is the fastest device there is. Raises UsageError where the
    weights are not there or need a plugin that is not installed, McltoolError where the hub does not give them.
    """
    return Model(find_weights(weights), precision, device)


def _paired(
    conditions: Iterable[Name], exemplars: Name | Exemplar | Iterable[Style]
) -> Iterator[tuple[Name, Style]]:
    if isinstance(exemplars, str | PathLike | Exemplar):
        exemplars = repeat(exemplars)
    styles = iter(exemplars)
    for number, condition in enumerate(conditions):
        style = next(styles, None)
        if style is None:
            raise UsageError(
                f"only {number} exemplars for more conditions: expected one for each, or a single photo"
            )
        yield condition, style


def _tasks(translator: Translator, pairs: Iterable[tuple[Name, Style]]) -> Iterator[Task]:
    for number, (condition, style) in enumerate(pairs):
        exemplars = together(style)
        check(exemplars, translator.plugin.spec, fspath(condition))
        found = reader.files_of(translator.plugin, Path(condition))
        paths = tuple(map(fspath, found.files))
        yield Task(number, fspath(condition), "", "", paths, found.part, exemplars, alone=True)


def _image(task: Task, spec: ConditionSpec, settings: Settings) -> TranslatedImage:
    pictures = {} if task.cause else pictures_to_save(task, settings.save, spec)
    image, exemplars = pictures.pop("", None), task.exemplars
    return TranslatedImage(
        Path(task.input), Path(exemplars[0].path), image, task.cause, pictures, round(task.milliseconds), exemplars,
        task.uncovered,
    )  # fmt: skip


# --- into a file ---


def translate_file(
    condition: Path,
    exemplars: Sequence[Exemplar],
    out: Path,
    weights: Path,
    settings: Settings,
    device: str | None = None,
    mark: bool = True,
    tell: Callable[[str], None] = lambda line: None,
    morph: int | None = None,
) -> list[Path]:
    """Translate one condition into the picture ``out``; returns all files that were written.

    mark: say in the pictures that they are generated and of what. tell: is told what was assumed. morph: so many
    pictures, numbered, from the first of two exemplars to the second. Raises DataError where a file cannot be read,
    UsageError where the request cannot be carried out.
    """
    plugin = plugin_of(weights, settings.canvas, settings.labels)
    check(exemplars, plugin.spec, "--exemplar")
    styles = {out: tuple(exemplars)}
    if morph is not None:  # OUT-1, OUT-2 ...
        numbers = (f"{number:0{len(str(morph))}d}" for number in range(1, morph + 1))
        steps = zip(numbers, between(exemplars, morph), strict=True)
        styles = {out.with_name(f"{out.stem}-{number}{out.suffix}"): step for number, step in steps}
    for path in styles:
        _check_out(path, condition, *(Path(exemplar.path) for exemplar in exemplars))
    found = reader.files_of(plugin, condition)
    if doubt := plugin.doubt(reader.read_condition(plugin, found.files, found.part)):
        tell(f"doubtful: {doubt}")
    translator = Translator(weights, plugin, settings.precision, device)
    pairs = [(condition, style) for style in styles.values()]
    pictures: dict[Path, tuple[Picture, str]] = {}
    for path, made in zip(styles, translate_each(translator, pairs, settings), strict=True):
        if made.image is None:
            raise DataError(made.cause)
        if made.uncovered:
            tell(f"{path}: {uncovered_note(made.uncovered)}")
        label = " + ".join(exemplar.label(Path(exemplar.path).name) for exemplar in styles[path])
        for kind, picture in {**made.extras, "": made.image}.items():
            name = f"{path.stem}.{kind}{path.suffix}" if kind else path.name
            pictures[path.with_name(name)] = picture, label
    made_by = files.digest(weights), plugin.name, condition.name
    for path, (picture, label) in pictures.items():
        marks = provenance(settings.format, *made_by, label) if mark else None
        with files.replacing(path) as temporary, files.create(temporary) as file:
            save_picture(file, picture, settings.format, settings.quality, marks)
    return list(pictures)


def _check_out(out: Path, *inputs: Path) -> None:
    if out.is_dir():
        raise UsageError(f"{out}: expected the name of a picture to write, found a folder")
    for path in inputs:
        if out.exists() and path.exists() and out.samefile(path):
            raise UsageError(f"{out}: is one of the inputs; choose another name")
