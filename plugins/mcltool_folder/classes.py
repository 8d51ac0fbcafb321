"""classes.csv or classes.txt in a folder: names of classes, with their numbers or colours."""

from __future__ import annotations

import colorsys
import re
from dataclasses import dataclass
from pathlib import Path

from mcltool import UsageError

RGB = tuple[int, int, int]
MOST_CLASSES = 255
NAMES = ("classes.csv", "classes.txt")
_HEX = re.compile(r"#([0-9a-fA-F]{6})\b")
_WORD = re.compile(r'"([^"]*)"|([^,;\s]+)')
_NUMBERS, _COLOURS = ("number", "id", "index", "value"), ("r", "red", "colour", "color")


@dataclass(frozen=True)
class ClassEntry:
    """One class of a mask. number: its value in numbered masks. colour: in coloured masks, and on screen."""

    name: str
    number: int | None = None
    colour: RGB = (0, 0, 0)


def find_classes(root: Path) -> tuple[Path, list[ClassEntry]] | None:
    """The classes that a file in ``root`` lists; None where there is no such file.

    A line is a number or a colour (three numbers, or #rrggbb) and a name, in any order, between commas, tabs or
    spaces, in quotes or not; a line of a name alone is the class of the line's number, from 0. Raises UsageError.
    """
    found = [root / name for name in NAMES if (root / name).is_file()]
    if not found:
        return None
    if len(found) > 1:
        raise UsageError(f"{found[0]}: there is {found[1].name} too; keep one of them")
    try:
        lines = [line.strip() for line in found[0].read_text("utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{found[0]}: cannot be read ({error})") from None
    lines = [line for line in lines if line and not line.startswith("//")]
    heading = [word.lower() for word in _words(lines[0])] if lines else []
    has_heading = bool({*heading} & {"name", "class", "label"}) and bool({*heading} & {*_NUMBERS, *_COLOURS})
    colour_first = (
        has_heading and next(word for word in heading if word in (*_NUMBERS, *_COLOURS)) in _COLOURS
    )
    entries = [
        _entry(found[0], line, number, colour_first) for number, line in enumerate(lines[has_heading:])
    ]
    if len({entry.number is None for entry in entries}) != 1:
        raise UsageError(f"{found[0]}: expected a number, or a colour, and a name in every line")
    return found[0], entries


def _words(line: str) -> list[str]:
    return [word for quoted, bare in _WORD.findall(line) if (word := quoted.strip() or bare)]


def _entry(path: Path, line: str, place: int, colour_first: bool) -> ClassEntry:
    """number is None where the line has a colour and no number."""
    named = _HEX.search(line)
    colour = tuple(bytes.fromhex(named[1])) if named else None
    words = _words(_HEX.sub("", line))
    numbers = [int(word) for word in words if word.isdecimal()]
    name = " ".join(word for word in words if not word.isdecimal()) or " ".join(words)
    if len(numbers) >= 3 and colour is None:
        *first, red, green, blue = numbers[: 3 if colour_first else 4]
        return _checked(path, line, name, first[0] if first else None, (red, green, blue))
    if len(numbers) > 1:
        raise UsageError(f"{path}: {line!r}: expected a number or a colour, and a name")
    return _checked(path, line, name, numbers[0] if numbers else None if colour else place, colour)


def _checked(
    path: Path, line: str, name: str, number: int | None, colour: tuple[int, ...] | None
) -> ClassEntry:
    if not name or re.match(r"-\d", name) or max((number or 0, *(colour or ()))) > 255:
        raise UsageError(f"{path}: {line!r}: expected a number or a colour, 0 to 255, and a name")
    red, green, blue = colour or (-1, -1, -1)
    return ClassEntry(name, number, (red, green, blue))


def shade(number: int) -> RGB:
    """A colour for a class that has none, unlike those of the numbers beside it."""
    if number == 0:
        return 24, 26, 36
    red, green, blue = colorsys.hsv_to_rgb(
        number * 0.618034 % 1, 0.45 + 0.2 * (number % 3), 0.95 - 0.15 * (number % 4 // 2)
    )
    return round(255 * red), round(255 * green), round(255 * blue)
