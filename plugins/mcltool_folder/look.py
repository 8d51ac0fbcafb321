"""Looking at a folder that nobody has described: kinds, classes, ranges, and what is to be asked."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import log
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from mcltool import DataError, Sample, UsageError, photo_size, read_measure, read_photo
from mcltool_folder.census import look_at_masks
from mcltool_folder.classes import ClassEntry
from mcltool_folder.description import Description, Part
from mcltool_folder.layout import Layout, find_layout
from mcltool_folder.parts import share_out
from mcltool_folder.samples import find_samples

FEW = 24
"""Files that are looked at where one tells for all."""


@dataclass(frozen=True)
class Look:
    """What was found. assumed: what it was taken for, a line each. questions: what only a person can tell."""

    description: Description
    assumed: tuple[str, ...]
    questions: tuple[str, ...]


def look_at(root: Path, condition: str = "") -> Look:
    """Describe ``root``. condition: names of the condition folders to take, between commas; "": all there are.

    All masks and measures are read. Raises UsageError where the folder cannot be understood.
    """
    layout = find_layout(root)
    parts = [_draft(name, layout) for name in _chosen(root, layout, condition)]
    description = Description(tuple(parts), layout.layout, layout.train, layout.val, layout.photos)
    # What lacks its half is refused when the data are used; that needs a file in which to allow it.
    complete = replace(description, unpaired="leave out")
    train, val = (find_samples(root, complete, split) for split in ("train", "val"))
    samples = [*train, *val]
    shares = [share_out(sample.condition, parts, made=True) for sample in samples]
    assumed, questions = [_where(root, layout, len(samples))], []
    found: list[Part] = []
    try:
        assumed.append(_sizes(samples))
        for number, part in enumerate(parts):
            files = [path for share in shares for path in share[number]]
            guess = part.files in layout.conditions and not layout.conditions[part.files]
            finished, said, asked = _finish(root, part, files, guess)
            found.append(finished)
            assumed.append(said)
            questions += asked
    except DataError as error:
        raise UsageError(str(error)) from None
    description = replace(description, condition=tuple(found), flip=not _has_sides(found))
    if not val:
        assumed.append("nothing is held out: all photos are of one thing; give val a folder of others")
    return Look(description, (*assumed, *_rules(description, samples)), tuple(questions))


def _chosen(root: Path, layout: Layout, condition: str) -> list[str]:
    """Names in the layout of the conditions to take; "edges" for those to be made."""
    there = layout.conditions
    if not condition:
        if not there:
            known = f"; not used: {', '.join(layout.ignored)} (known: masks, edges, depth, normals, poses, inputs)"
            raise UsageError(
                f"{root}: photos without conditions{known if layout.ignored else ''}; --condition edges makes drawings"
            )
        return list(there)
    names: list[str] = []
    for wanted in condition.split(","):
        name = next((name for name in there if wanted in (name, name.strip("*_"), there[name])), "")
        if not name and wanted != "edges":
            raise UsageError(
                f"--condition {wanted}: {root} has {', '.join(there) or 'photos alone'}; edges can be made"
            )
        if (name or "edges") in names:
            raise UsageError(f"--condition {condition}: {wanted} is named twice")
        names.append(name or "edges")
    return names


def _draft(name: str, layout: Layout) -> Part:
    """A part before its files are looked at."""
    if name in layout.conditions:
        return _part(layout.conditions[name] or "picture", name)
    masks = next((name for name, kind in layout.conditions.items() if kind == "labels"), "")
    return _part("edges", masks, made=True)


def _part(kind: str, files: str, made: bool = False) -> Part:
    """With stand-ins for what is yet to be found."""
    masks, measures = kind == "labels" or (made and files), kind in ("depth", "normals")
    classes = (ClassEntry("?", 0),) if masks else ()
    return Part(kind, files, made, classes=classes, range=(0.0, 1.0) if measures else None)  # type: ignore[arg-type]


def _where(root: Path, layout: Layout, count: int) -> str:
    val = f"{layout.val}/" if isinstance(layout.val, str) else f"{layout.val:.0%} of the photos, by name,"
    where = {"folders": f"photos in {layout.photos}/", "beside": "conditions beside their photos"}
    ignored = f"; not used: {', '.join(layout.ignored)}" if layout.ignored else ""
    return f"{count} photos, {where.get(layout.layout, 'listed in the metadata')}; {val} held out{ignored}"


def _sizes(samples: Sequence[Sample]) -> str:
    sizes = Counter(photo_size(sample.photo) for sample in samples if sample.photo)
    (height, width), times = sizes.most_common(1)[0]
    sides = [min(size) for size in sizes]
    said = f"photos: {width} x {height} pixels most often ({times}), short sides {min(sides)} to {max(sides)}"
    ratio = median(size[0] / size[1] for size in sizes.elements())
    shapes = {(192, 256), (128, 256), (256, 192), (256, 128), (256, 256)}
    high, wide = min(shapes, key=lambda shape: abs(log(shape[0] / shape[1] / ratio)))
    return said + (f"; --size {high}x{wide} has their shape" if high != wide else "")


def _rules(description: Description, samples: Sequence[Sample]) -> Iterator[str]:
    yield (
        "mirrored pictures are as good"
        if description.flip
        else "pictures are not mirrored: classes name sides"
    )
    if any(sample.group for sample in samples):
        yield "photos of one group are right exemplars for each other"


def _finish(root: Path, part: Part, files: Sequence[Path], guess: bool) -> tuple[Part, str, list[str]]:
    """A part with what its files say; what it is taken for, and questions."""
    if guess:
        part = _part(_guess(files), part.files)
    where = part.files or "the photos"
    if part.kind == "labels" or (part.made and part.files):
        found, said, questions = look_at_masks(root, files)
        part = replace(part, **found)
        if part.made:
            background = part.classes[0].name if part.by == "number" and part.classes[0].number == 0 else ""
            part = replace(part, background=background, unknown="")
            return part, f"edges: drawn from the photos and along the outlines of {where}", []
        return part, f"{where}: masks, {said}", questions
    if part.made:
        return part, "edges: drawn from the photos", []
    if part.kind == "depth":
        least, most, zeros = _extent(files, 2)
        holes = (
            [f"{where}: {zeros:.1%} of the values are 0: is that 'not measured'? then void = 0"]
            if zeros
            else []
        )
        return replace(part, range=(least, most)), f"{where}: depth from {least:g} to {most:g}", holes
    if part.kind == "normals":
        least, most, _ = _extent(files, 3)
        levels = {np.uint8: 255.0, np.uint16: 65535.0}.get(read_measure(files[0]).dtype.type, 1.0)
        bounds = (-levels if least < 0 else 0.0, levels)
        ask = f'{where}: does the second channel point up (as in OpenGL), or down? then y = "down"'
        return (
            replace(part, range=bounds),
            f"{where}: normals, {bounds[0]:g} to {bounds[1]:g} for -1 to 1",
            [ask],
        )
    words = {"edges": "line drawings", "picture": "pictures in colour", "poses": "poses of people"}
    return part, f"{where}: {words[part.kind]}", []


def _guess(files: Sequence[Path]) -> str:
    """The kind of files in a folder whose name does not tell it."""
    some = files[:: max(1, len(files) // FEW)]
    if any(path.suffix.lower() == ".npy" for path in some):
        return "normals" if read_measure(some[0]).ndim == 3 else "depth"
    if any(_mode(path) in ("F", "I", "I;16", "I;16B") for path in some):
        return "depth"
    colours = [np.unique(read_photo(path).reshape(-1, 3), axis=0) for path in some]
    return "labels" if max(map(len, colours)) <= FEW else "picture"


def _extent(files: Sequence[Path], dimensions: int) -> tuple[float, float, float]:
    """Least, most, and the share of zeros where all else is well above 0. Raises UsageError for mixed kinds."""
    first, least, most, zeros, above = read_measure(files[0]).dtype, np.inf, -np.inf, 0.0, np.inf
    for path in files:
        values = read_measure(path)
        if values.ndim != dimensions:
            wanted = "three numbers (x, y, z)" if dimensions == 3 else "one number"
            raise UsageError(f"{path}: expected {wanted} a pixel, found an array of {values.shape}")
        if values.dtype != first:
            raise UsageError(
                f"{path}: {values.dtype}, but {files[0].name} is {first}: mixed kinds; save all alike"
            )
        found = values[np.isfinite(values)]
        if found.size:
            least, most = min(least, float(found.min())), max(most, float(found.max()))
            above = min(above, float(found[found != 0].min())) if found.any() else above
        zeros += float((values == 0).mean()) / len(files)
    if not least < most:
        raise UsageError(f"{files[0].parent}: all values are {most:g}: expected a measure")
    return least, most, zeros if least == 0 and above > 0.02 * most else 0.0


def _mode(path: Path) -> str:
    try:
        with Image.open(path) as image:
            return image.mode
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: not an image that can be read ({error})") from None


def _has_sides(parts: Sequence[Part]) -> bool:
    names = " ".join(entry.name.lower() for part in parts for entry in part.classes)
    return bool(re.search(r"(^|[^a-z])(left|right|l|r)([^a-z]|$)", names))
