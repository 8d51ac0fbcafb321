"""``mcltool bench``: this machine against what it could do."""

from __future__ import annotations

import click

from mcltool.commands.options import DEVICE_HELP, PRECISION, threads_option


@click.command(short_help="Measure this machine: images a second, training, and where the time goes.")
@click.option("--preset", metavar="NAME", help="Sizes of the networks.  [default: the data set's own]")
@click.option("--size", metavar="S|HxW", help="In pixels, multiples of 32.  [default: the preset's]")
@click.option("--batch-size", type=int, default=1, metavar="B", help="Samples at once.  [default: 1]")
@click.option("--plugin", default="ade20k", metavar="NAME", help="Whose conditions.  [default: ade20k]")
@click.option("--precision", type=PRECISION, default="auto", help="Number format.  [default: auto, as fit]")
@click.option("--device", metavar="NAME", help=DEVICE_HELP)
@threads_option
@click.option("--training/--no-training", default=True, help="Whether a training step is measured too.")
@click.option(
    "--seconds", type=float, default=5.0, metavar="S", help="Repeat each figure for S seconds.  [default: 5]"
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
    """Measure how fast this machine translates and trains, and how far each part is from the machine's limit.

    Needs no data and no weights: all is random, which takes as long. The limit is what the machine was seen to
    do in products of large matrices, convolutions and copies. Takes about a minute.

    \b
    Examples:
      mcltool bench
      mcltool bench --preset hd --size 512 --no-training
      mcltool bench --device cuda --batch-size 16 --json > bench.json
    """
    import json

    from mcltool.bench.run import bench as measure
    from mcltool.config import parse_size

    report = measure(
        preset, parse_size(size) if size else None, device, precision, batch_size, plugin, training, seconds
    )
    if as_json:
        click.echo(json.dumps(report.as_dict(), indent=1))
        return
    from mcltool.bench.view import show
    from mcltool.commands.tables import console

    show(report, console())
