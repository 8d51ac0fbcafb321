"""``mcltool doctor``, ``bench`` and ``completion``: this machine and this shell."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mcltool.cli.options import DEVICE_HELP, PRECISION, threads_option

if TYPE_CHECKING:
    from mcltool.tools.bench.run import Report
    from mcltool.tools.machine import Finding


@click.command(short_help="Check this machine and installation for problems.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every finding.")
def doctor(as_json: bool) -> int:
    """Look at versions, devices and their number formats, disk space, plugins, weights and feature networks.

    Problems come with a hint. A note (!) is not an error: something is slow, or missing that only some commands need.
    Exit code: 0 nothing is broken, 1 something is.

    \b
    Example:
      mcltool doctor
      mcltool doctor --json > for-the-bug-report.json
    """
    from mcltool.tools.doctor import examine

    findings = list(examine(Path.cwd()))
    counts = Counter(finding.status for finding in findings)
    if as_json:
        from dataclasses import asdict

        document = {"broken": counts["broken"], "notes": counts["note"]}
        click.echo(json.dumps(document | {"findings": [asdict(found) for found in findings]}, indent=2))
    else:
        _show(findings)
        notes = f", {counts['note']} notes" if counts["note"] else ""
        click.echo(f"{counts['broken']} broken{notes}" if counts["broken"] else f"nothing is broken{notes}")
    return 1 if counts["broken"] else 0


MARKS = {"ok": ("✓", "green"), "note": ("!", "yellow"), "broken": ("✗", "red")}


def _show(findings: Iterable[Finding]) -> None:
    """Without rich, which may be what is broken."""
    group = ""
    for found in findings:
        if found.group != group:
            group = found.group
            click.secho(group, bold=True)
        mark, colour = MARKS[found.status]
        click.echo(f"  {click.style(mark, colour)} {found.name:<23} {found.detail}")
        if found.hint:
            click.secho(f"{'':>28}→ {found.hint}", fg=colour)


@click.command(short_help="Measure this machine: images a second, and the time of a training step.")
@click.option("--preset", metavar="NAME", help="Sizes of the networks.  [default: the data set's own]")
@click.option("--size", metavar="S|HxW", help="In pixels, multiples of 4.  [default: the preset's]")
@click.option("--batch-size", type=int, default=1, metavar="B", help="Samples at once.  [default: 1]")
@click.option(
    "--plugin", default="ade20k", metavar="NAME", help="Data set of the conditions.  [default: ade20k]"
)
@click.option("--precision", type=PRECISION, default="auto", help="Number format.  [default: auto, as fit]")
@click.option("--device", metavar="NAME", help=DEVICE_HELP)
@threads_option
@click.option("--training/--no-training", default=True, help="Measure a training step too.")
@click.option(
    "--seconds",
    type=click.FloatRange(0),
    default=60.0,
    metavar="S",
    help="Seconds for everything; what would not fit is left out.  [default: 60]",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print JSON: every figure in seconds, bytes, operations."
)
def bench(
    preset: str | None,
    size: str | None,
    batch_size: int,
    plugin: str,
    precision: str,
    device: str | None,
    training: bool,
    seconds: float,
    as_json: bool,
) -> None:
    """Measure how fast this machine translates and trains, and how far that is from its limit.

    Needs no data and no weights: inputs and parameters are random, which takes the same time. The limit is measured
    with large matrix products and convolutions.

    \b
    Examples:
      mcltool bench
      mcltool bench --preset hd --size 512 --no-training --seconds 120
      mcltool bench --device cuda --batch-size 16 --json > bench.json
    """
    from dataclasses import asdict

    from mcltool.core.config import parse_size
    from mcltool.tools.bench.run import bench as measure
    from mcltool.tools.bench.run import the_subject

    subject = the_subject(preset, parse_size(size) if size else None, device, precision, batch_size, plugin)
    report = measure(subject, training, seconds)
    if as_json:
        click.echo(json.dumps(asdict(report), indent=1))
    else:
        _show_report(report)


def _show_report(report: Report) -> None:
    from rich.table import Table

    from mcltool.cli.tables import console

    machine, size = report.machine, "x".join(map(str, report.size))
    about = f"{machine.name}, {machine.threads} threads, {machine.instructions}".removesuffix(", ")
    table = Table(
        title=about, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim"
    )
    table.add_column("format")
    for heading in ("product, GFLOP/s", "convolution, GFLOP/s"):
        table.add_column(heading, justify="right")
    for form, rate in machine.matrix.items():
        table.add_row(form, f"{rate / 1e9:.0f}", f"{machine.convolution[form] / 1e9:.0f}")
    console().print(table)
    click.echo(
        f"\n{report.preset} at {size}, {report.channels} condition planes ({report.plugin}), {report.precision}, "
        f"batch {report.batch}, on {report.device}\n"
    )
    for name, title in _FIGURES.items():
        if name in report.skipped:
            click.echo(f"{title:<26}skipped: {report.skipped[name]}")
        if name not in report.figures:
            continue
        figure = report.figures[name]
        times, memory = figure.times, f"{figure.memory / 2**30:.2f} GiB"
        speed = f"{report.batch / times.median:.2f} images a second, " if name != "step" else ""
        share = figure.operations / times.median / machine.rate(report.precision)
        spread = f"{times.least:.3f} to {times.most:.3f} in {times.runs} runs"
        click.echo(f"{title:<26}{speed}{times.median:.3f} s ({spread}), {share:.0%} of the limit, {memory}")


_FIGURES = {
    "different": "exemplars all different",
    "repeating": "one exemplar, repeating",
    "step": "a training step",
}


@click.command(short_help="Print the script for shell completion.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]), metavar="bash|zsh|fish")
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print a script for shell completion of commands, options, plugins and presets.

    \b
    Run one of these once:
      mcltool completion bash >> ~/.bashrc
      mcltool completion zsh >> ~/.zshrc
      mcltool completion fish > ~/.config/fish/completions/mcltool.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"this click has no completion for {shell}; pip install --upgrade click")
    click.echo(kind(ctx.find_root().command, {}, "mcltool", "_MCLTOOL_COMPLETE").source())
