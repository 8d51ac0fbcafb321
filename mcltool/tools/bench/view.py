"""What ``mcltool bench`` shows: a table of the machine, and one of each measurement's parts."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mcltool.tools.bench.figures import Part, Training, Translation
from mcltool.tools.bench.machine import Machine, Times
from mcltool.tools.bench.run import Report


def show(report: Report, console: Console) -> None:
    machine, made = report.machine, report.translation
    size = "x".join(map(str, report.size))
    console.print(_machine(machine))
    console.print(
        f"\n[bold]{report.preset}[/] at {size}, {report.channels} condition planes ({report.plugin}), on "
        f"{report.device}\n"
    )
    title = f"translating, {made.precision}, batch {made.batch}, exemplars all different"
    console.print(_parts(title, made.parts, machine, made.precision))
    console.print(f"exemplars all different  {_images(made.different, made.batch)}")
    console.print(f"one exemplar, repeating  {_images(made.repeating, made.batch)}")
    console.print(f"most memory              {_memory(made)}\n")
    trained = report.training
    if trained:
        title = f"a training step, {trained.precision}, batch {trained.batch}"
        console.print(_parts(title, trained.parts, machine, trained.precision))
        console.print(f"a step                   {_seconds(trained.step)}")
        console.print(f"most memory              {_memory(trained)}\n")
    console.print(
        "floor: each operation at the rates above, computing or moving its bytes, whichever takes longer.",
        style="dim",
    )


def _machine(machine: Machine) -> Table:
    sizes = list(next(iter(machine.copy.values())))
    table = _table(f"{machine.name}, {machine.threads} threads")
    table.add_column("format")
    for heading in ("product GFLOP/s", "convolution GFLOP/s", *(f"copy {s >> 20} MiB, GB/s" for s in sizes)):
        table.add_column(heading, justify="right")
    for form, rate in machine.matrix.items():
        copies = [f"{machine.copy[form][size] / 1e9:.0f}" for size in sizes]
        table.add_row(form, f"{rate / 1e9:.0f}", f"{machine.convolution[form] / 1e9:.0f}", *copies)
    return table


def _parts(title: str, parts: Sequence[Part], machine: Machine, form: str) -> Table:
    table = _table(title)
    table.add_column("part")
    for heading in ("GFLOP", "MB moved", "ms", "share", "of matrix rate", "floor ms", "times the floor"):
        table.add_column(heading, justify="right")
    total = sum(part.seconds for part in parts)
    for part in parts:
        table.add_row(part.name, *cells(part, total, machine.rate(form)))
    table.add_section()
    table.add_row(Text("all", "bold"), *cells(whole(parts), total, machine.rate(form)))
    return table


def whole(parts: Sequence[Part]) -> Part:
    """The sum of ``parts``."""
    return Part(
        "all",
        sum(part.operations for part in parts),
        sum(part.bytes for part in parts),
        sum(part.floor for part in parts),
        sum(part.seconds for part in parts),
    )


def cells(part: Part, total: float, rate: float) -> list[str]:
    """A part's numbers as text: GFLOP, MB, ms, share of ``total`` seconds, of ``rate``, floor in ms, times it."""
    return [
        f"{part.operations / 1e9:,.1f}" if part.operations else "",
        f"{part.bytes / 1e6:,.0f}",
        f"{1e3 * part.seconds:,.1f}",
        f"{part.seconds / total:.0%}",
        f"{part.operations / part.seconds / rate:.0%}" if part.operations else "",
        f"{1e3 * part.floor:,.1f}",
        f"{part.seconds / part.floor:.1f}" if part.floor else "",
    ]


def _memory(found: Translation | Training) -> str:
    return f"{found.memory / 2**30:.2f} GiB, of which {found.before / 2**30:.2f} before it began"


def _images(times: Times, batch: int) -> str:
    each = Times(times.median / batch, times.least / batch, times.most / batch, times.runs)
    return f"{1 / each.median:.2f} images a second: {_seconds(each)} an image"


def _seconds(times: Times) -> str:
    return f"{times.median:.3f} s ({times.least:.3f} to {times.most:.3f} in {times.runs} runs)"


def _table(title: str) -> Table:
    return Table(
        title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim"
    )
