"""Which exemplar each condition gets: by names, or by the features of both (``--pair nearest``).

Both encoders map to one space, so that a condition can be compared with a photo. Nearest means the largest cosine
of their mean correspondence features, exactly, in bounded memory: features lie on disk and are compared by blocks.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
import zlib
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mcltool.core.errors import UsageError
from mcltool.core.files import write_text
from mcltool.translate.images import OutputSize
from mcltool.translate.lists import read_list, write_pairs
from mcltool.translate.manifest import stamp
from mcltool.translate.plan import Conditions, Exemplars, Indices, Pairs, hashes, stem
from mcltool.translate.reader import Preparer, Reader, Request

if TYPE_CHECKING:
    from mcltool.translate.translator import Translator

PAIRINGS = ("auto", "stem", "one", "cycle", "random", "all", "nearest")

KEPT, MARK = "pairs.csv", "pairs.sha256"
"""Files in OUT: the nearest pairs, and of what they were found."""
BLOCK = 4096
"""Rows of features compared at a time."""
WINDOW = 32
"""Files read at a time."""

Features = NDArray[np.float32]


def pair_by_names(
    ids: Sequence[str], inputs: Sequence[str], exemplars: Sequence[str], pair: str, seed: int = 0
) -> Pairs | None:
    """The pairs of a job; None where all exemplars have to be looked at (nearest), -1 where some have.

    ids, inputs: of the conditions, without and with suffix. exemplars: names relative to their folder.
    pair: "stem" takes the exemplar of the same relative path without suffix, else the only one of the same
    base name; "one" the only exemplar; "cycle" all in turn, in natural order (2 before 10); "random" one drawn
    from the seed and the condition's name; "all" every one; "nearest"; "auto" the only exemplar there is, else
    stem, and nearest for what has none; anything else is a list of exemplars (mcltool.data.pairs).

    Raises UsageError where that cannot be.
    """
    count = len(ids)
    if pair == "nearest":
        return None
    if pair in ("stem", "auto"):
        matches = _match_stems(ids, exemplars)
        missing = np.flatnonzero(matches < 0)
        if missing.size and pair == "stem":
            raise UsageError(f"--pair stem: {_lacking(ids, missing, 'an exemplar of their name')}")
        if missing.size and len(exemplars) == 1:
            return _each(np.zeros(count))
        return _each(matches) if missing.size < count else None
    if pair == "one":
        if len(exemplars) > 1:
            raise UsageError(f"--pair one: expected a single exemplar, found {len(exemplars)}")
        return _each(np.zeros(count))
    if pair == "cycle":
        chosen = np.zeros(count, np.int32)
        chosen[_natural_order(inputs)] = np.resize(_natural_order(exemplars), count)
        return _each(chosen)
    if pair == "random":
        return _each(np.fromiter((_drawn(name, seed, len(exemplars)) for name in ids), np.int32, count))
    if pair == "all":
        conditions = np.repeat(np.arange(count, dtype=np.int32), len(exemplars))
        return Pairs(conditions, np.tile(np.arange(len(exemplars), dtype=np.int32), count))
    if not Path(pair).exists():
        ways = ", ".join(PAIRINGS)
        raise UsageError(f"--pair {pair}: must be one of {ways}, or a list (CSV or text) that is there")
    return read_list(Path(pair), ids, inputs, exemplars)


def _natural_order(names: Sequence[str]) -> Indices:
    """The numbers of ``names`` sorted as people count: 2 before 10."""
    keys = [re.sub(r"\d+", lambda digits: digits[0].zfill(20), name) for name in names]
    return np.array(sorted(range(len(names)), key=keys.__getitem__), np.int32)


def _each(chosen: NDArray[np.generic]) -> Pairs:
    """Every condition once."""
    return Pairs(np.arange(len(chosen), dtype=np.int32), chosen.astype(np.int32))


def _lacking(ids: Sequence[str], missing: NDArray[np.intp], what: str) -> str:
    return f"{missing.size} of {len(ids)} conditions lack {what}, such as {ids[int(missing[0])]}"


def _drawn(name: str, seed: int, count: int) -> int:
    """Depends on the condition's own name alone: new conditions leave the others' exemplars as they were."""
    return zlib.crc32(f"{seed}:{name}".encode(errors="surrogateescape")) % count


def _match_stems(ids: Sequence[str], exemplars: Sequence[str]) -> Indices:
    """The index of each condition's exemplar; -1 where there is none or a choice."""
    by_path, several = _look_up(
        hashes((stem(name) for name in exemplars), len(exemplars)), hashes(ids, len(ids))
    )
    by_name, _ = _look_up(
        hashes((stem(name).rpartition("/")[2] for name in exemplars), len(exemplars)),
        hashes((name.rpartition("/")[2] for name in ids), len(ids)),
    )
    return np.where((by_path >= 0) | several, by_path, by_name)


def _look_up(names: NDArray[np.int64], wanted: NDArray[np.int64]) -> tuple[Indices, NDArray[np.bool_]]:
    """For each wanted the index of the only one among names, else -1; and whether there are several."""
    order = np.argsort(names)
    first = np.searchsorted(names, wanted, "left", sorter=order)
    count = np.searchsorted(names, wanted, "right", sorter=order) - first
    found = order[np.minimum(first, len(names) - 1)]
    return np.where(count == 1, found, -1).astype(np.int32), count > 1


# --- nearest ---


def nearest_pairs(
    translator: Translator,
    size: OutputSize,
    conditions: Conditions,
    exemplars: Exemplars,
    workers: int,
    scratch: Path | None,
    chosen: Indices,
) -> Pairs:
    """For each condition that has none the exemplar of the largest cosine. A condition that cannot be read gets the
    first one, and fails when it is translated.

    chosen: the exemplar of each condition, -1 for none. size: as in Settings. scratch: a folder for temporary
    files. Raises UsageError where no exemplar can be read.
    """
    photos = [exemplars.path(number) for number in range(len(exemplars.names))]
    left = np.flatnonzero(chosen < 0)
    wanted = [(*conditions.files(number), ()) for number in left.tolist()]
    preparer = Preparer(translator.plugin, translator.short_side, size)
    with (
        tempfile.TemporaryDirectory(dir=scratch, prefix="features-") as folder,
        Reader(preparer, workers) as reader,
    ):
        keys, usable = _features(Path(folder, "exemplars"), photos, reader, translator.pooled_exemplars)
        if not usable.any():
            raise UsageError(f"{exemplars.folder}: none of its photos can be read")
        queries, _ = _features(Path(folder, "conditions"), wanted, reader, translator.pooled_conditions)
        found = chosen.copy()
        found[left] = top_1(queries, keys, usable)
        return _each(found)


def kept_pairs(out: Path, about: str, conditions: Conditions, exemplars: Exemplars) -> Pairs | None:
    """The nearest pairs kept in OUT, if nothing in both folders has changed since. about: what else decides them."""
    mark = out / MARK
    if not mark.exists() or mark.read_text() != _fingerprint(about, conditions, exemplars):
        return None
    if not (out / KEPT).exists():
        return None
    return read_list(out / KEPT, conditions.ids, conditions.inputs, exemplars.names)


def keep_pairs(
    out: Path, about: str, conditions: Conditions, exemplars: Exemplars, pairs: Pairs, scratch: Path
) -> None:
    """Keep nearest pairs in OUT for the next run, and for the other shards."""
    rows = (
        (conditions.inputs[c], exemplars.names[e])
        for c, e in zip(pairs.conditions, pairs.exemplars, strict=True)
    )
    write_pairs(out / KEPT, rows, scratch)
    write_text(out / MARK, _fingerprint(about, conditions, exemplars), scratch)


def top_1(
    queries: Features, keys: Features, usable: NDArray[np.bool_], block: int = BLOCK
) -> NDArray[np.int32]:
    """For each row of ``queries`` (C, D) the row of ``keys`` (E, D) with the largest product, of those usable.

    Exact; of equal ones the first. Holds ``block`` rows of each and their products at a time.
    """
    best = np.zeros(len(queries), np.int32)
    for row in range(0, len(queries), block):
        query = np.asarray(queries[row : row + block])
        score = np.full(len(query), -np.inf, np.float32)
        for column in range(0, len(keys), block):
            products = query @ np.asarray(keys[column : column + block]).T
            products[:, ~usable[column : column + block]] = -np.inf
            place = products.argmax(1)
            found = products[np.arange(len(query)), place]
            better = found > score
            best[row : row + block][better] = column + place[better]
            score[better] = found[better]
    return best


def _features(
    path: Path, requests: Sequence[Request], reader: Reader, pooled: Callable[[list[NDArray[Any]]], Features]
) -> tuple[Features, NDArray[np.bool_]]:
    """(N, D) features of photos or conditions, in a file, and which of them are there."""
    windows = (requests[start : start + WINDOW] for start in range(0, len(requests), WINDOW))
    usable = np.zeros(len(requests), bool)
    features: Features | None = None
    for place, read in enumerate(chain.from_iterable(reader.read(windows))):
        if read.planes is not None:
            row = pooled([read.planes])[0]
            if features is None:
                features = np.memmap(path, np.float32, "w+", shape=(len(requests), len(row)))
            features[place], usable[place] = row, True
    return (np.zeros((len(requests), 1), np.float32) if features is None else features), usable


def _fingerprint(about: str, conditions: Conditions, exemplars: Exemplars) -> str:
    """Of all that the choice depends on: weights and size (``about``), names, and sizes and times of files."""
    digest = hashlib.sha256(about.encode())
    for number, name in enumerate(exemplars.names):
        digest.update(f"{name!r} {stamp([exemplars.path(number)])}\n".encode())
    for number, name in enumerate(conditions.inputs):
        digest.update(f"{name!r} {stamp(conditions.files(number)[0])}\n".encode())
    return digest.hexdigest()
