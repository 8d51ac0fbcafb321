"""The engine of translate-dir as library calls, for conditions one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, repeat
from os import PathLike, fspath
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mcltool.core import files
from mcltool.core.errors import DataError, McltoolError, UsageError
from mcltool.core.files import digest
from mcltool.core.images import read_photo
from mcltool.core.weights import default_weights, find_weights
from mcltool.plugin.contract import Condition, ConditionFiles, ConditionSpec, DatasetPlugin
from mcltool.translate.exemplars import Exemplar, check
from mcltool.translate.images import (
    OutputSize,
    asked_size,
    network_size,
    pictures_to_save,
    prepare_condition,
    prepare_photo,
    read_condition,
    save_picture,
    short_side_of,
)
from mcltool.translate.job import WINDOW_BATCHES, Settings, plugin_of
from mcltool.translate.pipeline import Output, Pipeline
from mcltool.translate.plan import Task
from mcltool.translate.provenance import Provenance
from mcltool.translate.reader import Preparer, Reader
from mcltool.translate.translator import Translator

Name = str | PathLike[str]
Style = Name | Exemplar | Sequence[Name | Exemplar]
"""What a condition is translated with: one exemplar, or several that act together."""


@dataclass(frozen=True, eq=False)
class TranslatedImage:
    """What became of one condition.

    image: (H, W, 3) uint8 RGB, or None where cause says why there is none. extras: the pictures of
    ``save``, by kind. milliseconds: to read and translate. exemplars: all that acted together, exemplar the first of
    them; uncovered: positions (of 4 x 4 pixels of the network) at which regions and classes left none, so that all
    served.
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
    size: OutputSize = "trained",
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
    (height, width); "trained" or "keep". save: of "warp", "grid" and "confidence".
    batch_size: 0 takes what suits the device. workers: processes that read files; 0 reads in a thread. (A program that
    asks for processes needs ``if __name__ == "__main__":`` around its work.)

    A condition or photo that cannot be read is an image of None with its cause. Raises UsageError, when
    called, where the weights or settings cannot be used; while iterating, where exemplars are too few or cannot act
    together.
    """
    settings = Settings(precision, size, save=tuple(save), batch_size=batch_size)
    path = find_weights(weights) if weights is not None else default_weights(Path.cwd())
    translator = Translator(path, plugin_of(path), precision, device)
    return _images(translator, _paired(conditions, exemplars), settings, workers)


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
        size: OutputSize = "trained",
    ) -> NDArray[np.uint8]:
        """The image (H, W, 3) uint8 RGB with the structure of ``condition`` and the style of ``exemplar``.

        condition: a file, as the data set plugin reads it, or labels (H, W) uint8. exemplar: a file, or a photo
        (H, W, 3) uint8 RGB. size: of the image in pixels, as in ``translate_images``.
        Raises DataError where one of them cannot be used.
        """
        model, plugin = self._translator, self._translator.plugin
        found, short = self._condition(condition), short_side_of(size, model.short_side)
        asked = asked_size(found.size, size, model.short_side)
        planes = prepare_condition(plugin, found, network_size(asked, min(asked)))
        pixels = exemplar if isinstance(exemplar, np.ndarray) else read_photo(Path(exemplar), short)
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise DataError(f"exemplar: expected (H, W, 3) uint8, found {pixels.shape} {pixels.dtype}")
        photo = prepare_photo(pixels, short)
        made = model.translate([planes], model.encode([photo]))
        return pictures_to_save(made.row(0), asked, planes, [photo], (), self.spec)[""]

    def _condition(self, condition: Name | NDArray[np.uint8]) -> Condition:
        if not isinstance(condition, np.ndarray):
            found = files_of(self._translator.plugin, Path(condition))
            return read_condition(self._translator.plugin, found.files, found.part)
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


def translate_file(
    condition: Path,
    exemplars: Sequence[Exemplar],
    out: Path,
    weights: Path,
    settings: Settings,
    device: str | None = None,
    provenance: bool = True,
    tell: Callable[[str], None] = lambda line: None,
    morph: int | None = None,
) -> list[Path]:
    """Translate one condition into the picture ``out``; returns all files that were written.

    provenance: whether pictures say that they are generated and of what. tell: is told what was assumed.
    morph: so many pictures, numbered, from the first of two exemplars to the second.

    Raises DataError where a file cannot be read, UsageError where the request cannot be carried out.
    """
    settings.check_format()
    plugin = plugin_of(weights, settings.canvas, settings.labels)
    check(exemplars, plugin.spec, "--exemplar")
    styles = {out: tuple(exemplars)} if morph is None else _morphed(out, exemplars, morph)
    for path in styles:
        _check_out(path, condition, *(Path(exemplar.path) for exemplar in exemplars))
    translator = Translator(weights, plugin, settings.precision, device)
    pictures: dict[Path, tuple[NDArray[np.uint8], Provenance | None]] = {}
    for (path, style), made in zip(
        styles.items(),
        _images(translator, ((condition, style) for style in styles.values()), settings, 0),
        strict=True,
    ):
        if made.image is None:
            raise DataError(made.cause)
        if made.uncovered:
            tell(
                f"{path}: {made.uncovered} places of 4 x 4 pixels have no exemplar by regions and classes: all serve"
            )
        label = " + ".join(exemplar.label(Path(exemplar.path).name) for exemplar in style)
        made_of = Provenance(digest(weights), plugin.name, condition.name, label) if provenance else None
        kinds = {f".{kind}": picture for kind, picture in made.extras.items()} | {"": made.image}
        pictures |= {
            path.with_name(f"{path.stem}{kind}{path.suffix}"): (picture, made_of)
            for kind, picture in kinds.items()
        }
    for path, (picture, made_of) in pictures.items():
        with files.replacing(path) as temporary, files.create(temporary) as file:
            save_picture(file, picture, settings.format, settings.quality, made_of)
    return list(pictures)


def _morphed(out: Path, exemplars: Sequence[Exemplar], count: int) -> dict[Path, tuple[Exemplar, ...]]:
    """Pictures OUT-1, OUT-2 ..., and their exemplars, whose weights go from all of the first to all of the second."""
    if len(exemplars) != 2 or count < 2:
        raise UsageError(f"--morph {count}: goes between two exemplars, found {len(exemplars)}")
    first, second = exemplars
    found: dict[Path, tuple[Exemplar, ...]] = {}
    for number in range(count):
        share, name = number / (count - 1), f"{out.stem}-{number + 1:0{len(str(count))}d}{out.suffix}"
        found[out.with_name(name)] = (
            replace(first, weight=first.weight * (1 - share)),
            replace(second, weight=second.weight * share),
        )
    return found


def _images(
    translator: Translator, pairs: Iterable[tuple[Name, Style]], settings: Settings, workers: int
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


def _windows(plugin: DatasetPlugin, pairs: Iterable[tuple[Name, Style]], size: int) -> Iterator[list[Task]]:
    rest = iter(enumerate(pairs))
    while chunk := list(islice(rest, size)):
        tasks = []
        for number, (condition, style) in chunk:
            found, exemplars = files_of(plugin, Path(condition)), _exemplars(style)
            check(exemplars, plugin.spec, fspath(condition))
            paths = tuple(map(fspath, found.files))
            tasks.append(Task(number, fspath(condition), "", "", paths, found.part, exemplars, alone=True))
        yield tasks


def _image(output: Output, translator: Translator, settings: Settings) -> TranslatedImage:
    pictures = {} if output.cause else output.pictures(settings.save, translator.plugin.spec)
    image = pictures.pop("", None)
    task, condition = output.task, output.condition
    return TranslatedImage(
        Path(task.input), Path(task.photos[0]), image, output.cause, pictures, round(output.milliseconds),
        task.exemplars, condition.uncovered,
    )  # fmt: skip


def _exemplars(style: Style) -> tuple[Exemplar, ...]:
    several = [style] if isinstance(style, str | PathLike | Exemplar) else style
    return tuple(one if isinstance(one, Exemplar) else Exemplar(one) for one in several)


def _paired(
    conditions: Iterable[Name], exemplars: Name | Exemplar | Iterable[Style]
) -> Iterator[tuple[Name, Style]]:
    if isinstance(exemplars, str | PathLike | Exemplar):
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
