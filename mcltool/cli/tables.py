"""What commands print as tables: rich in a terminal, the same words in a file or pipe."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.color import Color
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.status import Status
from rich.style import Style
from rich.table import Table
from rich.text import Text

from mcltool.plugin.conformance import Check
from mcltool.plugin.contract import RGB, ConditionSpec
from mcltool.train.runs import Overview

if TYPE_CHECKING:
    from mcltool.core.config import Config, TrainConfig
    from mcltool.evaluate.scores import Comparison, Scores
    from mcltool.train.estimate import Estimate


MARKS = {"passed": ("✓", "green"), "failed": ("✗", "red"), "skipped": ("-", "yellow")}
PIPE_WIDTH = 160
"""Columns where there is no terminal to ask."""
BAR = 24
"""Characters of the longest bar."""


def console() -> Console:
    """Prints to stdout; what is not a terminal gets plain text."""
    found = Console(file=sys.stdout, highlight=False)
    return found if found.is_terminal else Console(file=sys.stdout, highlight=False, width=PIPE_WIDTH)


def show_checks(checks: Sequence[Check]) -> None:
    table = _plain_table("", "check", "")
    for check in checks:
        mark, colour = MARKS[check.status]
        table.add_row(Text(f"{mark} {check.status}", colour), check.name, Text(check.detail))
    console().print(table)


def show_facts(facts: Mapping[str, str]) -> None:
    """Names and values, one a line; a long value goes on below itself."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in facts.items():
        table.add_row(Text(name, "bold"), Text(value))
    console().print(table)


def show_runs(runs: Sequence[Overview]) -> None:
    table = _plain_table("run", "data set", "preset", "size", "step", "state", "held out", "changed")
    colours = {"training": "cyan", "finished": "green", "stopped": "yellow"}
    for run in runs:
        step = f"{run.step}/{run.total}" if run.total else str(run.step)
        state = Text(run.state, colours[run.state])
        table.add_row(run.name, run.plugin, run.preset, run.size, step, state, run.scores, run.changed)
    console().print(table)


def show_plan(dataset: str, config: Config, needed: Estimate, folder: Path, as_json: bool) -> None:
    """What a run would be (fit --dry-run)."""
    if as_json:
        found = {
            "config": json.loads(config.to_json()),
            "parameters": needed.parameters,
            "memory": needed.memory,
        }
        click.echo(json.dumps(found, indent=2))
        return
    train, (height, width) = config.train, config.data.size
    show_facts(
        {
            "data set": dataset,
            "preset": f"{config.preset}, {height}x{width} pixels, batch {train.batch_size}{_parts(train)}",
            "steps": str(train.max_steps or f"as {train.epochs} epochs make"),
            "precision": train.precision,
            "perceptual": train.perceptual,
            "run folder": str(folder),
        }
    )
    click.echo()
    _show_estimate(needed)
    click.echo("\n--json prints every setting; mcltool fit --help-settings says what each is")


def _parts(train: TrainConfig) -> str:
    parts = f" in {train.accumulate} parts" if train.accumulate > 1 else ""
    return parts + (", recomputed" if train.recompute else "")


def _show_estimate(estimate: Estimate) -> None:
    """Parameters of each network and memory of a training step."""
    table = _plain_table("", "")
    for name, count in estimate.parameters.items():
        table.add_row(name, f"{count / 1e6:.1f} M parameters")
    for name, size in estimate.memory.items():
        table.add_row(name, f"{size / 2**20:,.0f} MiB")
    table.add_row(
        Text("at least, in each process", "bold"), Text(f"{estimate.total / 2**20:,.0f} MiB", "bold")
    )
    console().print(table)


def show_classes(spec: ConditionSpec) -> None:
    """Every class or channel with its number and colour."""
    table = _plain_table("", "number", "name", "colour")
    for number, (name, colour) in enumerate(zip(spec.names, spec.palette, strict=True)):
        code = "#" + bytes(colour).hex()
        note = " (unknown)" if number == spec.unknown else ""
        table.add_row(_block(colour, 4), str(number), Text(name + note), code)
    console().print(table)


def show_shares(spec: ConditionSpec, shares: Sequence[float], most: int = 40) -> None:
    """A bar a class, the most frequent first; those that do not occur are summed up."""
    order = sorted(range(len(shares)), key=lambda number: -shares[number])
    seen = [number for number in order if shares[number] > 0]
    table = _plain_table("", "number", "name", "share of pixels")
    for number in seen[:most]:
        length = max(1, round(BAR * shares[number] / shares[seen[0]]))
        bar = _block(spec.palette[number], length) + Text(f" {shares[number]:.1%}")
        table.add_row("", str(number), Text(spec.names[number]), bar)
    console().print(table)
    for rest, what in (
        (len(seen) - most, "rarer"),
        (len(order) - len(seen), f"{spec.kind} that do not occur"),
    ):
        if rest > 0:
            console().print(f"and {rest} {what}")


def show_scores(scores: Scores) -> None:
    """Every score with its interval, then what was not run, and warnings."""
    from mcltool.evaluate.metrics import number_of
    from mcltool.evaluate.scores import interval_text, number_text

    table = _plain_table("metric", "value", "95% interval", "better is", "images", "")
    for key, score in scores.scores.items():
        number = number_of(key)
        value = Text(number_text(score.value), "bold")
        row = (
            value,
            interval_text(score),
            number.better,
            str(score.count),
            Text(score.note or number.what, "dim"),
        )
        table.add_row(number.title, *row)
    console().print(table)
    for name, reason in scores.not_run.items():
        console().print(Text(f"not run: {name}: {reason}", "yellow"), soft_wrap=True)
    for warning in scores.warnings:
        console().print(Text(f"warning: {warning}", "yellow"), soft_wrap=True)


def show_comparison(comparison: Comparison) -> None:
    """The scores of two evaluations beside one another."""
    from mcltool.evaluate.metrics import number_of
    from mcltool.evaluate.scores import number_text

    table = _plain_table("metric", "A", "B", "B - A", "95% interval", "images", "better")
    for found in comparison.differences:
        number = number_of(found.key)
        numbers = [number_text(value) for value in (found.a, found.b)]
        change = "" if found.difference is None else f"{found.difference:+.4g}"
        known = found.low is not None and found.high is not None
        interval = f"{found.low:+.4g} to {found.high:+.4g}" if known else ""
        words = {"A": "A", "B": "B", "none": "no difference shown", "unknown": "no interval"}
        better = Text(words[found.better], "bold green" if found.better in ("A", "B") else "dim")
        table.add_row(number.title, *numbers, change, interval, str(found.images or ""), better)
    console().print(table)
    for name, keys in (("A", comparison.only_a), ("B", comparison.only_b)):
        if keys:
            console().print(f"only {name} has: {', '.join(keys)}", soft_wrap=True)
    for warning in comparison.warnings:
        console().print(Text(f"warning: {warning}", "yellow"), soft_wrap=True)


def bar(*columns: ProgressColumn, transient: bool = True) -> Progress:
    """A progress bar on stderr, with ``columns`` behind the count; nothing where stderr is not a terminal."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    about = TextColumn("[bold]{task.description}"), BarColumn(bar_width=None), MofNCompleteColumn()
    hidden = not console.is_terminal
    return Progress(
        *about, *columns, TimeRemainingColumn(), console=console, transient=transient, disable=hidden
    )


@contextmanager
def progress(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar for as long as the work takes; the function moves it on by so many."""
    with bar() as shown:
        task = shown.add_task(description, total=total)
        yield lambda count: shown.advance(task, count)


def working(description: str) -> Status:
    """What is being done, on stderr, for as long as it takes: ``with working("looking at it"):``."""
    return Console(file=sys.stderr).status(description)


def _block(colour: RGB, length: int) -> Text:
    return Text("█" * length, Style(color=Color.from_rgb(*colour)))


def _plain_table(*columns: str) -> Table:
    table = Table(*columns, box=None, pad_edge=False)
    for column in table.columns:
        column.overflow = "fold"
    return table
