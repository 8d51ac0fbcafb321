"""demo: the whole road in minutes, or what it leads to in seconds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from mcltool.cli.options import DEVICE_HELP, FOLDER, threads_option


@click.command(short_help="Train a small model on synthetic shapes and show what it does.")
@click.option("--out", type=FOLDER, default="demo", metavar="DIR", help="Output folder.  [default: demo/]")
@click.option(
    "--pretrained", is_flag=True, help="Use the shipped weights instead of training: takes seconds."
)
@click.option(
    "--photos",
    is_flag=True,
    help="Translate drawings of clothes with photos of others, by shipped weights: takes seconds.",
)
@click.option(
    "--steps", type=int, metavar="N", help="Training steps.  [default: what fits 5 minutes on a CPU]"
)
@click.option("--seed", type=int, metavar="N", help="Seed of everything random.  [default: 0]")
@click.option(
    "--workers", type=int, metavar="N", help="Processes that draw the shapes; 0: none.  [default: 1]"
)
@click.option("--device", metavar="NAME", help=DEVICE_HELP)
@threads_option
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
    sheet = out / "contact_sheet.png"

    if photos:
        from mcltool.tools.demo import CREDIT, show_photos

        click.echo("translating drawings of clothes with photos of others; none was trained on", err=True)
        count, seconds = show_photos(out, device)
        click.echo(f"{count} pairs in {seconds:.0f} s; {CREDIT}\nlook at {sheet}")
        return

    if pretrained:
        from mcltool.core.lookup import shipped_weights

        weights = shipped_weights()
        click.echo(f"weights: {weights.name}, which comes with mcltool; translating held-out pairs", err=True)
        from mcltool.tools.demo import show_weights

        metrics = show_weights(weights, out, device)
    else:
        from mcltool.tools.demo import run_demo

        metrics = run_demo(out, steps, seed or 0, device, workers)
    _show_scores(metrics)
    click.echo(f"look at {sheet}")


def _show_scores(metrics: Mapping[str, float]) -> None:
    from rich.table import Table

    from mcltool.cli.tables import console

    table = Table("", box=None, pad_edge=False)
    for column in ("result", "exemplar as it is", "true correspondence, 4 x 4 cells"):
        table.add_column(column, justify="right")

    def row(title: str, *names: str, digits: int = 2) -> None:
        table.add_row(title, *(f"{metrics[name]:.{digits}f}" if name else "" for name in names))

    row("PSNR to the exact answer (dB)", "psnr_db", "psnr_exemplar_db", "oracle_psnr_db", digits=1)
    row("cells matched to their own class", "class_match", "", "oracle_class_match")
    row("distance to the true place (shape radii)", "match_error", "", "oracle_match_error")
    console().print(table)
    pairs, steps, seconds = metrics["pairs"], metrics["steps"], metrics["seconds"]
    click.echo(f"{pairs:.0f} pairs that were not trained on; {steps:.0f} training steps; {seconds:.0f} s")
