"""The directory job: every condition below a folder, translated to a file each, with a manifest."""

from __future__ import annotations

import errno
import hashlib
import json
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mcltool.errors import DataError, McltoolError, UsageError
from mcltool.pictures import save_png
from mcltool.translate.manifest import Entry, Manifest, Status
from mcltool.translate.plan import Task, plan
from mcltool.translate.translator import Translator, plugin_of
from mcltool.weights import digest

# What is wrong with one output's name. Other trouble in writing, a full disk, would meet the next one too.
_NAME_ERRORS = {errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EILSEQ, errno.ENOTEMPTY}


@dataclass(frozen=True)
class Result:
    """What became of one input. output: the file, there unless failed. total: inputs of the job."""

    input: str
    output: Path
    status: Status
    cause: str
    milliseconds: int
    total: int


def translate_dir(
    conditions: Path,
    exemplars: Path,
    out: Path,
    weights: Path,
    pair: str = "auto",
    precision: str = "auto",
    device: str | None = None,
    canvas: tuple[int, int] | None = None,
) -> Generator[Result, None, None]:
    """Translate every condition below ``conditions`` into ``out``, one result an input in the plan's order.

    All checks are made when this is called, the work as the generator is consumed. An input that cannot be
    translated is one failed result, and the rest are done. What an earlier job made with the same weights,
    settings and inputs is skipped. pair: as in ``plan.pair_exemplars``.
    canvas: (height, width) in pixels of conditions whose files do not say it (poses).

    Raises UsageError where the request cannot be carried out; while working, McltoolError where nothing more
    can be written.
    """
    plugin = plugin_of(weights)
    if canvas:
        plugin.canvas = canvas
    tasks = plan(plugin, conditions, exemplars, out, pair)
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: expected a folder to write to, found a file")
    translator = Translator(weights, plugin, precision, device)
    settings = hashlib.sha256(json.dumps({"precision": precision, "canvas": canvas}).encode()).hexdigest()[
        :16
    ]
    return _run(translator, tasks, out, digest(weights), settings)


def _run(
    translator: Translator, tasks: Sequence[Task], out: Path, weights: str, settings: str
) -> Generator[Result, None, None]:
    try:
        with Manifest(out) as manifest:
            manifest.forget_missing((task.input for task in tasks), (task.output for task in tasks))
            for task in tasks:
                entry = Entry(
                    task.input, task.exemplar_name, task.output, "ok", "", 0, weights, settings, _source(task)
                )
                entry = _done_before(manifest, entry, out) or _translate(translator, task, entry, out)
                manifest.add(entry)
                path = out / entry.output
                yield Result(entry.input, path, entry.status, entry.cause, entry.milliseconds, len(tasks))
    except OSError as error:
        raise McltoolError(
            f"{error.filename or out}: cannot be written ({error.strerror}); nothing more is done"
        ) from None


def _done_before(manifest: Manifest, entry: Entry, out: Path) -> Entry | None:
    earlier = manifest.entries.get(entry.input)
    if earlier and earlier.status != "failed" and earlier.made_like(entry) and (out / entry.output).is_file():
        return replace(earlier, status="skipped")
    return None


def _translate(translator: Translator, task: Task, entry: Entry, out: Path) -> Entry:
    started = time.perf_counter()
    try:
        picture = translator.translate(task.files, task.part, task.exemplar)
        path = _inside(out, task.output)
    except McltoolError as error:
        return replace(entry, status="failed", cause=str(error))
    try:
        save_png(path, picture)
    except OSError as error:
        if error.errno not in _NAME_ERRORS:
            raise
        return replace(entry, status="failed", cause=f"{path}: cannot be written ({error.strerror})")
    return replace(entry, milliseconds=round(1000 * (time.perf_counter() - started)))


def _inside(out: Path, output: str) -> Path:
    """The output's path, unless a link in OUT leads it elsewhere."""
    path = out / output
    if not path.parent.resolve().is_relative_to(out.resolve()):
        raise DataError(f"{path}: a link leads out of {out}")
    return path


def _source(task: Task) -> str:
    """Digest of the inputs' sizes and modification times: what is edited is translated anew."""
    try:
        stats = [path.stat() for path in (*task.files, task.exemplar)]
    except OSError:
        return ""
    return hashlib.sha256(repr([(s.st_size, s.st_mtime_ns) for s in stats]).encode()).hexdigest()[:16]
