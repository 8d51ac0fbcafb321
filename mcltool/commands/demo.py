"""demo: the whole road in minutes."""

from __future__ import annotations

from pathlib import Path

import click

from mcltool.commands.options import DEVICE_HELP, FOLDER


@click.command(short_help="Train a small model on made-up shapes and show what it does.")
@click.option("--out", type=FOLDER, default="demo", metavar="DIR", help="Where all goes.  [default: demo/]")
@click.option(
    "--steps", type=int, metavar="N", help="Training steps.  [default: what fits 5 minutes on a CPU]"
)
@click.option("--seed", type=int, default=0, metavar="N", help="Seed of everything random.  [default: 0]")
@click.option("--device", metavar="NAME", help=DEVICE_HELP)
def demo(out: Path, steps: int | None, seed: int, device: str | None) -> None:
    """See the whole road in minutes, with nothing to download: train, translate, score.

    Trains the tiny model on the procedural data set shapes, writes conditions and exemplars it has not seen
    to OUT/conditions and OUT/exemplars, runs translate-dir on them and compares with the exact answers in
    OUT/truth. Look at OUT/contact_sheet.png; the scores are in OUT/metrics.json.

    \b
    Examples:
      mcltool demo
      mcltool demo --out /tmp/demo --steps 200
    """
    from mcltool.demo import run_demo
    from mcltool.train.display import show

    metrics = run_demo(out, steps, seed, device, show)
    for name, value in metrics.items():
        click.echo(f"{name:>24} {value:g}")
    click.echo(f"look at {out / 'contact_sheet.png'}")
