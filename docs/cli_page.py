"""Writes docs/cli.md from the command line's own help, and docs/settings.md from core/sections.py:

python docs/cli_page.py
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import click

from mcltool.cli.main import cli
from mcltool.cli.settings import about, settings_of
from mcltool.core.config import SECTIONS

PAGE = Path(__file__).parent / "cli.md"
SETTINGS_PAGE = Path(__file__).parent / "settings.md"
SETTINGS_HEAD = """\
<!-- Written by: python docs/cli_page.py -->
# Settings

All that a training can be told, with the value that each preset gives it where that is not the default. On the
command line, `--set SECTION.KEY=VALUE`; in a file for `--config`, `KEY = VALUE` below `[SECTION]`. `mcltool fit
--help-settings` prints this list, [training.md](training.md#settings) says which win and which to change when.
"""
HEAD = """\
<!-- Written by: python docs/cli_page.py -->
# The command line

What `mcltool COMMAND --help` says, on one page.

"""


def page() -> str:
    """The whole page: a table of commands, then each with its options."""
    found = list(walk("mcltool", cli))
    rows = [f"| [`{path}`](#{path.replace(' ', '-')}) | {summary(command)} |\n" for path, command in found]
    sections = [section(path, command) for path, command in found]
    codes = "Exit codes: 0 done, 1 failed, 2 the request cannot be carried out, 130 interrupted."
    top = f"\n{options_table(cli)}\n{codes}\n"
    return "\n".join([HEAD + "| command | |\n|---|---|\n" + "".join(rows) + top, *sections])


def settings_page() -> str:
    """Every setting with its default and what presets make of it, a table a section."""
    parts = [SETTINGS_HEAD]
    for section in SECTIONS:
        rows = []
        for setting in settings_of(section):
            presets = ", ".join(f"{name} `{value}`" for name, value in setting.presets.items())
            default = f"`{setting.default}`" if setting.default else ""
            rows.append(f"| `{setting.address}` | {default} | {presets} | {escaped(setting.help)} |\n")
        table = "| setting | default | preset | |\n|---|---|---|---|\n" + "".join(rows)
        parts.append(f"## {section}\n\n{escaped(about(section))}\n\n{table}")
    return "\n".join(parts)


def walk(path: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    """Every command with the words that call it; a hidden one is what its group does without a command."""
    if not isinstance(command, click.Group):
        yield path, command
        return
    hidden = [sub for sub in command.commands.values() if sub.hidden]
    if hidden:
        yield path, hidden[0]
    for name, sub in sorted(command.commands.items()):
        if not sub.hidden:
            yield from walk(f"{path} {name}", sub)


def section(path: str, command: click.Command) -> str:
    parts = [f"## {path}\n"]
    parts.append(f"```\n{usage(path, command)}\n```\n")
    parts.append(prose(command))
    parts.append(options_table(command))
    return "\n".join(part for part in parts if part)


def usage(path: str, command: click.Command) -> str:
    words = [path] + (["[OPTIONS]"] if any(isinstance(p, click.Option) for p in command.params) else [])
    for param in command.params:
        if isinstance(param, click.Argument):
            name = (param.metavar or (param.name or "").upper()).strip("[]")
            words.append(name if param.required else f"[{name}]")
    return " ".join(words)


def prose(command: click.Command) -> str:
    """The help's paragraphs; what is laid out by hand in it (after a \\b) is kept as it is."""
    found = []
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        if paragraph.startswith("\b\n"):
            title, _, rest = paragraph.removeprefix("\b\n").partition("\n")
            if not title.startswith("Example"):
                title, rest = "", paragraph.removeprefix("\b\n")
            body = inspect.cleandoc("\n" + rest)
            found.append(f"{title}\n\n```\n{body}\n```" if title else f"```\n{body}\n```")
        else:
            found.append(escaped(" ".join(paragraph.split())))
    return "\n\n".join(found) + "\n"


def options_table(command: click.Command) -> str:
    rows = []
    for param in command.params:
        if isinstance(param, click.Option) and not param.hidden:
            names = " / ".join(", ".join(opts) for opts in (param.opts, param.secondary_opts) if opts)
            given = value(param)
            shown = f"{names} {given}" if given else names
            help_text = " ".join((param.help or "").split())
            rows.append(f"| `{shown}` | {escaped(help_text)} |")
    return "| option | |\n|---|---|\n" + "\n".join(rows) + "\n" if rows else ""


def value(option: click.Option) -> str:
    """What an option takes, in a word; "" for a flag."""
    if option.is_flag:
        return ""
    if isinstance(option.type, click.Choice):
        return r"\|".join(map(str, option.type.choices))
    number = isinstance(option.type, click.types.IntParamType | click.types.FloatParamType)
    return (option.metavar or ("N" if number else "TEXT")).replace("|", r"\|")


def summary(command: click.Command) -> str:
    return escaped(command.get_short_help_str(limit=200))


def escaped(text: str) -> str:
    """What Markdown would take as its own, outside of code."""
    return re.sub(r"([|*<>_])", r"\\\1", text)


if __name__ == "__main__":
    for path, text in ((PAGE, page()), (SETTINGS_PAGE, settings_page())):
        path.write_text(text, "utf-8")
        print(f"written: {path}")
