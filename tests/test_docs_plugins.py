"""The author guide's code runs, and its commands exist."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from types import ModuleType

import click
import pytest

from mcltool.cli import cli

GUIDE = Path(__file__).parents[1] / "docs" / "plugins.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE.read_text(), re.DOTALL | re.MULTILINE)


def test_the_code_of_the_guide_runs_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    guide = ModuleType("guide")
    monkeypatch.setitem(sys.modules, "guide", guide)  # where pickling looks the classes up
    for number, code in enumerate(blocks("python")):
        exec(compile(code, f"docs/plugins.md, block {number}", "exec"), guide.__dict__)
    assert {"MeadowPlugin", "PencilPlugin", "EyesPlugin"} <= set(vars(guide))


def commands() -> list[list[str]]:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    words = [shlex.split(re.sub(r"^[A-Z_]+=\S+ ", "", line), comments=True) for line in lines]
    return [line[1:] for line in words if line[:1] == ["mcltool"]]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_the_commands_of_the_guide_take_what_they_are_given(words: list[str]) -> None:
    command: click.Command = cli
    context = click.Context(cli, **cli.context_settings)
    while isinstance(command, click.Group):
        command = command.commands[words.pop(0)]
    command.make_context(command.name, words, parent=context)


def test_the_guide_points_only_at_files_that_are_there() -> None:
    for target in re.findall(r"\]\((\.\./[^)]+)\)", GUIDE.read_text()):
        assert (GUIDE.parent / target).exists(), target
