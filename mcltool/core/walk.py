"""Walking through folders of files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from mcltool.core.errors import UsageError

IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif", ".avif"}
    | {".jp2", ".j2k", ".ppm", ".pgm", ".pbm", ".pnm"}
)


def walk_files(folder: Path, suffixes: frozenset[str], every: bool = False) -> Iterator[Path]:
    """Files below ``folder`` with one of ``suffixes`` (lower case, with dot), sorted, hidden ones left out.

    Links to folders are not followed. every: also anything with such a name that is not a file: dangling links, links
    to folders, pipes, folders in which nothing is found. Raises UsageError for a folder that is not there or cannot
    be listed.
    """
    return (Path(folder, name) for name in walk_names(folder, suffixes, every))


def walk_names(folder: Path, suffixes: frozenset[str], every: bool = False, inner: str = "") -> Iterator[str]:
    """As ``walk_files``, but names relative to ``folder``, of files below its ``inner`` ("" or "a/b/").

    It holds the names of one folder at a time and creates no Path objects: a million names take a second.
    """
    try:
        with os.scandir(os.path.join(folder, inner)) as entries:
            names, folders = _wanted(entries, suffixes, every)
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{folder / inner}: no such folder") from None
    except OSError as error:
        raise UsageError(f"{folder / inner}: cannot be listed ({error.strerror})") from None
    for name in names:
        if name not in folders:
            yield inner + name
            continue
        empty = True
        for found in walk_names(folder, suffixes, every, f"{inner}{name}/"):
            empty = False
            yield found
        if every and empty and _has_suffix(name, suffixes):
            yield inner + name


def _wanted(
    entries: Iterable[os.DirEntry[str]], suffixes: frozenset[str], every: bool
) -> tuple[list[str], set[str]]:
    """Sorted names of folders and of entries with one of ``suffixes``; and which of them are folders."""
    names, folders = [], set()
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            folders.add(entry.name)
            names.append(entry.name)
        elif _has_suffix(entry.name, suffixes) and (every or entry.is_file()):
            names.append(entry.name)
    names.sort()
    return names, folders


def _has_suffix(name: str, suffixes: frozenset[str]) -> bool:
    return "." + name.rpartition(".")[2].lower() in suffixes
