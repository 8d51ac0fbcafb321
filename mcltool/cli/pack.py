"""``mcltool pack`` and ``pair``: what is worth computing once for many trainings."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mcltool.cli import options
from mcltool.cli.options import PATH

if TYPE_CHECKING:
    from mcltool.data.packing import Compression, PackOptions
    from mcltool.plugin.contract import DatasetPlugin, Sample


class _PackCommands(options.Commands):
    """Without a command of its own, ``pack`` packs."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own = bool(args) and args[0] in self.commands
        return super().parse_args(ctx, args if own else ["write", *(args or ["--help"])])


class _PackWrite(click.Command):
    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_usage("mcltool pack", " ".join(self.collect_usage_pieces(ctx)))


@click.group("pack", cls=_PackCommands, short_help="Decode a data set once, into one fast file.")
def pack_group() -> None:
    """Decode a data set once, into one file that trains much faster."""


@pack_group.command("write", cls=_PackWrite, hidden=True)
@options.data
@click.argument("out", type=PATH, metavar="OUT.h5")
@options.split
@options.size(
    "--size",
    "Pixels that every picture is made to cover: a little more than the training size, for the crop; "
    "286 for 256.  [default: what the data set trains at takes]",
)
@click.option(
    "--compression",
    type=click.Choice(["none", "lzf", "gzip"]),
    default="none",
    help="Smaller file, slower reading.  [default: none]",
)
@options.readers
def pack_write(
    data: options.Data,
    out: Path,
    split: str | None,
    size: options.Size,
    workers: int,
    compression: Compression,
) -> int:
    """Decode the photos and conditions of a data set once, resized, into OUT.h5, which trains much faster.

    fit --data OUT.h5 then sees the batches that it would see from the files, and needs nothing but the pack.
    If interrupted, rerun the same command to resume; finished parts are kept in OUT.h5.parts.
    Exit code: 0 packed, 1 samples cannot be read, which are named.

    \b
    Examples:
      mcltool pack --plugin ade20k --root ADEChallengeData2016 ade20k.h5
      mcltool pack --plugin ade20k --root ADEChallengeData2016 --size 572 ade20k-512.h5
      mcltool pack check ade20k.h5     verify every sample by its checksum
      mcltool pack info ade20k.h5      what it holds
    """
    from mcltool.data.geometry import load_size
    from mcltool.data.packing import PackOptions

    if out.suffix != ".h5":  # said now, not after an hour of reading
        raise click.UsageError(f"{out}: expected the name of a .h5 file to write")
    if out.is_dir():
        raise click.UsageError(f"{out}: expected a file for the pack, found a folder")
    dataset, root = data.open()
    config = options.training(dataset)
    height, width = stored = size or load_size(config)
    held_out = (round(height / config.load_scale), round(width / config.load_scale))
    chosen = PackOptions(stored, compression, workers, held_out)
    samples = {name: dataset.index(root, name) for name in ([split] if split else ["train", "val"])}
    options.say_doubts(dataset, *samples.values())
    return _pack(dataset, samples, out, chosen)


def _pack(
    dataset: DatasetPlugin, samples: dict[str, Sequence[Sample]], out: Path, chosen: PackOptions
) -> int:
    from mcltool.cli.tables import progress, show_problems
    from mcltool.data.packing import pack

    count = sum(map(len, samples.values()))
    problems: list[tuple[str, str]] = []
    kept = enlarged = 0
    with progress("packing", 2 * count) as advance:  # each sample is read, and then put in its place
        for step in pack(dataset, samples, out, chosen):
            problems += step.problems
            kept += step.samples * (step.stage == "kept")
            enlarged += step.enlarged
            advance(step.samples)
    show_problems(problems, "'mcltool data check' names them all")
    if problems:
        click.echo(
            f"{out}: not made: {len(problems)} of {count} samples cannot be read; put them right or remove them"
        )
        return 1
    again = f", {kept} of them from parts that were there" if kept else ""
    click.echo(f"{out}: {count} samples{again}, {out.stat().st_size / 1e6:.1f} MB")
    if enlarged:
        click.echo(
            f"{enlarged} of {count} photos are smaller than {chosen.size[0]}x{chosen.size[1]} (height x width) and "
            "were enlarged: training on them gives blurred results; a smaller --size keeps them sharp"
        )
    return 0


@pack_group.command("check", short_help="Verify every sample of a pack by its checksum.")
@click.argument("file", type=PATH, metavar="FILE.h5")
@options.json("Print JSON, with every problem.")
def pack_check(file: Path, as_json: bool) -> int:
    """Read a pack from end to end and compare every sample with the checksum it was packed with.

    Exit code: 0 all is well, 1 something is damaged, 2 it is no pack.
    """
    from mcltool.cli.tables import progress, show_problems
    from mcltool.data.pack import check_pack, read_header

    count = sum(read_header(file).samples.values())
    problems = []
    with progress("checking", count) as advance:
        for name, problem in check_pack(file):
            advance(1)
            if problem:
                problems.append((name, problem))
    if as_json:
        rows = [{"sample": name, "cause": cause} for name, cause in problems]
        click.echo(json.dumps({"file": str(file), "samples": count, "problems": rows}, indent=2))
    else:
        show_problems(problems)
        click.echo(
            f"{file}: {len(problems)} problem{'s' * (len(problems) > 1)}"
            if problems
            else f"{file}: all {count} samples are well"
        )
    return 1 if problems else 0


@pack_group.command("info", short_help="Show what a pack holds.")
@click.argument("file", type=PATH, metavar="FILE.h5")
@options.json()
def pack_info(file: Path, as_json: bool) -> None:
    """Show what a pack holds and how it was made."""
    from mcltool.cli.tables import show_facts
    from mcltool.data.pack import describe_pack

    found = describe_pack(file)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    facts = {
        "plugin": f"{found['plugin']} version {found['plugin_version']}",
        "made with": f"mcltool {found['mcltool']}",
        "pictures cover": f"{found['size'][0]} x {found['size'][1]} pixels (height x width)",
        "condition": f"{len(found['names'])} {found['kind']}",
        "compression": found["compression"],
        "bytes": f"{found['bytes']:,}",
    }
    for split, held in found["splits"].items():
        pairs = f", {held['retrieved']} exemplars each" if held["retrieved"] else ""
        shapes = f"{held['shapes']} picture size{'s' * (held['shapes'] != 1)}"
        facts[split] = f"{held['samples']} samples, {shapes}, {held['groups']} groups{pairs}"
    show_facts(facts)


@click.command("pair", short_help="Find the most similar photos for every photo of a data set.")
@options.data
@options.pack
@click.argument("out", type=PATH, metavar="[OUT.csv]", required=False)
@options.split
@click.option("--top", type=click.IntRange(1, 100), default=5, help="Exemplars for each photo.  [default: 5]")
@click.option(
    "--features",
    type=click.Choice(["auto", "vgg", "plain"]),
    default="auto",
    help="What is compared: VGG-19's features of the photo, or plain shares and places of classes and "
    "colours.  [default: auto, vgg where 'mcltool weights get vgg19' was run]",
)
@options.readers
@options.device
@options.threads
def pair(
    data: options.Data,
    pack: Path | None,
    out: Path | None,
    split: str | None,
    top: int,
    features: str,
    workers: int,
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
    from mcltool.data.pack import splits_of
    from mcltool.data.retrieval import pick_features, retrieve

    place = out or pack
    if place is None:
        raise click.UsageError("Missing argument 'OUT.csv' (or '--data', a pack to put them in)")
    if out is not None and (out.is_dir() or out.suffix == ".h5"):
        raise click.UsageError(f"{out}: expected the name of a text file to write, like pairs.csv")
    folder = next(parent for parent in place.absolute().parents if parent.exists())
    if not os.access(folder, os.W_OK):  # said now, not after an hour of comparing
        raise click.UsageError(f"{place}: cannot be written: no permission for that in {folder}")
    dataset, root = data.open(pack)
    samples = {name: dataset.index(root, name) for name in ([split] if split else splits_of(dataset))}
    options.say_doubts(dataset, *samples.values())
    chosen = pick_features(features)
    count = sum(map(len, samples.values()))
    with progress("comparing", 2 * count) as advance:  # described, then compared
        tables = {
            name: retrieve(dataset, some, top, chosen, pick_device(device), workers, advance)
            for name, some in samples.items()
        }
    if out is not None:
        from mcltool.data.pairs import named_pairs, write_pairs

        write_pairs(out, named_pairs(samples, tables))
    elif pack is not None:
        from mcltool.data.assembly import store_retrieved

        store_retrieved(pack, tables)
    click.echo(f"{place}: {top} exemplars for each of {count} photos, by {chosen} features")
