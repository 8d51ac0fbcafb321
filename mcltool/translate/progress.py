"""What a person sees of a directory job: a bar in a terminal, plain lines elsewhere, and a summary."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mcltool.translate.job import Result
from mcltool.translate.manifest import NAME

PLAIN_SECONDS = 10.0
"""At most one plain line in this many seconds, failures aside."""


def show(results: Generator[Result, None, None], out: Path) -> int:
    """Run the job to its end, show it on stderr and sum it up on stdout; returns how many inputs failed."""
    console = Console(file=sys.stderr, highlight=False, soft_wrap=True)
    counts: Counter[str] = Counter()
    started = time.monotonic()
    last = started
    with closing(results), _bar(console) as bar:
        task = bar.add_task("translating", total=None, note="")
        for result in results:
            counts[result.status] += 1
            now = time.monotonic()
            rate = counts["ok"] / max(1e-9, now - started)
            note = f"{rate:.1f} images/s" + (f", {counts['failed']} failed" if counts["failed"] else "")
            bar.update(task, total=result.total, completed=counts.total(), note=note)
            if result.status == "failed":
                console.print(f"failed: {result.input}: {result.cause}", markup=False)
            if not console.is_terminal and now - last > PLAIN_SECONDS:
                last = now
                console.print(f"{counts.total()}/{result.total}  {note}", markup=False)
    seconds = time.monotonic() - started
    parts = ", ".join(f"{counts[status]} {status}" for status in ("ok", "skipped", "failed"))
    print(f"{out}: {parts}, in {seconds:.1f} s; each input has its line in {out / NAME}")
    return counts["failed"]


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
