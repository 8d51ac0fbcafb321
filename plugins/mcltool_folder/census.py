"""Which numbers or colours the masks of a data set have, and which classes they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mcltool import DataError, UsageError, read_labels, read_photo
from mcltool_folder.classes import MOST_CLASSES, RGB, ClassEntry, find_classes, shade
from mcltool_folder.files import codes_of

VOID = 255
"""The number that label maps have where nobody labelled anything."""
TWO_TONE = 0.9
"""Share of black and white in grey masks whose other levels are smoothed edges."""
RARE = 1e-3
"""Share of all pixels below which a colour may be one between two classes'."""
BETWEEN = 12.0
"""Distance in levels from the line between two colours that still counts as between them."""
FEW = 8
"""As few rare colours as this are classes, wherever they lie."""
MOST_NEAR = 0.05
"""Largest share of a mask in colours between the classes' that passes for smoothed edges."""

_TONES = (ClassEntry("background", None, (0, 0, 0)), ClassEntry("thing", None, (255, 255, 255)))

Found = tuple[dict[str, Any], str, list[str]]
"""Fields of a Part, what was found in words, and questions."""


@dataclass
class _Census:
    """Pixels by number and by colour, (r << 16) + (g << 8) + b, and the files of each kind."""

    numbers: Counter[int] = field(default_factory=Counter)
    colours: Counter[int] = field(default_factory=Counter)
    by_number: list[Path] = field(default_factory=list)
    by_colour: list[Path] = field(default_factory=list)
    palette: dict[int, RGB] = field(default_factory=dict)
    ones: list[Path] = field(default_factory=list)
    whites: list[Path] = field(default_factory=list)
    """Masks with a pixel of 1, and of 255."""


def look_at_masks(root: Path, files: Sequence[Path]) -> Found:
    """The classes of all masks of a data set. Raises UsageError where they make no sense together."""
    census = _Census()
    for path in files:
        _count(path, census)
    if census.by_number and census.by_colour:
        odd = min(census.by_number, census.by_colour, key=len)
        raise UsageError(
            f"{odd[0]}: mixed kinds: {len(census.by_number)} masks have numbers, {len(census.by_colour)} colours; "
            "make them all of one kind"
        )
    if census.by_colour:
        return _by_colour(root, census.colours, census.by_colour)
    if set(census.numbers) == {0, 1, VOID} and not {*census.ones} & {*census.whites}:
        odd = min(census.ones, census.whites, key=len)
        raise UsageError(
            f"{odd[0]}: mixed kinds: {len(census.ones)} masks are of 0 and 1, {len(census.whites)} of 0 and {VOID}; "
            "make them all of one kind"
        )
    total = sum(census.numbers.values())
    tones = (census.numbers[0] + census.numbers[VOID]) / total
    if len(census.numbers) > 2 and tones > TWO_TONE and len(census.numbers) > FEW and not find_classes(root):
        greys = Counter({number * 0x010101: times for number, times in census.numbers.items()})
        return _by_colour(root, greys, census.by_number, _TONES)
    return _by_number(root, census.numbers, census.palette)


def _count(path: Path, census: _Census) -> None:
    try:
        numbers = read_labels(path, 256)
    except DataError:
        mode, _ = _header(path)
        if mode not in ("RGB", "RGBA"):
            raise
        census.colours.update(_colours(read_photo(path)))
        census.by_colour.append(path)
        return
    times = np.bincount(numbers.ravel(), minlength=256)
    census.numbers.update({number: int(times[number]) for number in np.flatnonzero(times).tolist()})
    if not census.palette:
        census.palette = _header(path)[1]
    census.by_number.append(path)
    if times[1]:
        census.ones.append(path)
    if times[VOID]:
        census.whites.append(path)


def _header(path: Path) -> tuple[str, dict[int, RGB]]:
    """Mode of an image, and the colours of its numbers where it is a palette of more than greys."""
    try:
        with Image.open(path) as image:
            flat = (image.getpalette("RGB") or []) if image.mode == "P" else []
            colours = [(r, g, b) for r, g, b in zip(flat[::3], flat[1::3], flat[2::3], strict=True)]
            is_grey = all(r == g == b for r, g, b in colours)
            return image.mode, {} if is_grey else dict(enumerate(colours))
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path}: not an image that can be read ({error})") from None


def _by_number(root: Path, found: Counter[int], palette: dict[int, RGB]) -> Found:
    listed = find_classes(root)
    questions, source, unknown = [], "", ""
    if listed:
        path, entries = listed
        if any(entry.number is None for entry in entries):
            raise UsageError(f"{path}: lists colours, but the masks have numbers; add the classes' numbers")
        extra = sorted(set(found) - {entry.number for entry in entries} - {VOID})
        if extra:
            raise UsageError(
                f"{path}: the masks also have {_some(extra)}; add {'it' if len(extra) == 1 else 'them'}"
            )
        source = f" of {path.name}"
    elif set(found) == {0, VOID}:
        entries = [ClassEntry("background", 0, (24, 26, 36)), ClassEntry("thing", VOID, (240, 240, 236))]
    else:
        entries = [
            ClassEntry(f"class {number}", number, (-1, -1, -1)) for number in sorted({*found} - {VOID})
        ]
    if VOID in found and VOID not in {entry.number for entry in entries}:
        unknown = "unknown"
        entries = [*entries, ClassEntry(unknown, VOID, (60, 60, 60))]
        share = found[VOID] / sum(found.values())
        questions.append(
            f"{share:.1%} of the masks is {VOID}, taken for 'unknown'; a class? then unknown = \"\""
        )
    if len(entries) > MOST_CLASSES:
        raise UsageError(
            f"{root}: masks with {len(entries)} numbers: more than {MOST_CLASSES} classes; pictures?"
        )
    classes = tuple(_coloured(entry, palette) for entry in entries)
    return {"classes": classes, "unknown": unknown}, f"{len(classes)} classes by number{source}", questions


def _coloured(entry: ClassEntry, palette: dict[int, RGB]) -> ClassEntry:
    number = entry.number or 0
    colour = entry.colour if entry.colour[0] >= 0 else palette.get(number, shade(number))
    return ClassEntry(entry.name, entry.number, colour)


def _by_colour(
    root: Path, found: Counter[int], files: Sequence[Path], classes: Sequence[ClassEntry] = ()
) -> Found:
    """classes: where they are known."""
    listed = find_classes(root)
    if listed:
        path, entries = listed
        if any(entry.colour[0] < 0 for entry in entries):
            raise UsageError(f"{path}: lists numbers, but the masks have colours; add the classes' colours")
        classes = [ClassEntry(entry.name, None, entry.colour) for entry in entries]
    elif not classes:
        codes = _class_colours(found)
        if len(codes) > MOST_CLASSES:
            raise UsageError(
                f"{files[0]}: masks of {len(codes)} colours, more than {MOST_CLASSES} classes: once JPEG, or pictures?"
            )
        classes = [ClassEntry(f"#{code:06x}", None, _rgb(code)) for code in codes]
    questions = []
    codes = [_code(entry.colour) for entry in classes]
    near = sum(times for code, times in found.items() if code not in codes) / sum(found.values())
    limit = _worst(files, codes) if near else 0.0
    if near:
        questions.append(
            f"{near:.2%} of the pixels have colours between the classes', taken for the nearest one's"
        )
    if not listed and "#000000" in {entry.name for entry in classes}:
        share = found[0] / sum(found.values())
        questions.append(
            f'is black, {share:.1%} of the pixels, where nothing is known? then unknown = "#000000"'
        )
    said = f"{len(classes)} classes by colour" + (f" of {listed[0].name}" if listed else "")
    return {"by": "colour", "classes": tuple(classes), "near": limit}, said, questions


def _class_colours(found: Counter[int]) -> list[int]:
    """All colours, but not the rare ones that smoothing made between two frequent ones."""
    total = sum(found.values())
    frequent = [code for code, times in found.items() if times >= RARE * total]
    rare = [code for code, times in found.most_common() if times < RARE * total]
    if len(rare) <= FEW:
        return sorted(found)
    ends = np.array([_rgb(code) for code in frequent], np.float32)
    between = _is_between(np.array([_rgb(code) for code in rare], np.float32), ends)
    return sorted([*frequent, *(code for code, is_near in zip(rare, between, strict=True) if not is_near)])


def _is_between(colours: NDArray[np.float32], ends: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether each of (n, 3) lies within BETWEEN of a line between two of ``ends`` (m, 3)."""
    result = np.zeros(len(colours), bool)
    for first, start in enumerate(ends):
        for stop in ends[first + 1 :]:
            along = stop - start
            place = np.clip((colours - start) @ along / (along @ along), 0, 1)
            result |= np.linalg.norm(colours - start - place[:, None] * along, axis=1) <= BETWEEN
    return result


def _worst(files: Sequence[Path], codes: Sequence[int]) -> float:
    """The share to allow for colours that are nearly a class's. Raises UsageError where a mask has too many."""
    shares = [float(np.isin(codes_of(read_photo(path)), codes, invert=True).mean()) for path in files]
    worst = int(np.argmax(shares))
    if shares[worst] > MOST_NEAR:
        raise UsageError(
            f"{files[worst]}: {shares[worst]:.1%} of its pixels have the colour of no class (limit {MOST_NEAR:.0%}): "
            "save masks as PNG, without smoothing; or list their colours in classes.txt"
        )
    return MOST_NEAR


def _colours(picture: NDArray[np.uint8]) -> dict[int, int]:
    """Pixels by colour."""
    if found := Image.fromarray(picture).getcolors(1 << 16):  # ten times as fast, where colours are few
        return {_code(colour): times for times, colour in found}  # type: ignore[arg-type]
    codes, times = np.unique(codes_of(picture), return_counts=True)
    return dict(zip(codes.tolist(), times.tolist(), strict=True))


def _code(colour: RGB) -> int:
    return (colour[0] << 16) + (colour[1] << 8) + colour[2]


def _rgb(code: int) -> RGB:
    return code >> 16, code >> 8 & 255, code & 255


def _some(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers[:5])) + (f" and {len(numbers) - 5} more" if len(numbers) > 5 else "")
