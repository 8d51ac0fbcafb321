"""Chooses an exemplar for each condition, by names or by features (``--pair nearest``).

Both encoders map to one space, so that a condition can be compared with a photo. Nearest means the largest cosine of
their mean correspondence features, exactly, in bounded memory: features lie on disk and are compared in blocks.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
import zlib
from collections.abc import Callable, Sequence
from itertools import chain
from os.path import splitext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mcltool.core.errors import UsageError
from mcltool.core.files import reserve, write_text
from mcltool.data.workers import Ahead
from mcltool.translate.manifest import stamp
from mcltool.translate.names import Indices, Lookup, Pairs, read_list, write_pairs
from mcltool.translate.plan import Conditions, Exemplars, Task
from mcltool.translate.reader import Photo, Preparer, Request

if TYPE_CHECKING:
    from mcltool.translate.job import Job
    from mcltool.translate.translator import Translator

PAIRINGS = ("auto", "stem", "one", "cycle", "random", "all", "nearest")
KEPT, MARK = "pairs.csv", "pairs.sha256"
"""Files in OUT: the nearest pairs, and a digest of what they were found from."""
BLOCK = 4096
"""Rows of features compared at a time."""
WINDOW = 32
"""Files read at a time."""

Features = NDArray[np.float32]


def pair_by_names(
    ids: Sequence[str], inputs: Sequence[str], exemplars: Sequence[str], pair: str, seed: int = 0
) -> Pairs:
    """The pairs of a job, with exemplar -1 for conditions that are left to the features of both (nearest).

    ids, inputs: of the conditions, without and with suffix. exemplars: names relative to their folder.
    pair: "stem" takes the exemplar of the same relative path without suffix, else the only one of the same base name;
    "one" the only exemplar; "cycle" all in turn, in natural order (2 before 10); "random" one drawn from the seed and
    the condition's name; "all" every one; "nearest" none; "auto" the only exemplar there is, else as "stem". Raises
    UsageError for what cannot be done.
    """
    count = len(ids)
    if pair == "all":
        conditions = np.repeat(np.arange(count, dtype=np.int32), len(exemplars))
        return Pairs(conditions, np.tile(np.arange(len(exemplars), dtype=np.int32), count))
    if pair == "one" and len(exemplars) > 1:
        raise UsageError(f"--pair one: expected a single exemplar, found {len(exemplars)}")
    if pair == "one" or (pair == "auto" and len(exemplars) == 1):
        chosen = np.zeros(count, np.int32)
    elif pair == "nearest":
        chosen = np.full(count, -1, np.int32)
    elif pair in ("stem", "auto"):
        chosen = _match_stems(ids, exemplars)
        missing = np.flatnonzero(chosen < 0)
        if missing.size and pair == "stem":
            some = f"{missing.size} of {count} conditions have no exemplar of their name"
            raise UsageError(f"--pair stem: {some}, such as {ids[int(missing[0])]}")
    elif pair == "cycle":
        chosen = np.zeros(count, np.int32)
        chosen[_natural_order(inputs)] = np.resize(_natural_order(exemplars), count)
    elif pair == "random":
        chosen = np.fromiter((_drawn(name, seed, len(exemplars)) for name in ids), np.int32, count)
    else:
        ways = ", ".join(PAIRINGS)
        raise UsageError(f"--pair {pair}: must be one of {ways}, or a list (CSV or text) that is there")
    return Pairs(np.arange(count, dtype=np.int32), chosen)


def _natural_order(names: Sequence[str]) -> Indices:
    """The numbers of ``names`` in natural order: 2 before 10."""
    keys = [re.sub(r"\d+", lambda digits: digits[0].zfill(20), name) for name in names]
    return np.array(sorted(range(len(names)), key=keys.__getitem__), np.int32)


def _drawn(name: str, seed: int, count: int) -> int:
    """Depends only on the condition's own name, so that new conditions do not change the exemplars of others."""
    return zlib.crc32(f"{seed}:{name}".encode(errors="surrogateescape")) % count


def _match_stems(ids: Sequence[str], exemplars: Sequence[str]) -> Indices:
    """The index of each condition's exemplar; -1 if there is none or several fit."""
    stems = [splitext(name)[0] for name in exemplars]
    by_path, several = Lookup(stems, len(stems)).find(ids, len(ids))
    bare = (name.rpartition("/")[2] for name in stems)
    by_name, _ = Lookup(bare, len(stems)).find((name.rpartition("/")[2] for name in ids), len(ids))
    return np.where((by_path >= 0) | several, by_path, by_name).astype(np.int32)


# --- nearest ---


def nearest_pairs(job: Job, translator: Callable[[], Translator], scratch: Path | None) -> Pairs:
    """The job's pairs, with the nearest exemplar for conditions that names leave open.

    They are kept in OUT for the next run and for other shards until a file changes, if OUT is claimed (scratch, a
    folder for temporary files). Raises UsageError where no exemplar can be read. A condition that cannot be read gets
    the first one, and fails when it is translated.
    """
    out, conditions, exemplars = job.out, job.conditions, job.exemplars
    by_name = job.pairs.exemplars >= 0
    about = f"{job.digest} {job.settings.size}" + (" by name first" if by_name.any() else "")
    fingerprint = _fingerprint(about, conditions, exemplars)
    mark = out / MARK
    if mark.exists() and mark.read_text() == fingerprint and (out / KEPT).exists():
        return read_list(out / KEPT, conditions, conditions.inputs, exemplars.names)
    chosen = job.pairs.exemplars.copy()
    chosen[~by_name] = _find(job, translator(), np.flatnonzero(~by_name).tolist(), scratch)
    pairs = Pairs(job.pairs.conditions, chosen)
    if scratch:
        named = zip(conditions.inputs, chosen, strict=True)
        write_pairs(out / KEPT, ((name, exemplars.names[photo]) for name, photo in named), scratch)
        write_text(mark, fingerprint, scratch)
    return pairs


def _find(job: Job, model: Translator, numbers: list[int], scratch: Path | None) -> NDArray[np.int32]:
    """For each of these conditions its nearest exemplar."""
    photos = [job.exemplars.path(number) for number in range(len(job.exemplars.names))]
    tasks = [Task(n, job.conditions.inputs[n], "", "", *job.conditions.files(n)) for n in numbers]
    preparer = Preparer(job.plugin, model.short_side, job.settings.size)
    with (
        tempfile.TemporaryDirectory(dir=scratch, prefix="features-") as folder,
        Ahead(preparer, job.options.workers or 0) as reader,
    ):
        keys, usable = _features(Path(folder, "exemplars"), photos, reader, model.pooled_photo)
        if not usable.any():
            raise UsageError(f"{job.exemplars.folder}: none of its photos can be read")
        queries, read = _features(Path(folder, "conditions"), tasks, reader, model.pooled_condition)
        return top_1(queries, keys, usable) if read.any() else np.zeros(len(numbers), np.int32)


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
    path: Path,
    requests: Sequence[Request],
    reader: Ahead[Request, Task | Photo],
    pooled: Callable[[NDArray[Any]], Features],
) -> tuple[Features, NDArray[np.bool_]]:
    """(N, D) features of photos or conditions, in a file, and which of them could be read."""
    windows = (requests[start : start + WINDOW] for start in range(0, len(requests), WINDOW))
    usable = np.zeros(len(requests), bool)
    features: Features | None = None
    for place, read in enumerate(chain.from_iterable(reader.map(windows))):
        if read.pixels is not None:
            row = pooled(read.pixels)
            if features is None:
                reserve(path, len(requests) * row.nbytes)
                features = np.memmap(path, np.float32, "r+", shape=(len(requests), len(row)))
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
