"""``mcltool pack``: a data set decoded once into one file; and what such a file holds, and whether it is whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mcltool.cli.options import FILE, Canvas, data_options, open_dataset, say_doubts
from mcltool.cli.program import Commands

if TYPE_CHECKING:
    from mcltool.plugin.contract import DatasetPlugin

SHOWN = 50
"""Problems that are printed; --json has all."""


class _PackCommands(Commands):
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
@data_options
@click.argument("out", type=FILE, metavar="OUT.h5")
@click.option("--split", type=click.Choice(["train", "val"]), help="Only this one.  [default: both]")
@click.option(
    "--size",
    metavar="S|HxW",
    help="Pixels that every picture is made to cover: a little more than the training size, for the crop; "
    "286 for 256.  [default: what the data set trains at takes]",
)
@click.option(
    "--compression",
    type=click.Choice(["none", "lzf", "gzip"]),
    default="none",
    help="Smaller file, slower reading.  [default: none]",
)
@click.option(
    "--workers",
    type=click.IntRange(0),
    metavar="N",
    help="Processes that read; 0: this one.  [default: one a core]",
)
def pack_write(
    plugin: str | None,
    root: Path | None,
    condition: str,
    canvas: Canvas,
    out: Path,
    split: str | None,
    size: str | None,
    workers: int | None,
    **options: Any,
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
    from mcltool.core.config import parse_size, resolve
    from mcltool.core.process import cores
    from mcltool.data.geometry import load_size
    from mcltool.data.packing import PackOptions

    _check_out(out)
    dataset, root = open_dataset(plugin, root, condition, canvas)
    config = resolve(dataset.name, dataset.preset, dataset.defaults).data
    height, width = stored = parse_size(size) if size else load_size(config)
    held_out = (round(height / config.load_scale), round(width / config.load_scale))
    chosen = PackOptions(stored, options["compression"], cores() if workers is None else workers, held_out)
    return _pack(dataset, root, [split] if split else ["train", "val"], out, chosen)


def _pack(dataset: DatasetPlugin, root: Path | None, splits: list[str], out: Path, options: Any) -> int:
    from mcltool.cli.tables import progress
    from mcltool.data.packing import pack

    samples = {split: dataset.index(root, split) for split in splits}
    say_doubts(dataset, *samples.values())
    count = sum(map(len, samples.values()))
    problems: list[tuple[str, str]] = []
    kept = enlarged = 0
    with progress("packing", 2 * count) as advance:  # each sample is read, and then put in its place
        for step in pack(dataset, samples, out, options):
            problems += step.problems
            kept += step.samples * (step.stage == "kept")
            enlarged += step.enlarged
            advance(step.samples)
    _show_problems(problems)
    if problems:
        click.echo(
            f"{out}: not made: {len(problems)} of {count} samples cannot be read; put them right or remove them"
        )
        return 1
    again = f", {kept} of them from parts that were there" if kept else ""
    click.echo(f"{out}: {count} samples{again}, {out.stat().st_size / 1e6:.1f} MB")
    if enlarged:
        click.echo(
            f"{enlarged} of {count} photos are smaller than {options.size[0]}x{options.size[1]} (height x width) and "
            "were enlarged: training on them gives blurred results; a smaller --size keeps them sharp"
        )
    return 0


@pack_group.command("check", short_help="Verify every sample of a pack by its checksum.")
@click.argument("file", type=FILE, metavar="FILE.h5")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every problem.")
def pack_check(file: Path, as_json: bool) -> int:
    """Read a pack from end to end and compare every sample with the checksum it was packed with.

    Exit code: 0 all is well, 1 something is damaged, 2 it is no pack.
    """
    from mcltool.cli.tables import progress
    from mcltool.data.pack_format import check_pack, read_header

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
        _show_problems(problems)
        click.echo(
            f"{file}: {len(problems)} problem{'s' * (len(problems) > 1)}"
            if problems
            else f"{file}: all {count} samples are well"
        )
    return 1 if problems else 0


@pack_group.command("info", short_help="Show what a pack holds.")
@click.argument("file", type=FILE, metavar="FILE.h5")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def pack_info(file: Path, as_json: bool) -> None:
    """Show what a pack holds and how it was made."""
    from mcltool.cli.tables import show_facts
    from mcltool.data.pack_format import describe_pack

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


def _check_out(out: Path) -> None:
    """Say now, not after an hour of reading, that the pack cannot be written."""
    if out.suffix != ".h5":
        raise click.UsageError(f"{out}: expected the name of a .h5 file to write")
    if out.is_dir():
        raise click.UsageError(f"{out}: expected a file for the pack, found a folder")


def _show_problems(problems: list[tuple[str, str]]) -> None:
    for name, cause in problems[:SHOWN]:
        click.echo(f"broken: {name}: {cause}")
    if len(problems) > SHOWN:
        click.echo(f"and {len(problems) - SHOWN} more")
