"""``--pair nearest``: the exemplar whose features fit the condition best, exactly, in bounded memory.

Both encoders map to one space, so that a condition can be compared with a photo. What is compared are the mean
correspondence features of each, by cosine. The features lie on disk and are compared block by block.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mcltool.core.errors import UsageError
from mcltool.core.files import write_text
from mcltool.translate.images import Preparer
from mcltool.translate.manifest import stamp
from mcltool.translate.pairing import Pairs, pair_by_names, write_pairs
from mcltool.translate.plan import Conditions, Exemplars, Task
from mcltool.translate.reader import Reader, Window

if TYPE_CHECKING:
    from mcltool.translate.job import Job

PAIRS, MARK = "pairs.csv", "pairs.sha256"
BLOCK = 4096
"""Rows of features that are compared at a time."""
WINDOW = 32

Features = NDArray[np.float32]


def nearest_pairs(job: Job, scratch: Path | None) -> Pairs:
    """For each condition the exemplar of the largest cosine. What cannot be read gets the first one, and fails
    when it is translated.

    scratch: a folder for temporary files, of a job that has claimed its OUT: then the pairs are kept in
    OUT/pairs.csv, and taken from there as long as nothing in both folders has changed.
    """
    mark = _fingerprint(job)
    kept, note = job.out / PAIRS, job.out / MARK
    ids, inputs, names = job.conditions.ids, job.conditions.inputs, job.exemplars.names
    if kept.exists() and note.exists() and note.read_text() == mark:
        found = pair_by_names(ids, inputs, names, str(kept))
        assert found is not None
        return found
    with tempfile.TemporaryDirectory(dir=scratch, prefix="features-") as folder:
        chosen = _choose(job, Path(folder))
    pairs = np.arange(len(ids), dtype=np.int32), chosen
    if scratch:
        write_pairs(kept, ((inputs[i], names[e]) for i, e in enumerate(chosen.tolist())), scratch)
        write_text(note, mark, scratch)
    return pairs


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


def _choose(job: Job, folder: Path) -> NDArray[np.int32]:
    translator = job.translator
    preparer = Preparer(job.plugin, translator.short_side, job.settings.size)
    with Reader(preparer, job.options.workers or 0) as reader:
        keys, usable = _features(
            folder / "exemplars", len(job.exemplars.names), _exemplar_windows(job.exemplars), reader,
            translator.pooled_exemplars,
        )  # fmt: skip
        if not usable.any():
            raise UsageError(f"{job.exemplars.folder}: none of its photos can be read")
        queries, _ = _features(
            folder / "conditions", len(job.conditions), _condition_windows(job.conditions), reader,
            translator.pooled_conditions,
        )  # fmt: skip
    return top_1(queries, keys, usable)


def _features(
    path: Path,
    count: int,
    windows: Iterator[Window],
    reader: Reader,
    pooled: Callable[[Sequence[NDArray[Any]]], Features],
) -> tuple[Features, NDArray[np.bool_]]:
    """(count, D) features on disk, and which of them are there."""
    usable = np.zeros(count, bool)
    features: Features | None = None
    start = 0
    for read in reader.read(windows):
        items = list(read.photos.values()) or list(read.conditions)
        for place, item in enumerate(items, start):
            if item.planes is not None:
                row = pooled([item.planes])[0]
                if features is None:
                    features = np.memmap(path, np.float32, "w+", shape=(count, len(row)))
                features[place], usable[place] = row, True
        start += len(items)
    return (np.zeros((count, 1), np.float32) if features is None else features), usable


def _exemplar_windows(exemplars: Exemplars) -> Iterator[Window]:
    count = len(exemplars.names)
    for start in range(0, count, WINDOW):
        yield Window((), [exemplars.path(n) for n in range(start, min(start + WINDOW, count))])


def _condition_windows(conditions: Conditions) -> Iterator[Window]:
    count = len(conditions)
    for start in range(0, count, WINDOW):
        tasks = []
        for number in range(start, min(start + WINDOW, count)):
            files, part = conditions.files(number)
            tasks.append(Task(number, conditions.inputs[number], "", "", files, part, ""))
        yield Window(tasks)


def _fingerprint(job: Job) -> str:
    """Of all that the choice depends on: weights, names, and sizes and times of files."""
    digest = hashlib.sha256(f"{job.digest} {job.settings.size}".encode())
    for number, name in enumerate(job.exemplars.names):
        digest.update(f"{name!r} {stamp([job.exemplars.path(number)])}\n".encode())
    for number, name in enumerate(job.conditions.inputs):
        digest.update(f"{name!r} {stamp(job.conditions.files(number)[0])}\n".encode())
    return digest.hexdigest()
