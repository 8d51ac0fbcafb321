"""``mcltool runs``: what was trained here."""

from __future__ import annotations

from pathlib import Path

import click

from mcltool.cli.options import FOLDER
from mcltool.cli.program import Commands


@click.group("runs", cls=Commands)
def runs_group() -> None:
    """Training runs."""


@runs_group.command("list")
@click.argument("folder", type=FOLDER, default=Path("runs"))
def list_runs(folder: Path) -> None:
    """The runs in FOLDER (default: runs), with how far each came and its latest scores."""
    from mcltool.cli.tables import show_runs
    from mcltool.core.errors import UsageError
    from mcltool.train.runs import overview, runs_below

    runs = runs_below(folder)
    if not runs:
        raise UsageError(f"{folder}: no runs in it; 'mcltool fit' makes one")
    show_runs([overview(run) for run in runs])


@runs_group.command("show")
@click.argument("run", type=FOLDER)
def show_run(run: Path) -> None:
    """All about one run: state, latest losses and scores, checkpoints, files, configuration."""
    from mcltool.cli.tables import show_facts
    from mcltool.train.run_folder import RunFolder
    from mcltool.train.runs import facts

    folder = RunFolder(run)
    show_facts(facts(folder))
