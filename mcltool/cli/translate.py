"""``mcltool translate-dir`` and ``translate``."""

from __future__ import annotations

from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import click

from mcltool.cli.options import (
    DEVICE_HELP,
    FILE,
    FOLDER,
    PRECISION,
    WEIGHTS,
    WEIGHTS_HELP,
    Command,
    canvas_option,
    chosen_weights,
    exemplar_option,
    labels_for,
    labels_option,
    parse_paths,
    threads_option,
)
from mcltool.core.errors import UsageError


def _output_size(_: click.Context, __: click.Parameter, given: str | None) -> Any:
    from mcltool.translate.settings import parse_output_size

    return parse_output_size(given) if given else "trained"


def _words(_: click.Context, __: click.Parameter, given: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word.strip() for word in given.split(",") if word.strip()))


def _batch_size(_: click.Context, __: click.Parameter, given: str) -> int:
    if given == "auto":
        return 0
    if not given.isdecimal() or int(given) < 1:
        raise UsageError(f"--batch-size {given}: expected a number from 1, or auto")
    return int(given)


def model_options(command: Command) -> Command:
    """The options of both commands."""
    for option in (
        threads_option,
        labels_option,
        click.option("--device", metavar="NAME", help=DEVICE_HELP),
        click.option(
            "--precision",
            type=PRECISION,
            default="auto",
            help="Number format; auto: the fastest here, or that of the job being resumed.  [default: auto]",
        ),
        canvas_option,
        click.option(
            "--save",
            metavar="KINDS",
            default="",
            callback=_words,
            help="Extra pictures for each result, separated by commas: warp (the warped exemplar), grid (condition, "
            "exemplar, warp and result side by side), confidence (how sure each place is of its match).",
        ),
        click.option(
            "--size",
            metavar="keep|S|HxW",
            callback=_output_size,
            help="Size of the results in pixels: S is the short side, HxW the whole picture, for conditions of that "
            "aspect; keep: each condition's own. The network works at this size too.  [default: S of the training]",
        ),
        click.option(
            "--provenance/--no-provenance",
            default=True,
            help="Write into each picture that it is generated, by which weights and of what (PNG text, EXIF, XMP).  "
            "[default: provenance]",
        ),
        click.option(
            "--quality",
            type=int,
            metavar="1-100",
            help="Quality of jpg (default 95), webp (90) and avif (80).",
        ),
        click.option("--weights", metavar=WEIGHTS, help=WEIGHTS_HELP),
    ):
        command = option(command)
    return command


@click.command("translate-dir", short_help="Translate a folder of conditions into photos.")
@click.argument("conditions", type=FOLDER)
@click.argument("exemplars", type=FOLDER)
@click.argument("out", type=FOLDER)
@model_options
@click.option(
    "--pair",
    metavar="HOW",
    default="auto",
    help="How conditions get their exemplars. stem: the one of the same relative path without suffix, else the "
    "only one of its base name; one: the only exemplar there is; cycle: in turn, 2 before 10; random: "
    "drawn from --seed and the condition's name; all: every one; nearest: the one whose features fit best; "
    "FILE.csv: rows of condition,exemplar, and perhaps weight, region and classes, with which the exemplars of one "
    "condition act together; auto: the only exemplar there is, else stem, and nearest for those without.  "
    "[default: auto]",
)
@click.option(
    "--regions",
    type=FOLDER,
    metavar="DIR",
    help="With --pair FILE.csv: grey pictures CONDITION/EXEMPLAR.png, white where the exemplar may serve.",
)
@click.option("--seed", type=int, default=0, metavar="N", help="For --pair random.  [default: 0]")
@click.option("--pair-out", type=FILE, metavar="FILE.csv", help="Write which exemplar each condition got.")
@click.option(
    "--format",
    type=click.Choice(["png", "jpg", "webp", "avif"]),
    default="png",
    help="Format of the results.  [default: png]",
)
@click.option(
    "--batch-size",
    default="auto",
    metavar="N|auto",
    callback=_batch_size,
    help="Images of the trained size at a time; auto: what suits the device.  [default: auto]",
)
@click.option(
    "--workers",
    type=click.IntRange(0),
    metavar="N",
    help="Processes that read files; 0 reads in a thread.  [default: up to 8 beside a GPU, else 0]",
)
@click.option(
    "--exemplar-cache",
    "cache_mebibytes",
    type=click.IntRange(1),
    default=512,
    metavar="MIB",
    help="Memory for encoded exemplars.  [default: 512]",
)
@click.option(
    "--shard",
    metavar="I/N",
    help="Do part I of N, in a job array; torchrun sets it itself.  [default: all]",
)
@click.option("--overwrite", is_flag=True, help="Redo everything.")
@click.option("--retry-failed", is_flag=True, help="Try again what failed before, changed or not.")
@click.option("--dry-run", is_flag=True, help="Show what would be done; write nothing.")
@click.option("--gallery", is_flag=True, help="Write OUT/index.html, a gallery of the results.")
@click.option("--json", "as_json", is_flag=True, help="Sum up as one JSON line on stdout.")
def translate_dir(
    conditions: Path,
    exemplars: Path,
    out: Path,
    pair: str,
    regions: Path | None,
    seed: int,
    shard: str | None,
    dry_run: bool,
    gallery: bool,
    as_json: bool,
    weights: str | None,
    **given: Any,
) -> int:
    """Translate every condition below CONDITIONS, in the style of a photo below EXEMPLARS, into OUT.

    OUT mirrors the folders of CONDITIONS, with one PNG a condition: in the condition's own aspect, its short side
    as long as in training. CONDITIONS may be a single file, EXEMPLARS a single photo. OUT/manifest.jsonl has one
    line an input: ok, skipped or failed with the cause. Run it again to finish what is missing; it skips what was
    made with the same weights and settings, and what failed and has not changed.

    Exit code: 0 all done, 1 some failed, 2 invalid request, 130 interrupted.

    \b
    Examples:
      mcltool translate-dir masks/ style.jpg out/             one photo: the style of all
      mcltool translate-dir masks/ photos/ out/               masks/a/1.png with photos/a/1.jpg
      mcltool translate-dir masks/ photos/ out/ --pair cycle  photos in turn
      mcltool translate-dir masks/ photos/ out/ --shard 2/8   the second of eight machines
      torchrun --nproc-per-node 4 -m mcltool translate-dir masks/ photos/ out/
    """
    from mcltool.cli.job_view import show, show_plan
    from mcltool.data.reading import unread
    from mcltool.translate.folder import Shard, settle_ranks
    from mcltool.translate.job import Job, Options
    from mcltool.translate.run import Run
    from mcltool.translate.settings import Settings, pinned

    part = Shard.parse(shard) if shard else Shard.of_environment()
    options = Options(shard=part, **{f.name: given.pop(f.name) for f in fields(Options) if f.name in given})
    file = chosen_weights(weights and pinned(weights, out))
    settings = Settings(labels=labels_for(file), **given)
    if part.index == 0:
        for line in filter(None, map(unread, (conditions, exemplars))):
            click.echo(line, err=True)
    job = Job(conditions, exemplars, out, file, pair, seed, settings, options, regions)
    if part.index == 0:
        for line in job.notes():
            click.echo(line, err=True)
    run = Run(job)
    if dry_run:
        show_plan(run, as_json)
        return 0
    counts = show(run, as_json)
    failed = counts["failed"] if shard else settle_ranks(out, part, counts["failed"])
    if gallery and (shard or part.index == 0):
        from mcltool.translate.gallery import write_gallery

        click.echo(f"gallery: {write_gallery(run)}", err=True)
    return 1 if failed else 0


@click.command("translate", short_help="Translate one condition into a photo.")
@click.argument("paths", type=FILE, nargs=-1, metavar="CONDITION [EXEMPLAR] OUT")
@exemplar_option
@click.option(
    "--morph",
    type=click.IntRange(2),
    metavar="N",
    help="With two --exemplar: N pictures OUT-1 to OUT-N, from the first one's style to the second's.",
)
@model_options
def translate(
    paths: tuple[Path, ...],
    exemplars: tuple[str, ...],
    morph: int | None,
    device: str | None,
    weights: str | None,
    provenance: bool,
    **given: Any,
) -> None:
    """Translate the file CONDITION, in the style of the photo EXEMPLAR, into the picture OUT.

    The suffix of OUT says its format: .png, .jpg, .webp or .avif.

    \b
    Examples:
      mcltool translate mask.png style.jpg result.png
      mcltool translate mask.png style.jpg result.jpg --size keep --save grid
      mcltool translate mask.png result.png --exemplar day.jpg --exemplar dusk.jpg:0.5
      mcltool translate mask.png result.png --exemplar a.jpg --exemplar "b.jpg@sky;tree"
      mcltool translate mask.png way.png --exemplar day.jpg --exemplar dusk.jpg --morph 7
    """
    from mcltool.translate.settings import Settings, format_of
    from mcltool.translate.single import translate_file

    condition, chosen, out = parse_paths(paths, exemplars)
    file = chosen_weights(weights)
    settings = Settings(format=format_of(out.suffix), batch_size=1, labels=labels_for(file), **given)
    tell = partial(click.echo, err=True)
    for path in translate_file(condition, chosen, out, file, settings, device, provenance, tell, morph):
        click.echo(path)
