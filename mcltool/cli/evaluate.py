"""``mcltool evaluate`` and ``compare``: scores, and their differences."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mcltool.cli.options import (
    DEVICE_HELP,
    FILE,
    FOLDER,
    WEIGHTS,
    Canvas,
    canvas_option,
    complete_plugins,
    exif_option,
    labels_option,
    reading,
    threads_option,
)
from mcltool.evaluate.metrics import METRICS

if TYPE_CHECKING:
    from rich.progress import TaskID

    from mcltool.evaluate.resources import Tell


@click.command(short_help="Score a folder of outputs, or a model on its held-out split.")
@click.argument("out", type=FOLDER, required=False)
@click.option("--real", type=FOLDER, metavar="DIR", help="Real photos (targets), matched to outputs by name.")
@click.option("--exemplars", type=FOLDER, metavar="DIR", help="The outputs' exemplars.  [needed by: style]")
@click.option("--conditions", type=FOLDER, metavar="DIR", help="The outputs' conditions, for the report.")
@click.option(
    "--other",
    type=FOLDER,
    multiple=True,
    metavar="DIR",
    help="Outputs of the same conditions in another style; repeatable.  [needed by: diversity]",
)
@click.option("--weights", metavar=WEIGHTS, help="Instead of OUT: a model to score.")
@click.option(
    "--plugin",
    metavar="NAME",
    shell_complete=complete_plugins,
    help="Data set of the conditions, which draws them.  [default: that of the weights]",
)
@click.option(
    "--root", type=FOLDER, metavar="DIR", help="Folder of the data set.  [default: $MCLTOOL_DATA/PLUGIN]"
)
@click.option("--data", "pack", type=FILE, metavar="FILE", help="A pack (mcltool pack) instead of --root.")
@canvas_option
@labels_option
@exif_option
@click.option(
    "--pairs",
    type=FILE,
    metavar="FILE",
    help="List of the exemplars.  [default: the data set's own, else in turn]",
)
@click.option("--count", type=click.IntRange(1), help="Only the first so many.  [default: all]")
@click.option(
    "--metrics",
    metavar="A,B,...",
    help=f"Some of {', '.join(METRICS)}.  [default: all that can be run]",
)
@click.option("--size", metavar="S|HxW", help="Compare at this size.  [default: as the files are]")
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
    type=FOLDER,
    metavar="DIR",
    help="Where scores.json and report.html go.  [default: OUT-scores; of weights, evaluation/ beside the file, or "
    "NAME-scores where they are found by name]",
)
@click.option("--seed", type=click.IntRange(0), default=0, help="Seed of everything random.  [default: 0]")
@click.option("--device", metavar="NAME", help=DEVICE_HELP)
@threads_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with the scores of every image.")
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
    canvas: Canvas,
    pairs: Path | None,
    count: int | None,
    metrics: str | None,
    size: str | None,
    jpeg: int | None,
    partial: bool,
    perceptual: str,
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

    from mcltool.cli.tables import console, show_scores
    from mcltool.core.config import parse_size
    from mcltool.core.errors import UsageError
    from mcltool.data.reading import unread
    from mcltool.evaluate.folders import Form
    from mcltool.evaluate.inputs import Request

    if (out is None) == (weights is None):
        raise UsageError("expected either a folder OUT or --weights FILE; see mcltool evaluate --help")
    if weights is not None and (real or exemplars or conditions or other):
        raise UsageError("--weights makes its own real, exemplars, conditions and other: give none of them")
    chosen = tuple(metrics.replace(" ", "").strip(",").split(",")) if metrics else None
    request = Request(
        out=out or Path(),
        real=real,
        exemplars=exemplars,
        others=other,
        metrics=chosen,
        form=Form(parse_size(size) if size else None, jpeg),
        partial=partial,
        perceptual="random" if perceptual == "random" else "vgg",
        device=device,
        seed=seed,
    )
    for folder in (out, real, exemplars, conditions, *other):
        if folder is not None and (line := unread(folder)):
            click.echo(line, err=True)
    with _progress() as tell:
        if weights is not None:
            from mcltool.core.lookup import find_weights
            from mcltool.evaluate.heldout import score_weights, split_of

            file = find_weights(weights)
            to = to or (file.parent / "evaluation" if Path(weights).exists() else Path(f"{file.stem}-scores"))
            split = split_of(file, plugin, root, pack, count, pairs, canvas, **reading())
            scores = score_weights(request, file, split, to, tell)
        else:
            from mcltool.evaluate.job import score_folder
            from mcltool.plugin.registry import load

            to = to or _beside(request.out)
            request = replace(request, conditions=conditions, plugin=load(plugin) if plugin else None)
            scores = score_folder(request, to, tell=tell)
    if as_json:
        click.echo(scores.to_json(), nl=False)
    else:
        show_scores(scores)
        console().print(f"look at {to / 'report.html'}", soft_wrap=True, markup=False)


def _beside(out: Path) -> Path:
    """OUT-scores; never inside OUT."""
    return out.with_name(f"{out.name}-scores") if out.name not in ("", "..") else _beside(out.resolve())


@contextmanager
def _progress() -> Iterator[Tell]:
    """A line on stderr for each thing that is done, where that is a terminal."""
    from mcltool.cli.tables import bar

    with bar() as shown:
        tasks: dict[str, TaskID] = {}

        def tell(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = shown.add_task(what, total=total)
            shown.update(tasks[what], completed=done)

        yield tell


@click.command("compare", short_help="Compare two evaluations.")
@click.argument("a", type=FILE)
@click.argument("b", type=FILE)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def compare(a: Path, b: Path, as_json: bool) -> None:
    """Compare two evaluations: scores.json files, or the folders they are in.

    For images that both scored, the difference has a 95% interval (paired bootstrap); the better one is named
    only where the interval excludes 0.

    \b
    Example:
      mcltool compare runs/shapes-1/evaluation runs/shapes-2/evaluation
    """
    from dataclasses import asdict

    from mcltool.cli.tables import show_comparison
    from mcltool.evaluate.scores import Scores
    from mcltool.evaluate.scores import compare as compared

    found = compared(Scores.read(a), Scores.read(b))
    if as_json:
        click.echo(json.dumps({"a": str(a), "b": str(b)} | asdict(found), indent=1))
    else:
        show_comparison(found)
