"""What ``mcltool data check`` prints."""

from __future__ import annotations

from typing import Any

import click

from mcltool.cli.tables import show_facts, show_shares
from mcltool.data.check import SplitReport, describe_sizes
from mcltool.plugin.contract import ConditionSpec

SHOWN = 50
"""Problems that are printed; --json has all."""


def show_split(spec: ConditionSpec, report: SplitReport) -> None:
    """A split: counts, sizes, how frequent each class is, problems and doubts."""
    alone = report.samples - report.grouped
    views = f"{report.groups} groups; {alone} samples have no other view: a copy of each is its exemplar"
    facts = {"split": report.split}
    if report.samples:
        facts["samples"] = str(report.samples)
        facts["photos"] = _sizes(describe_sizes(report.photos))
        facts["conditions"] = _sizes(describe_sizes(report.conditions))
        facts["exemplars"] = views
    show_facts(facts)
    if report.conditions:
        click.echo()
        show_shares(spec, report.mean_shares())
    for name, cause in report.problems[:SHOWN]:
        click.echo(f"broken: {name + ': ' if name else ''}{cause}")
    if len(report.problems) > SHOWN:
        click.echo(f"and {len(report.problems) - SHOWN} more problems; --json has them all")
    for line in report.doubts:
        click.echo(f"doubtful: {line}")
    click.echo()


def _sizes(found: dict[str, Any]) -> str:
    """Sizes in words, width x height."""
    if not found:
        return "none could be read"
    smallest, largest, usual = (
        "{1} x {0}".format(*found[key]) for key in ("smallest", "largest", "most_frequent")
    )
    if smallest == largest:
        return f"{usual} pixels"
    times = found["most_frequent_count"]
    often = f", most often {usual} ({times} times)" if times > 1 else ""
    return f"{smallest} to {largest} pixels, median short side {found['median_short_side']:g}{often}"
