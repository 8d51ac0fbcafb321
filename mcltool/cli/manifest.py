"""``mcltool manifest``: what translate-dir has done in a folder."""

from __future__ import annotations

import json
from pathlib import Path

import click

from mcltool.cli.options import FOLDER
from mcltool.cli.program import Commands


@click.group("manifest", cls=Commands, short_help="Join and sum up the manifests of translate-dir.")
def manifest_group() -> None:
    """Join and sum up what translate-dir writes about its inputs in OUT/manifest.jsonl."""


@manifest_group.command()
@click.argument("out", type=FOLDER)
def merge(out: Path) -> None:
    """Join the manifests of all shards in OUT/manifest.jsonl, and remove them.

    Of several lines for one output the newest counts.
    """
    from mcltool.translate.folder import Shard, claimed
    from mcltool.translate.manifest import merge as join
    from mcltool.translate.manifest import some_manifests

    count = len(some_manifests(out))
    with claimed(out, Shard()) as scratch:
        lines = join(out, scratch)
    click.echo(f"{out / 'manifest.jsonl'}: {lines} lines of {count} manifests")


@manifest_group.command()
@click.argument("out", type=FOLDER)
@click.option("--json", "as_json", is_flag=True, help="As one JSON line.")
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
