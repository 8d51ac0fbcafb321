"""``mcltool data``: describe and check a data set, preview what training sees, export its conditions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mcltool.cli import options
from mcltool.cli.options import PATH

if TYPE_CHECKING:
    from mcltool.data.check import SplitReport
    from mcltool.plugin.contract import DatasetPlugin


@click.group("data", cls=options.Commands)
def data_group() -> None:
    """Look at a data set before training on it."""


@data_group.command("describe", short_help="Detect what your own folder holds, and write dataset.toml.")
@click.argument("root", type=PATH, metavar="DIR")
@options.condition
def data_describe(root: Path, condition: str) -> None:
    """Look at your own folder of photos and conditions, and write what it contains to DIR/dataset.toml.

    Correct the file, then train: mcltool fit --root DIR. If there already is such a file, show what it says.

    \b
    Examples:
      mcltool data describe garden
      mcltool data describe portraits --condition edges
    """
    from mcltool.cli.tables import show_classes, working
    from mcltool.core.errors import UsageError
    from mcltool.core.files import write_text
    from mcltool.plugin.registry import FOLDER as PLUGIN
    from mcltool.plugin.registry import load_data

    with working(f"looking at {root}"):
        dataset, _ = load_data(PLUGIN, root, condition=condition)
    last, failure = "read from its dataset.toml; delete that file to start over", None
    if dataset.description is not None:  # before anything is printed: a reader may stop early (| head)
        name, text = dataset.description
        path = root / name
        last = f"{path}: written; look through it, then mcltool data preview --root {root} sheet.png"
        try:
            if path.exists():
                failure = f"{path}: already exists; delete it, or edit it"
            else:
                write_text(path, text)
        except OSError as error:
            way_out = "make a folder of links to the data, and describe that"
            failure = f"{path}: cannot be written ({error.strerror}); {way_out}"
    for line in dataset.assumed:
        click.echo(line)
    click.echo()
    show_classes(dataset.spec)
    if failure:
        raise UsageError(failure)
    click.echo(last)
    # Last, because unpaired files are refused here, and the user can allow them in the file.
    for split in ("train", "val"):
        click.echo(f"{split}: {len(dataset.index(root, split))} photos")


@data_group.command("check", short_help="Read every sample and report what is wrong.")
@options.data
@options.split
@click.option(
    "--workers",
    type=click.IntRange(0),
    default=0,
    help="Reader processes; 0: this process reads.  [default: 0]",
)
@options.json("Print JSON, with every problem.")
def data_check(data: options.Data, split: str | None, workers: int, as_json: bool) -> int:
    """Read every sample of a data set, and report unreadable or mismatched files, sizes, and how frequent classes are.

    Notes list masks of a single class, photos that training would enlarge, and held-out samples that are nearly the
    same as a training sample.

    Samples that can be read but look wrong are doubtful, such as labels that seem to be numbered in another way or
    photos rotated by their EXIF orientation. The line says which option settles it.

    Exit code: 0 all is well, 1 something is broken or doubtful, 2 there is no such data set.

    \b
    Examples:
      mcltool data check --plugin shapes --split val
      mcltool data check --plugin ade20k --root ADEChallengeData2016 --workers 8
    """
    from mcltool.cli.tables import show_split
    from mcltool.data.check import SplitReport, notes_on
    from mcltool.data.geometry import load_size
    from mcltool.data.reading import unused

    dataset, root = data.open()
    reports = [SplitReport(name) for name in ([split] if split else ["train", "val"])]
    for report in reports:
        _read_split(dataset, root, report, workers)
    notes = notes_on(reports, load_size(options.training(dataset)), dataset.spec.kind == "labels")
    if root and not split and not any(report.problems for report in reports):
        samples = (sample for name in ("train", "val") for sample in dataset.index(root, name))
        notes += [line] if (line := unused(root, samples)) else []
    broken, doubts = (sum(len(getattr(r, what)) for r in reports) for what in ("problems", "doubts"))
    if as_json:
        document = {
            "plugin": dataset.name,
            "root": str(root) if root else None,
            "names": dataset.spec.names,
            "splits": [report.to_dict() for report in reports],
            "notes": notes,
        }
        click.echo(json.dumps(document, indent=2))
    else:
        for report in reports:
            show_split(dataset.spec, report)
        for note in notes:
            click.echo(f"note: {note}")
        counts = ((broken, "problem"), (doubts, "doubt"))
        found = [f"{count} {what}{'s' * (count > 1)}" for count, what in counts if count]
        click.echo(f"{dataset.name}: {' and '.join(found) or 'all is well'}")
    return 1 if broken or doubts else 0


@data_group.command("preview", short_help="Draw a contact sheet of what training sees.")
@options.data
@click.argument("out", type=PATH)
@click.option("--split", default="train", metavar="NAME", help="Which samples.  [default: train]")
@click.option("--count", type=click.IntRange(1, 64), default=6, help="Rows.  [default: 6]")
@options.size("--size", "Training size in pixels.  [default: 256, or the data set's own]")
@click.option("--seed", type=click.IntRange(0), default=0, help="Seed of everything random.  [default: 0]")
def data_preview(
    data: options.Data, out: Path, split: str, count: int, size: options.Size, seed: int
) -> None:
    """Draw augmented samples, as training sees them, to OUT, a PNG.

    Each row is a condition, its photo, the exemplar with its own condition, and the photo's augmented copy.

    \b
    Example:
      mcltool data preview --plugin shapes sheet.png --size 128
    """
    from mcltool.core.config import resolve
    from mcltool.data.check import save_preview

    if out.suffix.lower() != ".png":
        raise click.UsageError(f"{out}: expected the name of a .png file to write")
    dataset, root = data.open()
    given = {"data.size": size} if size else {}
    config = resolve(dataset.name, "base", dataset.defaults, given).data
    samples = dataset.index(root, split)
    options.say_doubts(dataset, samples)
    rows = save_preview(dataset, samples, config, seed, count, out)
    click.echo(f"{out}: {rows} samples")


@data_group.command("export-conditions", short_help="Write conditions as files that translate-dir reads.")
@options.data
@click.argument("out", type=PATH)
@click.option("--split", default="val", metavar="NAME", help="Which samples.  [default: val]")
@click.option("--count", type=click.IntRange(1), help="Only the first N.  [default: all]")
@click.option(
    "--size",
    type=click.IntRange(32),
    help="Short side in pixels of conditions that are drawn: the model's.  [default: that of --weights, else the data "
    "set's training size]",
)
@click.option(
    "--weights", metavar=options.WEIGHTS, help="The model that the conditions are for, which sets their size."
)
@options.json("Print JSON, one object per sample.")
def data_export(
    data: options.Data,
    out: Path,
    split: str,
    count: int | None,
    size: int | None,
    weights: str | None,
    as_json: bool,
) -> int:
    """Write the conditions of a split to OUT, named by sample id: a folder for translate-dir.

    Exit code: 0 all written, 1 some could not be.

    \b
    Example:
      mcltool data export-conditions --plugin shapes --split val --count 20 conditions/
    """
    from mcltool.cli.tables import SHOWN, progress
    from mcltool.core.lookup import find_weights
    from mcltool.core.weights import read_header
    from mcltool.data.reading import export_conditions

    dataset, root = data.open()
    if size is None:
        trained = read_header(find_weights(weights)).size if weights else options.training(dataset).size
        size = min(trained)
    samples = dataset.index(root, split)[:count]
    results = []
    with progress(f"writing {split}", len(samples)) as advance:
        for result in export_conditions(dataset, samples, out, size):
            results.append(result)
            advance(1)
    failed = [result for result in results if result.path is None]
    if as_json:
        rows = [{"id": r.id, "path": str(r.path) if r.path else None, "cause": r.cause} for r in results]
        click.echo(json.dumps(rows, indent=2))
    else:
        for result in failed[:SHOWN]:
            click.echo(f"failed: {result.id}: {result.cause}", err=True)
        click.echo(f"{out}: {len(results) - len(failed)} written, {len(failed)} failed")
    return 1 if failed else 0


def _read_split(plugin: DatasetPlugin, root: Path | None, report: SplitReport, workers: int) -> None:
    """Read a split. If the folder exists, an index that fails is one of the problems."""
    from mcltool.cli.tables import progress
    from mcltool.core.errors import McltoolError
    from mcltool.data.check import check_split

    try:
        samples = plugin.index(root, report.split)
    except McltoolError as error:
        if plugin.needs_root and not (root and root.is_dir()):
            raise
        report.problems.append(("", str(error)))
        return
    with progress(f"reading {report.split}", len(samples)) as advance:
        for _ in check_split(plugin, samples, report, workers):
            advance(1)
