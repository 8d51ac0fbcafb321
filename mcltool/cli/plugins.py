"""``mcltool plugins``: what is installed, what it is, whether it keeps the contract, and a new one."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from mcltool.cli import options
from mcltool.cli.options import PATH


@click.group("plugins", cls=options.Commands)
def plugins_group() -> None:
    """Data sets that mcltool can train on."""


@plugins_group.command("list")
@options.json("Print JSON, one object per plugin.")
def plugins_list(as_json: bool) -> None:
    """List the installed data set plugins; broken ones are listed with the reason.

    MCLTOOL_DISABLE_PLUGINS leaves plugins out: NAME,NAME,... or DISTRIBUTION:NAME where two claim a name.
    """
    from mcltool.plugin import registry as plugins

    found = plugins.describe()
    if as_json:
        click.echo(json.dumps([asdict(info) for info in found], indent=2))
        return
    for info in found:
        what = f"{info.classes} {info.kind}" if info.kind else "conditions as the data have them"
        about = f"{what}, version {info.version}" if info.status == "ok" else info.cause
        click.echo(f"{info.name:<16} {info.status:<7} {about}  ({info.distribution})")


@plugins_group.command("show")
@click.argument("name", shell_complete=options.complete_plugins)
@options.json()
def plugins_show(name: str, as_json: bool) -> None:
    """Show a data set: its classes or channels with their colours, its training defaults, where to get it."""
    from mcltool.plugin import registry as plugins

    plugin = plugins.load(name)
    spec = plugins.spec_of(plugin)
    defaults = dict(plugin.defaults)
    facts = {"name": name, "version": plugin.version, "distribution": plugins.distribution(name)}
    facts |= {"home page": plugin.home_page}
    if as_json:
        facts["home_page"] = facts.pop("home page")
        document = facts | {
            "needs_root": plugin.needs_root,
            "defaults": defaults,
            "spec": asdict(spec) if spec else None,
        }
        click.echo(json.dumps(document, indent=2))
        return
    from mcltool.cli.tables import show_classes, show_facts

    facts["condition"] = (
        f"{spec.channels} {spec.kind}" if spec else "as the data have them: mcltool data describe DIR"
    )
    facts["defaults"] = "\n".join(f"{key} = {value}" for key, value in defaults.items())
    show_facts({key: value for key, value in facts.items() if value})
    if spec:
        click.echo()
        show_classes(spec)


@plugins_group.command("check")
@click.argument("name", shell_complete=options.complete_plugins)
@click.option(
    "--root", type=PATH, metavar="DIR", help="Folder of the data set.  [default: $MCLTOOL_DATA/NAME]"
)
@options.json()
def plugins_check(name: str, root: Path | None, as_json: bool) -> int:
    """Check that a plugin keeps the contract; a failed check says what is wrong.

    A few samples of each split are read; mcltool data check reads all of them.

    Exit code: 0 all passed, 1 some failed.

    \b
    Examples:
      mcltool plugins check shapes
      mcltool plugins check ade20k --root ADEChallengeData2016
    """
    from mcltool.core.errors import UsageError
    from mcltool.plugin import registry as plugins
    from mcltool.plugin.conformance import Check, run_checks

    try:
        plugin = plugins.load(name)
    except UsageError as error:
        if name not in plugins.names():
            raise
        checks = [Check("loading", "failed", str(error))]
    else:
        checks = [Check("loading", "passed", plugins.distribution(name))]
        root = plugins.data_root(plugin, root)
        checks += run_checks(plugin.for_data(root), root)
    failed = sum(check.status == "failed" for check in checks)
    if as_json:
        click.echo(json.dumps([asdict(check) for check in checks], indent=2))
    else:
        from mcltool.cli.tables import show_checks

        show_checks(checks)
        click.echo(f"{name}: {failed} of {len(checks)} checks failed" if failed else f"{name}: all is well")
    return 1 if failed else 0


@plugins_group.command("new")
@click.argument("name")
@click.option("--out", type=PATH, metavar="DIR", help="Folder to make.  [default: mcltool-NAME]")
def plugins_new(name: str, out: Path | None) -> None:
    """Write a complete plugin package as a starting point for your own.

    It has a pyproject.toml, a module and a test, and passes mcltool plugins check as it is.

    \b
    Example:
      mcltool plugins new meadow && pip install -e mcltool-meadow && mcltool plugins show meadow
    """
    from mcltool.plugin import registry as plugins
    from mcltool.plugin.scaffold import write_package

    if name in plugins.names():
        raise click.UsageError(f"plugin {name!r} already exists, from {plugins.distribution(name)}")
    home = write_package(name, out or Path(f"mcltool-{name}"))
    click.echo(f"{home}: install it with pip install -e {home}, then mcltool plugins show {name}")
