"""Every setting with what is written beside it in core/sections.py: fit --help-settings, --set, docs/settings.md."""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import click

from mcltool.core.config import SECTIONS
from mcltool.core.presets import PRESETS


@dataclass(frozen=True)
class Setting:
    """default: as --set takes it. presets: those that set it otherwise, likewise."""

    address: str
    default: str
    presets: dict[str, str]
    help: str


def settings_of(section: str) -> Iterator[Setting]:
    """The settings of "model", "loss", "data" or "train", in the file's order."""
    kind = SECTIONS[section]
    documented = _docstrings(kind)
    for item in fields(kind):
        address = f"{section}.{item.name}"
        differing = {name: _text(preset[address]) for name, preset in PRESETS.items() if address in preset}
        yield Setting(address, _text(item.default), differing, documented.get(item.name, ""))


def about(section: str) -> str:
    """What the section is of, in its class's words."""
    return inspect.cleandoc(SECTIONS[section].__doc__ or "").replace("\n", " ")


def show_settings(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    """The callback of --help-settings."""
    if not wanted or context.resilient_parsing:
        return
    formatter = click.HelpFormatter(width=110)
    formatter.write_text(
        "--set SECTION.KEY=VALUE, or a file for --config with sections [model], [loss], [data], [train]."
    )
    for section in SECTIONS:
        formatter.write_paragraph()
        formatter.write_text(f"[{section}] {about(section)}")
        with formatter.indentation():
            formatter.write_dl(
                [(f"{s.address}={s.default}", _with_presets(s)) for s in settings_of(section)], col_max=38
            )
    click.echo(formatter.getvalue(), nl=False)
    context.exit()


def complete_settings(_: click.Context, __: click.Parameter, begun: str) -> list[str]:
    """For the shell's completion: keys that begin so, with "="."""
    return [f"{s.address}=" for name in SECTIONS for s in settings_of(name) if s.address.startswith(begun)]


def _with_presets(setting: Setting) -> str:
    values = ", ".join(f"{name} {value}" for name, value in setting.presets.items())
    return f"{setting.help}  [{values}]" if values else setting.help


def _docstrings(kind: type) -> dict[str, str]:
    """The text under each field of a class."""
    (definition,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for field, after in zip(definition.body, definition.body[1:], strict=False):
        match field, after:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = " ".join(text.split())
    return found


def _text(value: Any) -> str:
    """A value in TOML; what is not set has none there."""
    return "" if value is None else json.dumps(value) if not isinstance(value, str) else value
