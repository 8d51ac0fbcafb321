"""Shows a run while it trains: a live panel in a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mcltool.evaluate.picture import marked
from mcltool.train.recorder import Progress
from mcltool.train.report import smoothed

PLAIN_SECONDS = 10.0
"""At most one plain line in this many seconds, checkpoints and skipped steps aside."""
HISTORY = 400
"""Steps of a loss that its sparkline shows."""
BARS, SPARK = "▁▂▃▄▅▆▇█", 32
"""A sparkline's characters, from low to high, and its width."""


@contextmanager
def shown() -> Iterator[Callable[[Progress], None]]:
    """A function that shows a run's steps on stderr while the context lasts."""
    console = Console(file=sys.stderr)
    if not console.is_terminal:
        yield PlainLines(console).show
        return
    view = LiveView()
    with Live(console=console, refresh_per_second=4) as live:

        def show(step: Progress) -> None:
            view.add(step)
            live.update(view.panel())

        yield show


class LiveView:
    """The panel, from the progress seen so far."""

    def __init__(self) -> None:
        self.history: dict[str, deque[float]] = {}
        self.latest: Progress | None = None
        self.sample, self.checkpoint, self.warning = "", "", ""
        self.scores: Mapping[str, float] = {}

    def add(self, step: Progress) -> None:
        self.latest = step
        for name, value in step.result.losses.items():
            if math.isfinite(value):
                self.history.setdefault(name, deque(maxlen=HISTORY)).append(value)
        self.sample = str(step.sample or self.sample)
        self.checkpoint = str(step.checkpoint or self.checkpoint)
        self.warning = step.warning or self.warning
        self.scores = step.scores or self.scores

    def panel(self) -> Panel:
        step = self.latest
        assert step is not None
        losses = Table.grid(padding=(0, 2))
        for name, values in self.history.items():
            mean = smoothed(values, 20)[-1]
            losses.add_row(
                name.removeprefix("loss_"), f"{mean:.4g}", Text(sparkline(list(values), SPARK), "cyan")
            )
        facts = Text(_facts(step), "bold")
        if step.skipped:
            facts.append(f"   {step.skipped} steps skipped: not finite", "bold red")
        if self.warning:
            facts.append(f"\n{self.warning}", "bold red")
        lines: list[RenderableType] = [
            facts,
            ProgressBar(total=step.total, completed=step.result.step),
            Text(),
            losses,
        ]
        notes = {"held out": _scores(self.scores), "sample": self.sample, "checkpoint": self.checkpoint}
        lines += [Text(f"{name}: {note}", "dim") for name, note in notes.items() if note]
        return Panel(Group(*lines), title=f"step {step.result.step} of {step.total}", title_align="left")


class PlainLines:
    """A line every few seconds, and one for each checkpoint and each step that was skipped."""

    def __init__(self, console: Console) -> None:
        self.console, self.last, self.skipped = console, 0.0, 0

    def show(self, step: Progress) -> None:
        now = time.monotonic()
        if step.warning:
            self._print(f"step {step.result.step}: {step.warning}")
        important = bool(step.checkpoint) or step.skipped != self.skipped
        if now - self.last < PLAIN_SECONDS and not important:
            return
        self.last, self.skipped = now, step.skipped
        terms = "  ".join(
            f"{name.removeprefix('loss_')} {value:.3f}" for name, value in step.result.losses.items()
        )
        notes = f"  ({step.skipped} steps skipped: not finite)" if step.skipped else ""
        self._print(f"step {step.result.step}/{step.total}  {_facts(step)}  {terms}{notes}")
        if step.checkpoint:
            scores = f"  {_scores(step.scores)}" if step.scores else ""
            self._print(f"checkpoint: {step.checkpoint}{scores}")

    def _print(self, line: str) -> None:
        self.console.print(line, soft_wrap=True, highlight=False)


def _facts(step: Progress) -> str:
    seconds = (step.total - step.result.step) * step.batch_size / max(1e-9, step.images_per_second)
    left = timedelta(seconds=round(seconds))
    return f"{step.images_per_second:.1f} images/s  {step.memory / 2**30:.1f} GiB  {left} left"


def _scores(scores: Mapping[str, float]) -> str:
    return marked({name.removeprefix("val_"): value for name, value in scores.items()})


def sparkline(values: Sequence[float], width: int) -> str:
    """The last values as ``width`` bars at most, between their lowest and highest."""
    if not values:
        return ""
    stride = -(-len(values) // width)
    parts = [values[i : i + stride] for i in range(0, len(values), stride)]
    means = [sum(part) / len(part) for part in parts]
    low, span = min(means), (max(means) - min(means)) or 1.0
    return "".join(BARS[round((value - low) / span * (len(BARS) - 1))] for value in means)
