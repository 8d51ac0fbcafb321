"""``mcltool doctor``: is everything there."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from mcltool.doctor import Finding


@click.command(short_help="Look for what is wrong with this machine or installation.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every finding.")
def doctor(as_json: bool) -> int:
    """Look at versions, devices and their number formats, disk space, plugins, weights and feature networks.

    What is wrong comes with a hint. A note (!) is no error: something is absent that only some work needs.
    Exit code: 0 nothing is broken, 1 something is.

    \b
    Example:
      mcltool doctor
      mcltool doctor --json > for-the-bug-report.json
    """
    from mcltool.doctor import examine

    findings = list(examine(Path.cwd()))
    counts = Counter(finding.status for finding in findings)
    if as_json:
        from dataclasses import asdict

        document = {"broken": counts["broken"], "notes": counts["note"]}
        click.echo(json.dumps(document | {"findings": [asdict(found) for found in findings]}, indent=2))
    else:
        _show(findings)
        notes = f", {counts['note']} notes" if counts["note"] else ""
        click.echo(f"{counts['broken']} broken{notes}" if counts["broken"] else f"nothing is broken{notes}")
    return 1 if counts["broken"] else 0


MARKS = {"ok": ("✓", "green"), "note": ("!", "yellow"), "broken": ("✗", "red")}


def _show(findings: Iterable[Finding]) -> None:
    """Without rich: that may be what is broken."""
    group = ""
    for found in findings:
        if found.group != group:
            group = found.group
            click.secho(group, bold=True)
        mark, colour = MARKS[found.status]
        click.echo(f"  {click.style(mark, colour)} {found.name:<23} {found.detail}")
        if found.hint:
            click.secho(f"{'':>28}→ {found.hint}", fg=colour)
