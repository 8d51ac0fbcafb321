"""What a person sees of a directory job: a bar in a terminal or plain lines, summaries, and a gallery to browse."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import lru_cache
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import quote

import numpy as np
from rich.console import Console
from rich.progress import TextColumn

from mcltool.cli.tables import bar
from mcltool.core.errors import DataError, printable
from mcltool.core.files import write_text
from mcltool.core.images import read_photo
from mcltool.core.pictures import embedded, page
from mcltool.translate.exemplars import uncovered_note
from mcltool.translate.folder import DONE, FAILED, PENDING
from mcltool.translate.job import Job
from mcltool.translate.manifest import STATUSES, manifests, read_lines
from mcltool.translate.plan import Task
from mcltool.translate.reader import Preparer
from mcltool.translate.run import Run
from mcltool.translate.saving import picture_of

PLAIN_SECONDS = 10.0
"""At most one plain line in this many seconds, failures aside."""
FIRST_TASKS = 10
"""Tasks that --dry-run names."""
MOST_FAILURES = 20
"""Failures that are shown one by one; the rest are in the manifest."""

MOST_PICTURES = 240
"""Galleries of larger jobs show so many, evenly spread: each takes 15 to 30 KB of the page."""
MOST_LISTED = 200
"""Failures that a gallery lists."""
THUMBNAIL = 224
"""Longest side in pixels."""


def show(run: Run, as_json: bool = False) -> Counter[str]:
    """Do a run, show its results on stderr and sum up on stdout; returns how many of each status.

    Interrupted, it finishes the files in flight, says where it stands, and passes KeyboardInterrupt on.
    """
    counts: Counter[str] = Counter()
    started = time.monotonic()
    try:
        _consume(run, counts, started)
    except KeyboardInterrupt:
        _summarise(run, counts, time.monotonic() - started, as_json, interrupted=True)
        raise
    _summarise(run, counts, time.monotonic() - started, as_json)
    return counts


def show_plan(run: Run, as_json: bool = False) -> None:
    """Say what the run would do."""
    ledger, out = run.prepare(), str(run.job.out)
    plan, mine = ledger.plan, ledger.mine
    counts = {
        name: int(((ledger.states == state) & mine).sum())
        for name, state in (("to_do", PENDING), ("done", DONE), ("failed_before", FAILED))
    }
    if as_json:
        print(json.dumps({"out": out, **counts}))
        return
    left, done, failed = counts.values()
    print(f"{printable(out)}: {left} to do, {done} done, {failed} failed before and unchanged")
    for number in np.flatnonzero((ledger.states == PENDING) & mine)[:FIRST_TASKS]:
        task = plan[int(number)]
        print(f"  {printable(task.input)} with {printable(task.exemplar)} to {printable(task.output)}")
    if left > FIRST_TASKS:
        print(f"  and {left - FIRST_TASKS} more; --pair-out FILE.csv writes all pairs")


def _consume(run: Run, counts: Counter[str], started: float) -> None:
    shown, last = bar(TextColumn("{task.fields[note]}"), transient=False), started
    console = shown.console
    with _interruptible(console), closing(iter(run)) as results, shown:
        task = shown.add_task("translating", total=None, note="")
        for result in results:
            counts[result.status] += 1
            now = time.monotonic()
            if result.status == "failed" and counts["failed"] <= MOST_FAILURES:
                console.print(f"failed: {printable(result.input)}: {printable(result.cause)}", markup=False)
            if result.status == "skipped" and counts["skipped"] % 1000 and counts.total() < run.total:
                continue
            rate = counts["ok"] / max(1e-9, now - started)
            note = f"{rate:.1f} images/s" + (f", {counts['failed']} failed" if counts["failed"] else "")
            shown.update(task, total=run.total, completed=counts.total(), note=note)
            if not console.is_terminal and now - last > PLAIN_SECONDS:
                last = now
                console.print(f"{counts.total()}/{run.total}  {note}", markup=False)
    if run.stats.uncovered:
        console.print(uncovered_note(run.stats.uncovered))
    if run.stats.halved:
        console.print(
            f"out of memory {run.stats.halved} times: batches were halved, so that the last bits of these images "
            f"depend on where; a smaller --batch-size than {run.settings.batch_size} avoids it",
            markup=False,
        )


def _summarise(
    run: Run, counts: Counter[str], seconds: float, as_json: bool, interrupted: bool = False
) -> None:
    job = run.job
    manifest = job.out / job.options.shard.manifest
    if as_json:
        print(json.dumps(_document(run, counts, seconds, interrupted)))
        return
    parts = ", ".join(f"{counts[status]} {status}" for status in STATUSES)
    where = f"each has its line in {printable(str(manifest))}"
    if interrupted:
        where = f"interrupted; {where}; run the same command again to resume"
    elif counts["failed"] and not run.stats.device:
        where += "; what failed has not changed; --retry-failed tries it again"
    print(f"{printable(str(job.out))}: {parts}, in {seconds:.1f} s; {where}")


def _document(run: Run, counts: Counter[str], seconds: float, interrupted: bool) -> dict[str, Any]:
    """The summary as plain JSON values."""
    job, stats = run.job, run.stats
    document: dict[str, Any] = {
        "out": str(job.out),
        "manifest": str(job.out / job.options.shard.manifest),
        **{status: counts[status] for status in STATUSES},
        "interrupted": interrupted,
        "seconds": round(seconds, 3),
        "weights": job.digest,
        "settings": run.settings.digest(),
    }
    if stats.device:
        document |= {
            "images_per_second": round(counts["ok"] / max(1e-9, seconds), 3),
            "precision": run.settings.precision,
            "batch_size": run.settings.batch_size,
            "device": stats.device,
            "workers": stats.workers,
            "batches": stats.batches,
            "halved": stats.halved,
            "uncovered": stats.uncovered,
            "waited_reading_seconds": round(stats.waited_reading, 3),
            "waited_writing_seconds": round(stats.waited_writing, 3),
        }
    return document


@contextmanager
def _interruptible(console: Console) -> Iterator[None]:
    """SIGTERM, as job schedulers send it, ends the job as Ctrl-C does; both say that files in flight are finished."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        with suppress(OSError, ValueError):  # rich and sys.stderr may be in use, or just being imported
            os.write(sys.stderr.fileno(), message)
        signal.signal(signal.SIGINT, known[signal.SIGINT])
        raise KeyboardInterrupt

    message = b"\n" * console.is_terminal + b"finishing what is being written; Ctrl-C again quits at once\n"
    known = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        for number in known:
            signal.signal(number, interrupt)
    except ValueError:  # not the main thread: the program that called has its own ways
        yield
        return
    try:
        yield
    finally:
        for number, before in known.items():
            signal.signal(number, before)


# --- the gallery ---


def write_gallery(run: Run) -> Path:
    """Write OUT/index.html with what a run has made: one file, nothing fetched. Returns its path."""
    out, total = run.job.out, len(run.plan)
    step = -(-total // MOST_PICTURES)
    cards = [_card(run.job, run.plan[number]) for number in run.plan.in_order()[::step]]
    lines = (entry for path in manifests(out) for _, entry in read_lines(path) if entry.status == "failed")
    failed = [(printable(entry.input), printable(entry.cause)) for entry in islice(lines, MOST_LISTED + 1)]
    text = page(
        "gallery",
        title=printable(os.fspath(out)),
        cards=[card for card in cards if card],
        total=total,
        spread=step > 1,
        failed=failed[:MOST_LISTED],
        more_failed=len(failed) > MOST_LISTED,
    )
    write_text(out / "index.html", text)
    return out / "index.html"


def _card(job: Job, task: Task) -> dict[str, Any]:
    """What the page shows of a task; nothing where there is no output."""
    result = _thumbnail(job.out / task.output)
    if not result:
        return {}
    read = Preparer(job.plugin, THUMBNAIL).condition(task)
    condition = ""
    if read.pixels is not None:
        condition = embedded(picture_of(read.pixels, job.plugin.spec), THUMBNAIL)
    exemplars = [
        (printable(one.label(job.exemplars.name(one))), _photo(os.fspath(one.path))) for one in task.exemplars
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
