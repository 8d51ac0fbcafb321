"""``mcltool translate-dir`` and ``manifest``: a folder of conditions, and what was done there."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from mcltool.cli import options
from mcltool.cli.options import PATH
from mcltool.cli.translate import model_options
from mcltool.core.errors import UsageError


def _batch_size(_: click.Context, __: click.Parameter, given: str) -> int:
    if given == "auto":
        return 0
    if not given.isdecimal() or int(given) < 1:
        raise UsageError(f"--batch-size {given}: expected a number from 1, or auto")
    return int(given)


@click.command("translate-dir", short_help="Translate a folder of conditions into photos.")
@click.argument("conditions", type=PATH)
@click.argument("exemplars", type=PATH)
@click.argument("out", type=PATH)
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
    type=PATH,
    metavar="DIR",
    help="With --pair FILE.csv: grey pictures CONDITION/EXEMPLAR.png, white where the exemplar may be used.",
)
@click.option("--seed", type=int, default=0, metavar="N", help="For --pair random.  [default: 0]")
@click.option("--pair-out", type=PATH, metavar="FILE.csv", help="Write which exemplar each condition got.")
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
    help="Conditions in a batch, at the trained size; auto: what suits the device.  [default: auto]",
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
    "--shard", metavar="I/N", help="Do part I of N, for job arrays; torchrun sets it itself.  [default: all]"
)
@click.option("--overwrite", is_flag=True, help="Redo everything.")
@click.option(
    "--retry-failed", is_flag=True, help="Retry inputs that failed before, even if they have not changed."
)
@click.option("--dry-run", is_flag=True, help="Show what would be done; write nothing.")
@click.option("--gallery", is_flag=True, help="Write OUT/index.html, a gallery of the results.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one line of JSON.")
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
    labels: str,
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
    from mcltool.cli.job_view import show, show_plan, write_gallery
    from mcltool.data.reading import unread
    from mcltool.translate.job import Job
    from mcltool.translate.run import Run, settle_ranks
    from mcltool.translate.settings import Options, Settings, Shard, pinned

    part = Shard.parse(shard) if shard else Shard.of_environment()
    how = Options(shard=part, **{f.name: given.pop(f.name) for f in fields(Options) if f.name in given})
    file = options.chosen_weights(weights and pinned(weights, out))
    settings = Settings(labels=options.labels_for(file, labels), **given)
    if part.index == 0:
        for line in filter(None, map(unread, (conditions, exemplars))):
            click.echo(line, err=True)
    job = Job(conditions, exemplars, out, file, pair, seed, settings, how, regions)
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
        click.echo(f"gallery: {write_gallery(run)}", err=True)
    return 1 if failed else 0


@click.group("manifest", cls=options.Commands, short_help="Join and sum up the manifests of translate-dir.")
def manifest_group() -> None:
    """Join and sum up what translate-dir writes about its inputs in OUT/manifest.jsonl."""


@manifest_group.command()
@click.argument("out", type=PATH)
def merge(out: Path) -> None:
    """Join the manifests of all shards in OUT/manifest.jsonl, and remove them.

    Of several lines for one output the newest counts.
    """
    from mcltool.translate.folder import claimed
    from mcltool.translate.manifest import merge as join
    from mcltool.translate.manifest import some_manifests
    from mcltool.translate.settings import Shard

    count = len(some_manifests(out))
    with claimed(out, Shard()) as scratch:
        lines = join(out, scratch)
    click.echo(f"{out / 'manifest.jsonl'}: {lines} lines of {count} manifests")


@manifest_group.command()
@click.argument("out", type=PATH)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one line of JSON.")
def summary(out: Path, as_json: bool) -> None:
    """Count what is done in OUT, and list why inputs failed."""
    from mcltool.translate.manifest import summary as summed

    found = summed(out)
    if as_json:
        click.echo(json.dumps(found))
        return
    click.echo(f"{out}: {found['ok']} ok, {found['skipped']} skipped, {found['failed']} failed")
    click.echo(f"manifests: {', '.join(found['manifests'])}; {found['seconds_of_work']:.1f} s of work")
    for digest, lines in found["weights"].items():
        click.echo(f"weights {digest[:12]}: {lines} lines")
    for cause, times in found["causes"].items():
        click.echo(f"failed {times} times: {' '.join(cause.split())}")
