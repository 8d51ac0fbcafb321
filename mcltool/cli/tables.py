"""What commands print as tables: rich in a terminal, the same words in a file or pipe."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.color import Color
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.status import Status
from rich.style import Style
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from mcltool.core.config import Config, TrainConfig
    from mcltool.data.check import SplitReport
    from mcltool.plugin.conformance import Check
    from mcltool.plugin.contract import RGB, ConditionSpec
    from mcltool.train.memory import Estimate
    from mcltool.train.runs import Overview


SHOWN = 50
"""Problems that are printed."""
PIPE_WIDTH = 160
"""Columns where there is no terminal to ask."""
BAR = 24
"""Characters of the longest bar."""


def console() -> Console:
    """Prints to stdout; what is not a terminal gets plain text."""
    found = Console(file=sys.stdout, highlight=False)
    return found if found.is_terminal else Console(file=sys.stdout, highlight=False, width=PIPE_WIDTH)


def show_table(headings: Sequence[str], rows: Iterable[Sequence[str | Text]], numbers: bool = False) -> None:
    """Rows below their headings, if there are any. numbers: the columns after the first are numbers, aligned right."""
    table = Table(*headings, box=None, pad_edge=False, show_header=any(headings))
    for place, column in enumerate(table.columns):
        column.overflow = "fold"
        column.justify = "right" if numbers and place else "left"
    for row in rows:
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    console().print(table)


def show_facts(facts: Mapping[str, str]) -> None:
    """Names and values, one a line; a long value goes on below itself."""
    show_table(("", ""), [(Text(name, "bold"), value) for name, value in facts.items()])


def show_checks(checks: Sequence[Check]) -> None:
    marks = {"passed": ("✓", "green"), "failed": ("✗", "red"), "skipped": ("-", "yellow")}

    def row(check: Check) -> tuple[Text, str, str]:
        mark, colour = marks[check.status]
        return Text(f"{mark} {check.status}", colour), check.name, check.detail

    show_table(("", "check", ""), map(row, checks))


def show_problems(problems: Sequence[tuple[str, str]], rest: str = "--json has them all") -> None:
    """The first problems, each the name of a sample and a cause. rest: where to find the others."""
    for name, cause in problems[:SHOWN]:
        click.echo(f"broken: {name + ': ' if name else ''}{cause}")
    if len(problems) > SHOWN:
        click.echo(f"and {len(problems) - SHOWN} more problems; {rest}")


def show_runs(runs: Sequence[Overview]) -> None:
    colours = {"training": "cyan", "finished": "green", "stopped": "yellow"}

    def row(run: Overview) -> tuple[str | Text, ...]:
        step = f"{run.step}/{run.total}" if run.total else str(run.step)
        state = Text(run.state, colours[run.state])
        return run.name, run.plugin, run.preset, run.size, step, state, run.scores, run.changed

    headings = ("run", "data set", "preset", "size", "step", "state", "held out", "changed")
    show_table(headings, map(row, runs))


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
    rows: list[tuple[str | Text, str | Text]] = [
        *((name, f"{count / 1e6:.1f} M parameters") for name, count in estimate.parameters.items()),
        *((name, f"{size / 2**20:,.0f} MiB") for name, size in estimate.memory.items()),
    ]
    total = Text(f"{estimate.total / 2**20:,.0f} MiB", "bold")
    show_table(("", ""), [*rows, (Text("at least, in each process", "bold"), total)])


def show_classes(spec: ConditionSpec) -> None:
    """Every class or channel with its number and colour."""
    classes = enumerate(zip(spec.names, spec.palette, strict=True))
    rows = [
        (_block(colour, 4), str(n), name + " (unknown)" * (n == spec.unknown), f"#{bytes(colour).hex()}")
        for n, (name, colour) in classes
    ]
    show_table(("", "number", "name", "colour"), rows)


def show_split(spec: ConditionSpec, report: SplitReport) -> None:
    """A split that was checked: counts, sizes, how frequent each class is, problems and doubts."""
    from mcltool.data.check import describe_sizes

    facts = {"split": report.split}
    if report.samples:
        alone = report.samples - report.grouped
        views = f"{report.groups} groups; {alone} samples have no other view: a copy of each is its exemplar"
        photos, conditions = (_sizes(describe_sizes(some)) for some in (report.photos, report.conditions))
        facts |= {
            "samples": str(report.samples), "photos": photos, "conditions": conditions, "exemplars": views,
        }  # fmt: skip
    show_facts(facts)
    if report.conditions:
        click.echo()
        _show_shares(spec, report.mean_shares())
    show_problems(report.problems)
    for line in report.doubts:
        click.echo(f"doubtful: {line}")
    click.echo()


def _sizes(found: dict[str, Any]) -> str:
    """Sizes in words, width x height."""
    if not found:
        return "none could be read"
    smallest, largest, usual = (
        "{1} x {0}".format(*found[key]) for key in ("smallest", "largest", "most_frequent")
    )
    if smallest == largest:
        return f"{usual} pixels"
    times = found["most_frequent_count"]
    often = f", most often {usual} ({times} times)" if times > 1 else ""
    return f"{smallest} to {largest} pixels, median short side {found['median_short_side']:g}{often}"


def _show_shares(spec: ConditionSpec, shares: Sequence[float], most: int = 40) -> None:
    """A bar a class, the most frequent first; those that do not occur are summed up."""
    order = sorted(range(len(shares)), key=lambda number: -shares[number])
    seen = [number for number in order if shares[number] > 0]

    def row(number: int) -> tuple[str | Text, ...]:
        length = max(1, round(BAR * shares[number] / shares[seen[0]]))
        bar = _block(spec.palette[number], length) + Text(f" {shares[number]:.1%}")
        return "", str(number), spec.names[number], bar

    show_table(("", "number", "name", "share of pixels"), map(row, seen[:most]))
    absent = f"{spec.kind} that do not occur"
    for rest, what in ((len(seen) - most, "rarer"), (len(order) - len(seen), absent)):
        if rest > 0:
            click.echo(f"and {rest} {what}")


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


@contextmanager
def progress_of_each() -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each thing that is done; the function says what is done, how much of it, and of how much."""
    with bar() as shown:
        tasks: dict[str, TaskID] = {}

        def tell(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = shown.add_task(what, total=total)
            shown.update(tasks[what], completed=done)

        yield tell


def working(description: str) -> Status:
    """What is being done, on stderr, for as long as it takes: ``with working("looking at it"):``."""
    return Console(file=sys.stderr).status(description)


def _block(colour: RGB, length: int) -> Text:
    return Text("█" * length, Style(color=Color.from_rgb(*colour)))
