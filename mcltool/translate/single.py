"""``mcltool translate``: one condition into one picture, or into several from one exemplar to another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from mcltool.core import files
from mcltool.core.errors import DataError, UsageError
from mcltool.translate.api import translate_each
from mcltool.translate.exemplars import Exemplar, check
from mcltool.translate.job import plugin_of
from mcltool.translate.reader import files_of, read_condition
from mcltool.translate.saving import provenance, save_picture
from mcltool.translate.settings import Settings
from mcltool.translate.task import Picture
from mcltool.translate.translator import Translator


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
    settings.check_format()
    plugin = plugin_of(weights, settings.canvas, settings.labels)
    check(exemplars, plugin.spec, "--exemplar")
    styles = {out: tuple(exemplars)} if morph is None else _morphed(out, exemplars, morph)
    for path in styles:
        _check_out(path, condition, *(Path(exemplar.path) for exemplar in exemplars))
    found = files_of(plugin, condition)
    if doubt := plugin.doubt(read_condition(plugin, found.files, found.part)):
        tell(f"doubtful: {doubt}")
    translator = Translator(weights, plugin, settings.precision, device)
    pairs = [(condition, style) for style in styles.values()]
    pictures: dict[Path, tuple[Picture, str]] = {}
    for path, made in zip(styles, translate_each(translator, pairs, settings), strict=True):
        if made.image is None:
            raise DataError(made.cause)
        if made.uncovered:
            tell(
                f"{path}: {made.uncovered} places of 4 x 4 pixels have no exemplar by regions and classes: all serve"
            )
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


def _check_out(out: Path, *inputs: Path) -> None:
    if out.is_dir():
        raise UsageError(f"{out}: expected the name of a picture to write, found a folder")
    for path in inputs:
        if out.exists() and path.exists() and out.samefile(path):
            raise UsageError(f"{out}: is an input; give another name to write to")
