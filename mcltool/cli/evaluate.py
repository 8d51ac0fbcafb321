"""``mcltool evaluate`` and ``compare``: scores, and their differences."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from mcltool.cli import options
from mcltool.cli.options import PATH
from mcltool.evaluate.metrics import METRICS, number_of

if TYPE_CHECKING:
    from mcltool.evaluate.scores import Comparison, Scores


@click.command(short_help="Score a folder of outputs, or a model on its held-out split.")
@click.argument("out", type=PATH, required=False)
@click.option("--real", type=PATH, metavar="DIR", help="Real photos (targets), matched to outputs by name.")
@click.option("--exemplars", type=PATH, metavar="DIR", help="The outputs' exemplars.  [needed by: style]")
@click.option("--conditions", type=PATH, metavar="DIR", help="The outputs' conditions, for the report.")
@click.option(
    "--other",
    type=PATH,
    multiple=True,
    metavar="DIR",
    help="Outputs of the same conditions in another style; repeatable.  [needed by: diversity]",
)
@click.option("--weights", metavar=options.WEIGHTS, help="Instead of OUT: a model to score.")
@click.option(
    "--plugin",
    metavar="NAME",
    shell_complete=options.complete_plugins,
    help="Data set of the conditions, which draws them.  [default: that of the weights]",
)
@click.option(
    "--root", type=PATH, metavar="DIR", help="Folder of the data set.  [default: $MCLTOOL_DATA/PLUGIN]"
)
@click.option("--data", "pack", type=PATH, metavar="FILE", help="A pack (mcltool pack) instead of --root.")
@options.canvas
@options.labels
@options.exif
@click.option(
    "--pairs",
    type=PATH,
    metavar="FILE",
    help="List of the exemplars.  [default: the data set's own, else in turn]",
)
@click.option("--count", type=click.IntRange(1), help="Only the first N.  [default: all]")
@click.option(
    "--metrics", metavar="A,B,...", help=f"Some of {', '.join(METRICS)}.  [default: all that can be run]"
)
@options.size("--size", "Compare at this size.  [default: as the files are]")
@click.option(
    "--jpeg",
    type=click.IntRange(1, 100),
    metavar="QUALITY",
    help="Recode outputs and photos as JPEG first, as for the published FIDs.  [default: no]",
)
@click.option(
    "--partial",
    is_flag=True,
    help="Leave out images that have no counterpart, and held-out samples that --pairs has no exemplar for.",
)
@click.option(
    "--perceptual",
    type=click.Choice(["vgg", "random"]),
    default="vgg",
    help="Network of style and semantic; random: filters that compare with nothing published.  [default: vgg]",
)
@click.option(
    "--to",
    type=PATH,
    metavar="DIR",
    help="Where scores.json and report.html go.  [default: OUT-scores; of weights, evaluation/ beside the file, or "
    "NAME-scores where they are found by name]",
)
@click.option("--seed", type=click.IntRange(0), default=0, help="Seed of everything random.  [default: 0]")
@options.device
@options.threads
@options.json("Print JSON, with the scores of every image.")
def evaluate(
    out: Path | None,
    real: Path | None,
    exemplars: Path | None,
    conditions: Path | None,
    other: tuple[Path, ...],
    weights: str | None,
    plugin: str | None,
    root: Path | None,
    pack: Path | None,
    canvas: options.Size,
    labels: str,
    exif: bool | None,
    pairs: Path | None,
    count: int | None,
    metrics: str | None,
    size: options.Size,
    jpeg: int | None,
    partial: bool,
    perceptual: Literal["vgg", "random"],
    to: Path | None,
    seed: int,
    device: str | None,
    as_json: bool,
) -> None:
    """Score the outputs below OUT against the photos below --real, or a model's on its held-out split.

    Prints a table with 95% intervals, and writes scores.json and report.html with the best and worst images. A
    metric that cannot be run is listed with the reason. mcltool compare compares two scores.json files.

    \b
    Examples:
      mcltool evaluate out/ --real photos/ --exemplars styles/
      mcltool evaluate out/ --real photos/ --size 256 --metrics fid,swd
      mcltool evaluate --weights runs/ade20k-1/weights.safetensors --root ADEChallengeData2016
    """
    from dataclasses import replace

    from mcltool.cli.tables import progress_of_each
    from mcltool.core.errors import UsageError
    from mcltool.data.reading import unread
    from mcltool.evaluate.folders import Form
    from mcltool.evaluate.inputs import Request

    if (out is None) == (weights is None):
        raise UsageError("expected either a folder OUT or --weights FILE; see mcltool evaluate --help")
    if weights is not None and (real or exemplars or conditions or other):
        raise UsageError(
            "--weights makes its own photos and conditions: leave out --real, --exemplars, --conditions and --other"
        )
    chosen = tuple(metrics.replace(" ", "").strip(",").split(",")) if metrics else None
    request = Request(
        out=out or Path(),
        real=real,
        exemplars=exemplars,
        others=other,
        metrics=chosen,
        form=Form(size, jpeg),
        partial=partial,
        perceptual=perceptual,
        device=device,
        seed=seed,
    )
    for folder in (out, real, exemplars, conditions, *other):
        if folder is not None and (line := unread(folder)):
            click.echo(line, err=True)
    with progress_of_each() as tell:
        if weights is not None:
            from mcltool.core.lookup import find_weights
            from mcltool.evaluate.heldout import score_weights
            from mcltool.evaluate.split import split_of

            file = find_weights(weights)
            to = to or (file.parent / "evaluation" if Path(weights).exists() else Path(f"{file.stem}-scores"))
            split = split_of(file, plugin, root, pack, count, pairs, canvas, labels, exif)
            scores = score_weights(request, file, split, to, tell)
        else:
            from mcltool.evaluate.job import score_folder
            from mcltool.plugin.registry import load

            beside = request.out if request.out.name not in ("", "..") else request.out.resolve()
            to = to or beside.with_name(f"{beside.name}-scores")
            request = replace(request, conditions=conditions, plugin=load(plugin) if plugin else None)
            scores = score_folder(request, to, tell=tell)
    if as_json:
        click.echo(scores.to_json(), nl=False)
    else:
        _show_scores(scores)
        click.echo(f"look at {to / 'report.html'}")


@click.command("compare", short_help="Compare two evaluations.")
@click.argument("a", type=PATH)
@click.argument("b", type=PATH)
@options.json()
def compare(a: Path, b: Path, as_json: bool) -> None:
    """Compare two evaluations: scores.json files, or the folders they are in.

    For images that both scored, the difference has a 95% interval (paired bootstrap); the better one is named
    only where the interval excludes 0.

    \b
    Example:
      mcltool compare runs/shapes-1/evaluation runs/shapes-2/evaluation
    """
    from dataclasses import asdict

    from mcltool.evaluate.scores import Scores
    from mcltool.evaluate.scores import compare as compared

    found = compared(Scores.read(a), Scores.read(b))
    if as_json:
        click.echo(json.dumps({"a": str(a), "b": str(b)} | asdict(found), indent=1))
    else:
        _show_comparison(found)


def _show_scores(scores: Scores) -> None:
    """Every score with its interval, then what was not run, and warnings."""
    from rich.text import Text

    from mcltool.cli.tables import show_table
    from mcltool.evaluate.scores import interval_text, number_text

    rows: list[tuple[str | Text, ...]] = []
    for key, score in scores.scores.items():
        number, value = number_of(key), Text(number_text(score.value), "bold")
        about = Text(score.note or number.what, "dim")
        rows.append((number.title, value, interval_text(score), number.better, str(score.count), about))
    show_table(("metric", "value", "95% interval", "better is", "images", ""), rows)
    for name, reason in scores.not_run.items():
        click.secho(f"not run: {name}: {reason}", fg="yellow")
    _warn(scores.warnings)


def _show_comparison(comparison: Comparison) -> None:
    """The scores of two evaluations beside one another."""
    from rich.text import Text

    from mcltool.cli.tables import show_table
    from mcltool.evaluate.scores import number_text

    words = {"A": "A", "B": "B", "none": "no difference shown", "unknown": "no interval"}
    rows: list[tuple[str | Text, ...]] = []
    for found in comparison.differences:
        number, numbers = number_of(found.key), map(number_text, (found.a, found.b))
        change = "" if found.difference is None else f"{found.difference:+.4g}"
        known = found.low is not None and found.high is not None
        interval = f"{found.low:+.4g} to {found.high:+.4g}" if known else ""
        better = Text(words[found.better], "bold green" if found.better in ("A", "B") else "dim")
        rows.append((number.title, *numbers, change, interval, str(found.images or ""), better))
    show_table(("metric", "A", "B", "B - A", "95% interval", "images", "better"), rows)
    for name, keys in (("A", comparison.only_a), ("B", comparison.only_b)):
        if keys:
            click.echo(f"only {name} has: {', '.join(keys)}")
    _warn(comparison.warnings)


def _warn(warnings: Sequence[str]) -> None:
    for warning in warnings:
        click.secho(f"warning: {warning}", fg="yellow")
