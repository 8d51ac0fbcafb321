"""Names of conditions and photos: what they are compared by, and which are refused."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import PurePath, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from mcltool.core.errors import UsageError

RESERVED = ".mcltool"
"""The folder in OUT where jobs keep what is not finished."""


def hashes(names: Iterable[str], count: int) -> NDArray[np.int64]:
    """A 64-bit number for each of ``count`` names: 8 bytes where a set would take 100.

    Two of a million names share a number by chance once in forty million jobs.
    """
    return np.fromiter(map(hash, names), np.int64, count)


def repeated(values: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of ``values`` occur more than once."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray(counts[inverse] > 1)


def check_names(names: Sequence[str]) -> None:
    """Raises UsageError for names that are not all different, or that would leave a folder."""
    twice = repeated(hashes(names, len(names)))
    if twice.any():
        raise UsageError(f"{names[int(twice.argmax())]}: the plugin gives several conditions this name")
    for name in names:
        if ".." in name or name.startswith("/"):
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts:
                raise UsageError(f"{name}: not a name below CONDITIONS")


def check_id(name: str) -> None:
    """Raises UsageError for an id, which a plugin may take from inside a file, that cannot be a file's name."""
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        raise UsageError(f"{name!r}: not a name that a file can have") from None
    parts, path = name.split("/"), PurePath(name)
    is_split = (
        path.drive or path.root or len(path.parts) != len(parts)
    )  # on Windows: a drive, other separators
    if "\0" in name or {"", ".", ".."} & {*parts} or parts[0] == RESERVED or is_split:
        raise UsageError(f"{name!r}: not a name below CONDITIONS")
