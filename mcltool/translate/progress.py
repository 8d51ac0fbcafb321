"""What a person sees of a directory job: a bar in a terminal, plain lines elsewhere, and a summary."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mcltool.core.errors import printable
from mcltool.translate.job import Job, Result
from mcltool.translate.resume import DONE, FAILED, TODO

PLAIN_SECONDS = 10.0
"""At most one plain line in this many seconds, failures aside."""
FIRST_TASKS = 10
"""Tasks that --dry-run names."""
MOST_FAILURES = 20
"""Failures that are shown one by one; the rest are in the manifest."""


Results = Generator[Result, None, None]


def show(results: Results, job: Job, as_json: bool = False) -> Counter[str]:
    """Take the results of a job, show them on stderr and sum up on stdout; returns how many of each status.

    results: of ``pipeline.run``. Interrupted, it finishes the files in flight, says where it stands, and passes
    KeyboardInterrupt on.
    """
    counts: Counter[str] = Counter()
    started = time.monotonic()
    try:
        with _terminable():
            _consume(results, job, counts, started)
    except KeyboardInterrupt:
        _summarise(job, counts, time.monotonic() - started, as_json, interrupted=True)
        raise
    _summarise(job, counts, time.monotonic() - started, as_json)
    return counts


def show_plan(job: Job, as_json: bool = False) -> None:
    """Say what the job would do."""
    ledger = job.states()
    plan, mine = ledger.plan, ledger.mine
    counts = {
        name: int(((ledger.states == state) & mine).sum())
        for name, state in (("to_do", TODO), ("done", DONE), ("failed_before", FAILED))
    }
    if as_json:
        print(json.dumps({"out": str(job.out), **counts}))
        return
    left, done, failed = counts.values()
    print(f"{printable(str(job.out))}: {left} to do, {done} done, {failed} failed before and unchanged")
    for number in np.flatnonzero((ledger.states == TODO) & mine)[:FIRST_TASKS]:
        task = plan[int(number)]
        print(f"  {printable(task.input)} with {printable(task.exemplar)} to {printable(task.output)}")
    if left > FIRST_TASKS:
        print(f"  and {left - FIRST_TASKS} more; --pair-out FILE.csv writes all pairs")


def _consume(results: Results, job: Job, counts: Counter[str], started: float) -> None:
    console = Console(file=sys.stderr, highlight=False, soft_wrap=True)
    last = started
    with closing(results), _bar(console) as bar:
        task = bar.add_task("translating", total=None, note="")
        for result in results:
            counts[result.status] += 1
            now = time.monotonic()
            if result.status == "failed" and counts["failed"] <= MOST_FAILURES:
                console.print(f"failed: {printable(result.input)}: {printable(result.cause)}", markup=False)
            if result.status == "skipped" and counts["skipped"] % 1000:
                continue
            rate = counts["ok"] / max(1e-9, now - started)
            note = f"{rate:.1f} images/s" + (f", {counts['failed']} failed" if counts["failed"] else "")
            bar.update(task, total=result.total, completed=counts.total(), note=note)
            if not console.is_terminal and now - last > PLAIN_SECONDS:
                last = now
                console.print(f"{counts.total()}/{result.total}  {note}", markup=False)
    if job.report.halved:
        console.print(
            f"out of memory {job.report.halved} times: batches were halved, so that the last bits of these images "
            f"depend on where; a smaller --batch-size than {job.settings.batch_size} avoids it",
            markup=False,
        )


def _summarise(
    job: Job, counts: Counter[str], seconds: float, as_json: bool, interrupted: bool = False
) -> None:
    manifest = job.out / job.options.shard.manifest
    if as_json:
        print(json.dumps(_document(job, counts, seconds, interrupted)))
        return
    parts = ", ".join(f"{counts[status]} {status}" for status in ("ok", "skipped", "failed"))
    where = f"each has its line in {printable(str(manifest))}"
    if interrupted:
        where = f"interrupted; {where}, and the same command goes on"
    elif counts["failed"] and not job.report.device:
        where += "; what failed has not changed, --retry-failed tries it again"
    print(f"{printable(str(job.out))}: {parts}, in {seconds:.1f} s; {where}")


def _document(job: Job, counts: Counter[str], seconds: float, interrupted: bool) -> dict[str, Any]:
    """The summary as plain JSON values."""
    report = job.report
    document: dict[str, Any] = {
        "out": str(job.out),
        "manifest": str(job.out / job.options.shard.manifest),
        **{status: counts[status] for status in ("ok", "skipped", "failed")},
        "interrupted": interrupted,
        "seconds": round(seconds, 3),
        "weights": job.digest,
        "settings": job.settings.digest(),
    }
    if report.device:
        document |= {
            "images_per_second": round(counts["ok"] / max(1e-9, seconds), 3),
            "precision": job.settings.precision,
            "batch_size": job.settings.batch_size,
            "device": report.device,
            "workers": report.workers,
            "batches": report.batches,
            "halved": report.halved,
            "waited_reading_seconds": round(report.waited_reading, 3),
            "waited_writing_seconds": round(report.waited_writing, 3),
        }
    return document


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM, as job schedulers send it, ends the job as Ctrl-C does."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not the main thread: the program that called has its own ways
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
