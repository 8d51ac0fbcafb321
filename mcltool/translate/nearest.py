"""``--pair nearest``: each condition gets the photo whose features fit it best.

Both encoders map to one space, so that a condition can be compared with a photo. Nearest means the largest cosine of
their mean correspondence features, exactly, in bounded memory: features lie on disk and are compared in blocks.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mcltool.core.errors import UsageError
from mcltool.core.files import reserve, write_text
from mcltool.data.workers import Ahead
from mcltool.translate.job import Job
from mcltool.translate.manifest import stamp
from mcltool.translate.pairing import read_list, write_pairs
from mcltool.translate.plan import Conditions, Exemplars, Pairs, Task
from mcltool.translate.reader import Photo, Preparer, Request

if TYPE_CHECKING:
    from mcltool.translate.translator import Translator

KEPT, MARK = "pairs.csv", "pairs.sha256"
"""Files in OUT: the nearest pairs, and a digest of what they were found from."""
BLOCK = 4096
"""Rows of features compared at a time."""
WINDOW = 32
"""Files read at a time."""

Features = NDArray[np.float32]


def nearest_pairs(job: Job, translator: Callable[[], Translator], scratch: Path | None) -> Pairs:
    """The job's pairs, with the nearest exemplar where names decide none.

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
        keys, usable = _features(Path(folder, "exemplars"), photos, reader, model.pooled_exemplars)
        if not usable.any():
            raise UsageError(f"{job.exemplars.folder}: none of its photos can be read")
        queries, read = _features(Path(folder, "conditions"), tasks, reader, model.pooled_conditions)
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
    pooled: Callable[[list[NDArray[Any]]], Features],
) -> tuple[Features, NDArray[np.bool_]]:
    """(N, D) features of photos or conditions, in a file, and which of them could be read."""
    windows = (requests[start : start + WINDOW] for start in range(0, len(requests), WINDOW))
    usable = np.zeros(len(requests), bool)
    features: Features | None = None
    for place, read in enumerate(chain.from_iterable(reader.map(windows))):
        if read.pixels is not None:
            row = pooled([read.pixels])[0]
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
