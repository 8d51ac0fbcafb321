"""What one runs first on a machine: ``mcltool demo``, ``doctor``, ``bench`` and ``completion``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mcltool.cli import options
from mcltool.cli.options import PATH

if TYPE_CHECKING:
    from mcltool.tools.bench.run import Report
    from mcltool.tools.machine import Finding


@click.command(short_help="Train a small model on synthetic shapes and show what it does.")
@click.option("--out", type=PATH, default="demo", metavar="DIR", help="Output folder.  [default: demo/]")
@click.option(
    "--pretrained", is_flag=True, help="Use the shipped weights instead of training: takes seconds."
)
@click.option(
    "--photos",
    is_flag=True,
    help="Translate drawings of clothes in the style of other photos, with shipped weights: takes seconds.",
)
@click.option(
    "--steps", type=int, metavar="N", help="Training steps.  [default: what fits 5 minutes on a CPU]"
)
@click.option("--seed", type=int, metavar="N", help="Seed of everything random.  [default: 0]")
@click.option(
    "--workers", type=int, metavar="N", help="Processes that draw the shapes; 0: none.  [default: 1]"
)
@options.device
@options.threads
def demo(
    out: Path,
    pretrained: bool,
    photos: bool,
    steps: int | None,
    seed: int | None,
    workers: int | None,
    device: str | None,
) -> None:
    """Train, translate and score in minutes, with nothing to download.

    Trains the tiny model on the procedural data set shapes, writes conditions and exemplars it has not seen
    to OUT/conditions and OUT/exemplars, runs translate-dir on them and compares with the exact answers in
    OUT/truth. Look at OUT/contact_sheet.png; the scores are in OUT/metrics.json.

    \b
    Examples:
      mcltool demo --pretrained                  skip training: the picture in seconds
      mcltool demo --photos                      real clothes
      mcltool demo
      mcltool demo --out /tmp/demo --steps 200
    """
    if pretrained and photos:
        raise click.UsageError("--pretrained shows shapes and --photos clothes: leave one of them out")
    if (pretrained or photos) and {steps, seed, workers} != {None}:
        option = "--photos" if photos else "--pretrained"
        raise click.UsageError(f"{option} trains nothing: leave out --steps, --seed and --workers")

    from mcltool.core.lookup import shipped_weights
    from mcltool.tools.demo import CREDIT, run_demo, show_photos, show_weights

    if photos:
        click.echo("translating drawings of clothes with photos of others; none was trained on", err=True)
        count, seconds = show_photos(out, device)
        click.echo(f"{count} pairs in {seconds:.0f} s; {CREDIT}")
    elif pretrained:
        weights = shipped_weights()
        click.echo(f"weights: {weights.name}, which comes with mcltool; translating held-out pairs", err=True)
        _show_scores(show_weights(weights, out, device))
    else:
        _show_scores(run_demo(out, steps, seed or 0, device, workers))
    click.echo(f"look at {out / 'contact_sheet.png'}")


def _show_scores(metrics: Mapping[str, float]) -> None:
    from mcltool.cli.tables import show_table

    def row(title: str, *names: str, digits: int = 2) -> list[str]:
        return [title, *(f"{metrics[name]:.{digits}f}" if name else "" for name in names)]

    rows = [
        row("PSNR to the exact answer (dB)", "psnr_db", "psnr_exemplar_db", "oracle_psnr_db", digits=1),
        row("cells matched to their own class", "class_match", "", "oracle_class_match"),
        row("distance to the true place (shape radii)", "match_error", "", "oracle_match_error"),
    ]
    show_table(("", "result", "exemplar as it is", "true correspondence, 4 x 4 cells"), rows, numbers=True)
    pairs, steps, seconds = metrics["pairs"], metrics["steps"], metrics["seconds"]
    click.echo(f"{pairs:.0f} pairs that were not trained on; {steps:.0f} training steps; {seconds:.0f} s")


@click.command(short_help="Check this machine and installation for problems.")
@options.json("Print JSON, with every finding.")
def doctor(as_json: bool) -> int:
    """Look at versions, devices and their number formats, disk space, plugins, weights and feature networks.

    Problems come with a hint. A note (!) is not an error: something is slow, or only some commands need it.
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
@click.option(
    "--preset", metavar="NAME", help="Preset that sizes the networks.  [default: the data set's own]"
)
@options.size("--size", "In pixels, multiples of 4.  [default: the preset's]")
@click.option("--batch-size", type=int, default=1, metavar="B", help="Samples in a batch.  [default: 1]")
@click.option(
    "--plugin",
    default="ade20k",
    metavar="NAME",
    help="Data set whose conditions are used.  [default: ade20k]",
)
@click.option(
    "--precision", type=options.PRECISION, default="auto", help="Number format.  [default: auto, as fit]"
)
@options.device
@options.threads
@click.option("--training/--no-training", default=True, help="Measure a training step too.")
@click.option(
    "--seconds",
    type=click.FloatRange(0),
    default=60.0,
    metavar="S",
    help="Time limit in seconds; measurements that would take longer are skipped.  [default: 60]",
)
@options.json("Print JSON: times in seconds, memory in bytes, counts of operations.")
def bench(
    preset: str | None,
    size: options.Size,
    batch_size: int,
    plugin: str,
    precision: str,
    device: str | None,
    training: bool,
    seconds: float,
    as_json: bool,
) -> None:
    """Measure how fast this machine translates and trains, and how close that is to the hardware's limit.

    Needs no data and no weights: inputs and parameters are random, which takes the same time. The limit is measured
    with large matrix products and convolutions.

    \b
    Examples:
      mcltool bench
      mcltool bench --preset hd --size 512 --no-training --seconds 120
      mcltool bench --device cuda --batch-size 16 --json > bench.json
    """
    from mcltool.tools.bench.run import bench as measure
    from mcltool.tools.bench.run import the_subject

    subject = the_subject(preset, size, device, precision, batch_size, plugin)
    report = measure(subject, training, seconds)
    if as_json:
        click.echo(json.dumps(asdict(report), indent=1))
    else:
        _show_report(report)


def _show_report(report: Report) -> None:
    from mcltool.cli.tables import show_table

    machine, size = report.machine, "x".join(map(str, report.size))
    rates = [
        (form, f"{rate / 1e9:.0f}", f"{machine.convolution[form] / 1e9:.0f}")
        for form, rate in machine.matrix.items()
    ]
    about = f"{machine.name}, {machine.threads} threads, {machine.instructions}"
    click.secho(about.removesuffix(", "), bold=True)
    show_table(("format", "product, GFLOP/s", "convolution, GFLOP/s"), rates, numbers=True)
    click.echo(
        f"\n{report.preset} at {size}, {report.channels} condition planes ({report.plugin}), {report.precision}, "
        f"batch {report.batch}, on {report.device}\n"
    )
    titles = ("exemplars all different", "one exemplar, repeating", "a training step")
    for name, title in zip(("different", "repeating", "step"), titles, strict=True):
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
    from click.shell_completion import BashComplete, FishComplete, ZshComplete

    kind = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}[shell]
    click.echo(kind(ctx.find_root().command, {}, "mcltool", "_MCLTOOL_COMPLETE").source())
