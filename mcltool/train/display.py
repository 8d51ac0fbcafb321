"""What a person sees of a run: a live line with a bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping

from rich.console import Console, Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from mcltool.train.fit import Progress as RunProgress

PLAIN_SECONDS = 10.0
"""At most one plain line in this many seconds."""


def show(steps: Iterator[RunProgress]) -> None:
    """Run ``steps`` to the end and show them on stderr."""
    console = Console(file=sys.stderr)
    if console.is_terminal:
        _live(steps, console)
    else:
        _plain(steps, console)


def _live(steps: Iterator[RunProgress], console: Console) -> None:
    bar = Progress(
        TextColumn("[bold]training"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("[cyan]{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(elapsed_when_finished=False),
        console=console,
        expand=True,
    )
    task = bar.add_task("training", total=None, rate="")
    losses, sample = Text(), Text()
    smooth: dict[str, float] = {}
    with Live(Group(bar, losses, sample), console=console, refresh_per_second=4):
        for step in steps:
            rate = f"{step.images_per_second:.1f} images/s"
            bar.update(task, completed=step.result.step, total=step.total, rate=rate)
            for name, value in step.result.losses.items():
                smooth[name] = value if name not in smooth else 0.9 * smooth[name] + 0.1 * value
            losses.plain = _terms(smooth)
            if step.sample:
                sample.plain = f"newest sample: {step.sample}"


def _plain(steps: Iterator[RunProgress], console: Console) -> None:
    last = 0.0
    for step in steps:
        now, result = time.monotonic(), step.result
        if now - last < PLAIN_SECONDS and result.step != step.total:
            continue
        last = now
        seconds = 1 / max(1e-9, step.images_per_second) * (step.total - result.step) * step.batch_size
        rate = f"{step.images_per_second:.1f} images/s  {seconds:.0f} s left"
        line = f"step {result.step}/{step.total}  {rate}  {_terms(result.losses)}"
        console.print(line, soft_wrap=True, highlight=False)


def _terms(losses: Mapping[str, float]) -> str:
    return "  ".join(f"{name.removeprefix('loss_')} {value:.3f}" for name, value in losses.items())
