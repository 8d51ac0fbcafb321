"""The description of a folder: a few values that a person can read and correct, in DIR/dataset.toml.

Weights and packs carry the same values as JSON (ConditionSpec.reading), so that they do not need the folder.
"""

from __future__ import annotations

import dataclasses
import json
import re
import tomllib
import types
import typing
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from mcltool import UsageError
from mcltool_folder.classes import MOST_CLASSES, ClassEntry

NAME = "dataset.toml"
KINDS = ("labels", "edges", "depth", "normals", "picture", "poses")


def _key(default: Any, says: str, *kinds: str) -> Any:
    """A key of the file. says: the comment beside it. kinds: of conditions that have it; none: all."""
    return field(default=default, metadata={"says": says, "kinds": kinds})


@dataclass(frozen=True)
class Part:
    """One part of a condition. classes: of masks."""

    kind: Literal["labels", "edges", "depth", "normals", "picture", "poses"]
    files: str = _key("", "folder, *_ending beside the photos, or column of the metadata")
    made: bool = _key(
        False, "drawn from the photos, and along the outlines of masks that files names", "edges"
    )
    by: Literal["number", "colour"] = _key("number", "number or colour: what says a pixel's class", "labels")
    unknown: str = _key("", "the class where nothing is known, if there is one", "labels")
    near: float = _key(0.0, "of masks of colours: share of pixels that may have nearly a class's", "labels")
    background: str = _key("", "the class in which nothing is drawn", "edges")
    range: tuple[float, float] | None = _key(
        None, "values that become 0 and 1; for normals, -1 and 1", "depth", "normals"
    )
    void: float | None = _key(None, "value where nothing was measured", "depth")
    y: Literal["up", "down"] = _key("up", "where the second channel points: up or down", "normals")
    classes: tuple[ClassEntry, ...] = ()

    def __post_init__(self) -> None:
        masks = "labels" in self.kinds
        names = [entry.name for entry in self.classes]
        _require(not masks or 1 <= len(names) <= MOST_CLASSES, f"classes: expected 1 to {MOST_CLASSES}")
        _require(len({*names}) == len(names), "classes: two have one name")
        _require(all(names), "classes: one has no name")
        for key in ("unknown", "background"):
            name = getattr(self, key)
            _require(not name or name in names, f"{key}: no class {name!r}{_nearest(name, names)}")
        by_number = masks and self.by == "number"
        numbers = [entry.number for entry in self.classes if entry.number is not None]
        fits = len({*numbers}) == len(names) and all(0 <= number <= 255 for number in numbers)
        _require(not by_number or fits, "classes: each needs a number of its own, 0 to 255")
        colours = {entry.colour for entry in self.classes}
        _require(by_number or len(colours) == len(names), "classes: each needs a colour of its own")
        _require(all(0 <= v <= 255 for colour in colours for v in colour), "classes: colours are 0 to 255")
        _require(0 <= self.near <= 1, "near: a share, 0 to 1")
        _require(self.range is None or self.range[0] < self.range[1], "range: expected [least, most]")
        _require(self.kind not in ("depth", "normals") or self.range is not None, "range: missing")
        _require(self.made is False or self.kind == "edges", "made: only edges can be made from photos")

    @property
    def kinds(self) -> set[str]:
        """Its own, and labels where it is drawn along the outlines of masks."""
        return {self.kind, "labels"} if self.made and self.files else {self.kind}

    def has(self, key: dataclasses.Field[Any]) -> bool:
        kinds = key.metadata.get("kinds")
        return not kinds or bool({*kinds} & self.kinds)

    def strays(self) -> list[str]:
        """Keys that were given a value but do not belong to this kind."""
        unfit = (key for key in dataclasses.fields(self) if not self.has(key))
        return [key.name for key in unfit if getattr(self, key.name) != key.default]


@dataclass(frozen=True)
class Description:
    """What a folder holds. Paths are relative to it."""

    condition: tuple[Part, ...]
    layout: Literal["folders", "beside", "metadata"] = _key(
        "folders", "folders (images/, masks/), beside (x.jpg with x_mask.png) or metadata (metadata.csv ...)"
    )
    train: str = _key(".", "folder of the training samples; . is this one")
    val: str | float = _key(0.1, "folder of held-out samples, or a share of train, chosen by name")
    photos: str = _key("", "folder of the photos in there, or column of the metadata")
    group: str = _key("", "photos of one thing: folder, or a pattern that finds it in a name, like '^[^_]+'")
    flip: bool = _key(True, "whether a mirrored picture is as good")
    unpaired: Literal["refuse", "leave out"] = _key(
        "refuse", "photos without condition: refuse, or leave out"
    )
    short_side: tuple[int, int] | None = _key(None, "[least, most] in pixels, of photos to use")

    def __post_init__(self) -> None:
        _require(bool(self.condition), "condition: at least one is needed")
        for path in (self.train, str(self.val), self.photos, *(part.files for part in self.condition)):
            inside = not Path(path).is_absolute() and ".." not in PurePosixPath(path).parts
            _require(inside and "\\" not in path, f"{path}: a path that leaves the folder")
        _require(isinstance(self.val, str) or 0 < self.val < 1, "val: a folder, or a share between 0 and 1")
        _require(
            self.val != self.train, f"val: {self.val!r} is the folder of train too: nothing would be held out"
        )
        try:
            re.compile(self.group)
        except re.error as error:
            raise UsageError(f"group: {self.group!r} is not a regular expression ({error})") from None

    @property
    def is_labels(self) -> bool:
        """Whether its conditions are masks alone, which are read as class numbers."""
        return [part.kind for part in self.condition] == ["labels"]

    def to_json(self) -> str:
        """Only values that differ from their defaults."""
        return json.dumps(_plain(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Description:
        """Raises UsageError for text that is not a description."""
        try:
            return typing.cast(Description, _build(cls, json.loads(text), ""))
        except (ValueError, RecursionError) as error:
            raise UsageError(f"not a description of a data set ({error})") from None

    @classmethod
    def read(cls, path: Path) -> Description:
        """The description in a TOML file. Raises UsageError naming it and the nearest known key."""
        try:
            found: Description = _build(cls, tomllib.loads(path.read_text("utf-8-sig")), "")
            strays = [f"condition[{n}].{key}" for n, p in enumerate(found.condition) for key in p.strays()]
            _require(not strays, f"{', '.join(strays)}: not a key of this kind of condition")
            return found
        except OSError as error:
            raise UsageError(f"{path}: cannot be read ({error.strerror})") from None
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{path}: not valid TOML ({error})") from None
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from None


def write_toml(description: Description, notes: typing.Sequence[str]) -> str:
    """The file: every key with a comment that explains it. notes: comments at the top, a line each."""
    lines = [f"# What mcltool takes this folder for. Correct what is wrong; delete {NAME} to start over."]
    lines += [f"# {note}" for note in notes] + [""]
    lines += _entries(description, leave_out="condition")
    for part in description.condition:
        lines += ["", "[[condition]]", *_entries(part, leave_out="classes")]
        if part.classes:
            lines += ["classes = [", *(f"  {_inline(entry)}," for entry in part.classes), "]"]
    return "\n".join(lines) + "\n"


def _entries(value: Description | Part, leave_out: str) -> list[str]:
    """A line for each key that its kind has."""
    lines = []
    for item in dataclasses.fields(value):
        if item.name == leave_out or (isinstance(value, Part) and not value.has(item)):
            continue
        found = getattr(value, item.name)
        text = f"{item.name} = {_toml(found)}" if found is not None else f"# {item.name} ="
        lines.append(f"{text:<28} # {item.metadata.get('says', ', '.join(KINDS))}")
    return lines


def _inline(entry: ClassEntry) -> str:
    pairs = [f"{name} = {_toml(value)}" for name, value in vars(entry).items() if value is not None]
    return "{ " + ", ".join(pairs) + " }"


_toml = partial(json.dumps, ensure_ascii=False)
"""Text, numbers, booleans and lists of them look the same in JSON and TOML."""


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {
            item.name: _plain(getattr(value, item.name))
            for item in dataclasses.fields(value)
            if getattr(value, item.name) != item.default
        }
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _build(cls: Any, raw: Any, where: str) -> Any:
    """A dataclass of plain values. Raises UsageError for unknown keys and values of another type."""
    if not isinstance(raw, dict):
        raise UsageError(f"{where or 'it'}: expected keys with values")
    hints = typing.get_type_hints(cls)
    values = {}
    for key, value in raw.items():
        if key not in hints:
            raise UsageError(f"{where}{key}: unknown key{_nearest(key, hints)}")
        values[key] = _convert(value, hints[key], f"{where}{key}")
    for item in dataclasses.fields(cls):
        if item.default is dataclasses.MISSING and item.name not in values:
            raise UsageError(f"{where}{item.name}: missing")
    try:
        return cls(**values)
    except UsageError as error:
        raise UsageError(f"{where}{error}") from None


def _convert(value: Any, wanted: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if origin is types.UnionType:
        chosen = [kind for kind in arguments if kind is not types.NoneType]
        matching = str if isinstance(value, str) else chosen[-1]
        return _convert(value, matching if matching in chosen else chosen[0], where)
    if origin is Literal:
        known = ", ".join(arguments)
        if value not in arguments:
            raise UsageError(f"{where}: {value!r}{_nearest(str(value), arguments)}; expected one of {known}")
        return value
    if origin is tuple:
        count = "" if arguments[-1] is ... else f" of {len(arguments)} numbers"
        if not isinstance(value, list) or (count and len(value) != len(arguments)):
            raise UsageError(f"{where}: {value!r}, expected a list{count}")
        return tuple(_convert(item, arguments[0], f"{where}[{n}]") for n, item in enumerate(value))
    if dataclasses.is_dataclass(wanted):
        return _build(wanted, value, f"{where}.")
    if wanted is float and type(value) is int:
        return float(value)
    if type(value) is not wanted or value in (float("inf"), float("-inf")) or value != value:
        raise UsageError(f"{where}: {value!r}, expected {_WORDS[wanted]}")
    return value


_WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def _nearest(name: str, known: typing.Iterable[str]) -> str:
    close = get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise UsageError(message)
