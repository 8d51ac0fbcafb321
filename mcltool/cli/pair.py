"""``mcltool pair``: exemplars for photos that have no other view."""

from __future__ import annotations

from pathlib import Path

import click

from mcltool.cli.options import (
    DEVICE_HELP,
    FILE,
    Canvas,
    data_options,
    open_dataset,
    say_doubts,
    threads_option,
)


@click.command("pair", short_help="Find the most similar photos for every photo of a data set.")
@data_options
@click.option(
    "--data",
    "pack",
    type=FILE,
    metavar="FILE.h5",
    help="A pack (mcltool pack) instead of --plugin and --root.",
)
@click.argument("out", type=FILE, metavar="[OUT.csv]", required=False)
@click.option("--split", type=click.Choice(["train", "val"]), help="Only this one.  [default: both]")
@click.option("--top", type=click.IntRange(1, 100), default=5, help="Exemplars for each photo.  [default: 5]")
@click.option(
    "--features",
    type=click.Choice(["auto", "vgg", "plain"]),
    default="auto",
    help="What is compared: VGG-19's features of the photo, or plain shares and places of classes and "
    "colours.  [default: auto, vgg where 'mcltool weights get vgg19' was run]",
)
@click.option(
    "--workers",
    type=click.IntRange(0),
    metavar="N",
    help="Processes that read; 0: this one.  [default: one a core]",
)
@click.option("--device", metavar="NAME", help=DEVICE_HELP)
@threads_option
def pair(
    plugin: str | None,
    root: Path | None,
    condition: str,
    canvas: Canvas,
    pack: Path | None,
    out: Path | None,
    split: str | None,
    top: int,
    features: str,
    workers: int | None,
    device: str | None,
) -> None:
    """Find the most similar photos for every photo of a data set, as exemplars for training.

    Without OUT.csv they are put into the pack, and fit --data FILE.h5 takes them from there. OUT.csv has a line
    of samples' ids a photo, key,exemplar,exemplar,..., the nearest first; fit --pairs OUT.csv takes it, and
    lists of file names in this form too.

    \b
    Examples:
      mcltool pair --data ade20k.h5
      mcltool pair --plugin ade20k --root ADEChallengeData2016 --top 10 pairs.csv
    """
    from mcltool.cli.tables import progress
    from mcltool.core.device import pick_device
    from mcltool.core.process import cores
    from mcltool.data.pack import splits_of
    from mcltool.data.retrieval import pick_features, retrieve

    if out is None and pack is None:
        raise click.UsageError("Missing argument 'OUT.csv' (or '--data', a pack to put them in)")
    if out is not None and (out.is_dir() or out.suffix == ".h5"):
        raise click.UsageError(f"{out}: expected the name of a text file to write, like pairs.csv")
    _check_writable(out or pack)
    dataset, root = open_dataset(plugin, root, condition, canvas, pack)
    samples = {name: dataset.index(root, name) for name in ([split] if split else splits_of(dataset))}
    say_doubts(dataset, *samples.values())
    chosen = pick_features(features)
    count, processes = sum(map(len, samples.values())), cores() if workers is None else workers
    with progress("comparing", 2 * count) as advance:  # described, then compared
        tables = {
            name: retrieve(dataset, some, top, chosen, pick_device(device), processes, advance)
            for name, some in samples.items()
        }
    if out is not None:
        from mcltool.data.pairs import named_pairs, write_pairs

        write_pairs(out, named_pairs(samples, tables))
    elif pack is not None:
        from mcltool.data.assembly import store_retrieved

        store_retrieved(pack, tables)
    click.echo(f"{out or pack}: {top} exemplars for each of {count} photos, by {chosen} features")


def _check_writable(path: Path | None) -> None:
    """Say now, not after an hour of comparing, that ``path`` cannot be written."""
    import os

    folder = next((parent for parent in path.absolute().parents if parent.exists()), None) if path else None
    if folder is not None and not os.access(folder, os.W_OK):
        raise click.UsageError(f"{path}: cannot be written: no permission for that in {folder}")
