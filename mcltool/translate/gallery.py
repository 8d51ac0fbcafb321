"""OUT/index.html: what a directory job has made, to browse. One file, nothing fetched."""

from __future__ import annotations

import os
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mcltool.core.errors import DataError, printable
from mcltool.core.files import write_text
from mcltool.core.images import read_photo
from mcltool.core.pictures import embedded, page
from mcltool.data.batch import condition_picture
from mcltool.translate.job import Job
from mcltool.translate.manifest import manifests, read_lines
from mcltool.translate.plan import Task
from mcltool.translate.reader import Preparer
from mcltool.translate.run import Run

NAME = "index.html"
MOST_PICTURES = 240
"""Larger jobs show so many, evenly spread: each takes 15 to 30 KB of the page."""
MOST_FAILURES = 200
THUMBNAIL = 224
"""Longest side in pixels."""


def write_gallery(run: Run) -> Path:
    """Write the gallery of a run's output folder; returns its path."""
    out, total = run.job.out, len(run.plan)
    step = -(-total // MOST_PICTURES)
    cards = [_card(run.job, run.plan[number]) for number in run.plan.in_order()[::step]]
    lines = (entry for path in manifests(out) for _, entry in read_lines(path) if entry.status == "failed")
    failed = [(printable(entry.input), printable(entry.cause)) for entry in islice(lines, MOST_FAILURES + 1)]
    text = page(
        "gallery",
        title=printable(os.fspath(out)),
        cards=[card for card in cards if card],
        total=total,
        spread=step > 1,
        failed=failed[:MOST_FAILURES],
        more_failed=len(failed) > MOST_FAILURES,
    )
    write_text(out / NAME, text)
    return out / NAME


def _card(job: Job, task: Task) -> dict[str, Any]:
    """What the page shows of a task; nothing where there is no output."""
    result = _thumbnail(job.out / task.output)
    if not result:
        return {}
    read = Preparer(job.plugin, THUMBNAIL).condition(task)
    condition = ""
    if read.pixels is not None:
        planes = read.pixels if read.pixels.ndim == 2 else read.pixels.transpose(1, 2, 0)
        condition = embedded(condition_picture(planes, job.plugin.spec), THUMBNAIL)
    exemplars = [
        (printable(one.label(os.path.relpath(one.path, job.exemplars.folder))), _photo(os.fspath(one.path)))
        for one in task.exemplars
    ]
    return {
        "input": printable(task.input),
        "href": quote(os.fsencode(task.output)),
        "result": result,
        "condition": condition,
        "exemplars": exemplars,
    }


@lru_cache(64)
def _photo(path: str) -> str:
    return _thumbnail(Path(path))


def _thumbnail(path: Path) -> str:
    """A picture as a data address; "" for one that cannot be read."""
    try:
        return embedded(read_photo(path, THUMBNAIL), THUMBNAIL)
    except DataError:
        return ""
