"""The documentation: links lead somewhere, the page of the command line is current, and what can be run is run.

A fenced block of ``sh`` is run, line by line, in one folder a page. What cannot be run here says why behind the
word sh, where no reader sees it (```sh needs the data set); its commands are still parsed as the command line does.
A ``fit`` is run as written but for its size: one step of a small network.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from mcltool_ade20k import Ade20kPlugin
from PIL import Image
from tiny_weights import make_weights

from mcltool.cli.main import cli
from mcltool.cli.settings import complete_settings, settings_of
from mcltool.core.config import SECTIONS, read_toml, resolve

pytestmark = pytest.mark.slow

TOP = Path(__file__).parents[1]
DOCS = TOP / "docs"
CLI_PAGE = DOCS / "cli.md"
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "weights/*.md", "plugins/example/*.md")
    for path in TOP.glob(pattern)
)
NAMES = [path.relative_to(TOP).as_posix() for path in PAGES]
FROM_NOTHING = {"docs/getting-started.md"}
"""Pages whose commands start in an empty folder, as a newcomer does."""


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, what stands behind that, and its text."""

    page: str
    line: int
    language: str
    reason: str
    text: str

    @property
    def lines(self) -> list[str]:
        """Commands, without comments; continued ones are one, as are parts of ``a && b``, each for itself."""
        whole = self.text.replace("\\\n", " ").splitlines()
        return [
            part.strip() for line in whole for part in line.split("&&") if part.strip() and line[0] != "#"
        ]


SHORT_FIT = [
    "--preset", "tiny", "--size", "32", "--batch-size", "2", "--max-steps", "1", "--workers", "0",
    "--perceptual", "none",
]  # fmt: skip


def blocks(name: str, *languages: str) -> list[Block]:
    text = (TOP / name).read_text()
    found = []
    for match in re.finditer(r"^```(\w+) *(.*)\n((?:.*\n)*?)```$", text, re.MULTILINE):
        if match[1] in languages:
            line = text[: match.start()].count("\n") + 1
            found.append(Block(name, line, match[1], match[2], match[3]))
    return found


SHELL = [block for name in NAMES for block in blocks(name, "sh", "bash")]
RUN = [name for name in NAMES if any(block.page == name and not block.reason for block in SHELL)]


# Links


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives to a page's headings."""
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_to_files_and_headings_that_are_there(name: str) -> None:
    page = TOP / name
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, heading = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{name}: {target}"
        assert not heading or heading in anchors(found), f"{name}: {target}"


def test_the_index_lists_every_page() -> None:
    listed = set(re.findall(r"\]\(([\w-]+\.md)\)", (DOCS / "README.md").read_text()))
    assert listed == {path.name for path in DOCS.glob("*.md")} - {"README.md"}


def test_every_picture_is_shown_somewhere() -> None:
    shown = "".join(page.read_text() for page in PAGES)
    assert [path.name for path in (DOCS / "images").iterdir() if f"images/{path.name})" not in shown] == []


# The page of the command line


def test_the_page_of_the_command_line_is_what_help_says() -> None:
    spec = importlib.util.spec_from_file_location("cli_page", DOCS / "cli_page.py")
    assert spec is not None
    assert spec.loader is not None
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    for path, page in ((CLI_PAGE, maker.page()), (DOCS / "settings.md", maker.settings_page())):
        assert path.read_text("utf-8") == page, (
            f"{path.name} is not what the code says: run python docs/cli_page.py"
        )


def test_every_setting_is_documented_beside_it() -> None:
    settings = [setting for section in SECTIONS for setting in settings_of(section)]
    assert [setting.address for setting in settings if not setting.help] == []
    listed = CliRunner().invoke(cli, ["fit", "--help-settings"])
    assert listed.exit_code == 0
    assert "train.generator_start=0.0" in listed.output
    assert "[base 0.15, hd 0.15, small 0.15, tiny 0.3]" in " ".join(listed.output.split())
    assert complete_settings(None, None, "train.gen") == ["train.generator_start="]  # type: ignore[arg-type]


# Commands


def parse(words: list[str]) -> None:
    """Parse as the command line does; raises click.UsageError. Nothing is run."""
    command: click.Command = cli
    context = click.Context(cli, **cli.context_settings)
    if words == ["--version"]:
        return
    while isinstance(command, click.Group):
        if words and words[0] in command.commands:
            command = command.commands[words.pop(0)]
            continue
        own = [sub for sub in command.commands.values() if sub.hidden]  # what a group does without a command
        assert own, f"no command {words[:1]}"
        command = own[0]
    with suppress(click.exceptions.Exit):  # of --help
        command.make_context(command.name, words, parent=context)


def words_of_mcltool(line: str) -> list[str] | None:
    """What follows the program's name in a line of shell, behind torchrun or a variable too; else None."""
    words = shlex.split(line, comments=True)
    for index, word in enumerate(words):
        if word == "mcltool" and (index == 0 or words[index - 1] == "-m" or "=" in words[index - 1]):
            rest = words[index + 1 :]
            return rest[: rest.index(">")] if ">" in rest else rest
    return None


@pytest.mark.parametrize("block", SHELL, ids=lambda block: f"{block.page}:{block.line}")
def test_commands_in_the_documentation_are_ones_that_mcltool_takes(block: Block) -> None:
    for line in block.lines:
        words = words_of_mcltool(re.sub(r"^for .* do |; done$", "", line))
        if words is not None:
            parse(words)


def examples() -> Iterator[str]:
    """Lines of the help's examples; what stands two blanks further right explains them."""

    def walk(command: click.Command) -> Iterator[str]:
        if isinstance(command, click.Group):
            for sub in command.commands.values():
                yield from walk(sub)
        for line in (command.help or "").splitlines():
            if "mcltool " in line and line.startswith("      "):
                yield from re.split(r" {2,}", line.strip())[0].split("&&")

    yield from walk(cli)


@pytest.mark.parametrize("line", sorted(set(examples())))
def test_examples_of_the_help_are_ones_that_mcltool_takes(line: str) -> None:
    words = words_of_mcltool(line.replace(">>", ">"))
    if words is not None:
        parse(words)


@pytest.mark.parametrize("name", NAMES)
def test_settings_in_the_documentation_are_ones_that_mcltool_takes(name: str, tmp_path: Path) -> None:
    for block in blocks(name, "toml"):
        if block.text.startswith("# mine.toml"):
            (tmp_path / "mine.toml").write_text(block.text)
            settings = read_toml(tmp_path / "mine.toml")
            resolve("shapes", settings.pop("preset", "paper"), settings)


# Running


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a reader would have: a small data set like ADE20K, weights for it, masks and photos to translate."""
    home = tmp_path_factory.mktemp("data")
    spec, root = Ade20kPlugin().spec, home / "ADEChallengeData2016"
    make_weights(home / "runs" / "ade20k-1" / "weights.safetensors", "ade20k", spec)
    for split, count in (("training", 4), ("validation", 2)):
        for number in range(count):
            labels = np.full((32, 32), 3, np.uint8)
            labels[12 + 2 * number :] = 1 + number
            photo = np.asarray(spec.palette, np.uint8)[labels]
            for kind, picture, suffix in (("images", photo, "jpg"), ("annotations", labels, "png")):
                path = root / kind / split / f"ADE_{split}_{number}.{suffix}"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(picture).save(path)
    for number in range(4):  # docs/own-data.md's
        for kind, picture in (("images", photo), ("masks", labels)):
            path = home / "garden" / kind / f"{number + 1:04d}.{'jpg' if kind == 'images' else 'png'}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(path)
    for folder, kind in (("masks", "annotations"), ("photos", "images"), ("answers", "images")):
        for number, path in enumerate(sorted((root / kind / "validation").iterdir())):
            (home / folder).mkdir(exist_ok=True)
            shutil.copy(path, home / folder / f"{number + 1}{path.suffix}")
    shutil.copytree(home / "photos", home / "styles")
    for copy in ("mask.png", "a.png", "b.png"):
        shutil.copy(home / "masks" / "1.png", home / copy)
    shutil.copy(home / "photos" / "1.jpg", home / "style.jpg")
    weights = home / "runs" / "ade20k-1" / "weights.safetensors"
    folders = [str(home / name) for name in ("masks", "photos", "out")]
    made = CliRunner().invoke(cli, ["translate-dir", *folders, "--weights", str(weights), "--device", "cpu"])
    assert made.exit_code == 0, made.output
    return home


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", RUN)
def test_commands_in_the_documentation_run(
    name: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    if name in FROM_NOTHING:
        work.mkdir()
    else:
        shutil.copytree(data, work)
    monkeypatch.chdir(work)
    for block in (block for block in SHELL if block.page == name and not block.reason):
        for line in block.lines:
            words = words_of_mcltool(line)
            where = f"{name}, line {block.line}: {line}"
            assert words is not None, f"{where}: only mcltool can be run; say behind ```sh why this cannot"
            result = CliRunner().invoke(cli, words + SHORT_FIT if words[0] == "fit" else words)
            assert result.exit_code == 0, f"{where}\n{result.output}"


PYTHON = [(name, block) for name in NAMES for block in blocks(name, "python") if name != "docs/plugins.md"]
"""The author guide's is run by tests/test_docs_plugins.py: a piece goes on from the one before."""


@pytest.mark.parametrize(("name", "block"), PYTHON, ids=lambda value: str(getattr(value, "line", value)))
def test_python_in_the_documentation_runs(
    name: str, block: Block, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    shutil.copytree(data, work)
    monkeypatch.chdir(work)
    exec(compile(block.text, f"{name}, line {block.line}", "exec"), {"__name__": "page"})
