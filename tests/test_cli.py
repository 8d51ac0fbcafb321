"""The command line: what it resolves, and that whatever goes wrong is one line and an exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from shutil import which
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

import mcltool
from mcltool.cli.main import cli
from mcltool.train.job import TrainingJob


def run(*args: str) -> Result:
    return CliRunner().invoke(cli, args)


@pytest.mark.parametrize(
    "args",
    [
        ["--help"],
        ["fit", "--help"],
        ["translate-dir", "-h"],
        ["--version"],
        ["plugins", "list"],
        ["weights", "list"],
    ],
)
def test_help_and_listing_import_no_torch(args: list[str]) -> None:
    code = f"""
import sys
from mcltool.cli.main import cli
try:
    cli({args!r})
finally:
    print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "False")


def test_the_version_is_the_packages() -> None:
    assert run("--version").output == f"mcltool {mcltool.__version__}\n"


@pytest.mark.parametrize("group", [[], ["plugins"], ["weights"]])
def test_nothing_asked_is_answered_with_the_help(group: list[str]) -> None:
    result = run(*group)
    assert result.exit_code == 0
    assert "Commands:" in result.output


@pytest.mark.parametrize("command", ["fit", "translate-dir", "demo"])
def test_the_main_commands_have_examples_and_explain_each_option(command: str) -> None:
    text = run(command, "-h").output
    assert f"mcltool {command}" in text.partition("Examples:")[2]
    options = [param for param in cli.commands[command].params if isinstance(param, click.Option)]
    assert all(option.help for option in options)


@pytest.mark.parametrize(
    ("args", "cause"),
    [
        (["translat-dir"], "no command 'translat-dir' (did you mean translate-dir?)"),
        (["plugins", "lst"], "no command 'lst' (did you mean list?)"),
        (["fit", "--plugn", "shapes"], "--plugin"),
        (["fit"], "--plugin: name the data set ('mcltool plugins list' shows them), or give --root"),
        (["fit", "--plugin", "shaped"], "no plugin 'shaped' (did you mean shapes?)"),
        (["fit", "--plugin", "shapes", "--preset", "tiy"], "no preset 'tiy' (did you mean tiny?)"),
        (["fit", "--plugin", "shapes", "--size", "102"], "data.size: 102 is not a multiple of 4"),
        (["fit", "--plugin", "shapes", "--size", "big"], "--size big: expected S or HxW"),
        (
            ["fit", "--plugin", "shapes", "--set", "loss.mlc=1"],
            "no setting 'loss.mlc' (did you mean loss.mcl?)",
        ),
        (["fit", "--plugin", "shapes", "--set", "nothing"], "--set nothing: expected section.key=value"),
        (
            ["fit", "--plugin", "shapes", "--config", "none.toml"],
            "none.toml: no such file, and not one of paper-ade20k",
        ),
        (["fit", "--plugin", "ade20k", "--preset", "tiny"], "http://sceneparsing.csail.mit.edu"),
        (["fit", "--plugin", "ade20k", "--root", "none", "--preset", "tiny"], "none: no such folder"),
        (["weights", "show", "none.safetensors"], "none.safetensors: no such weights file"),
        (["translate-dir", "a", "b"], "Missing argument 'OUT'. See mcltool translate-dir --help"),
        (["demo", "--pretraind"], "--pretrained"),
    ],
)
def test_a_request_that_cannot_be_carried_out_is_one_line_and_exit_2(
    args: list[str], cause: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*args)
    assert result.exit_code == 2
    assert len(result.output.splitlines()) == 1
    assert result.output.startswith("mcltool: ")
    assert cause in result.output
    assert list(tmp_path.iterdir()) == []


def raising(error: BaseException) -> Any:
    def fail(*_: object) -> None:
        raise error

    return fail


def test_an_interrupted_command_exits_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcltool.plugin.registry.describe", raising(KeyboardInterrupt()))
    result = run("plugins", "list")
    assert (result.exit_code, result.output.strip()) == (130, "mcltool: interrupted")


def test_a_bug_is_one_line_that_says_how_to_see_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcltool.plugin.registry.describe", raising(ZeroDivisionError("by\nzero")))
    result = run("plugins", "list")
    assert result.exit_code == 1
    assert len(result.output.splitlines()) == 1
    assert "a bug" in result.output
    assert "ZeroDivisionError: by zero (add --debug" in result.output
    for args in (["--debug", "plugins", "list"], ["plugins", "list", "--debug"]):
        assert isinstance(run(*args).exception, ZeroDivisionError)


def test_plugins_are_listed_as_text_and_as_json() -> None:
    assert "shapes           ok      6 labels" in run("plugins", "list").output
    listed = {info["name"]: info for info in json.loads(run("plugins", "list", "--json").output)}
    assert (listed["ade20k"]["status"], listed["ade20k"]["classes"]) == ("ok", 151)


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("translate-d", ["translate-dir"]),
        ("fit --plugin ce", ["celebahq", "celebahq-mask", "celebahq-parts"]),
        ("fit --preset ti", ["tiny"]),
        ("plugins show sh", ["shapes"]),
        ("no-such-command --x", []),
    ],
)
def test_the_shell_completes_commands_options_and_names(line: str, offered: list[str]) -> None:
    words = {"COMP_WORDS": f"mcltool {line}", "COMP_CWORD": str(len(line.split()))}
    result = CliRunner().invoke(cli, [], env={"_MCLTOOL_COMPLETE": "bash_complete", **words})
    assert result.output.split() == [f"plain,{name}" for name in offered]


@pytest.mark.skipif(not which("bash"), reason="needs bash")
def test_the_script_that_completes_is_one_that_bash_takes() -> None:
    script = run("completion", "bash").output
    done = subprocess.run(["bash", "-c", f"{script}\ncomplete -p mcltool"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "_mcltool_completion mcltool" in done.stdout


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_scripts_of_the_other_shells_ask_the_program(shell: str) -> None:
    assert f"_MCLTOOL_COMPLETE={shell}_complete" in run("completion", shell).output


@pytest.fixture
def fitted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """What fit was asked for, by the command that ran; nothing is trained."""
    asked: dict[str, Any] = {}

    def fit(job: TrainingJob, _: object) -> Path:
        asked.update(vars(job))
        return job.weights

    monkeypatch.setattr("mcltool.train.loop.fit", fit)
    monkeypatch.chdir(tmp_path)
    return asked


def test_what_wins_is_the_option_then_set_then_file_then_plugin_then_preset(
    fitted: dict[str, Any], tmp_path: Path
) -> None:
    def settings(*args: str) -> tuple[float, float, int, int]:
        result = run("fit", "--plugin", "ade20k", "--preset", "tiny", *args)
        assert result.exit_code == 0, result.output
        config = fitted["config"]
        return config.loss.rec, config.loss.mask, config.train.epochs, config.train.batch_size

    (tmp_path / "mine.toml").write_text("[loss]\nmask = 3\n[train]\nepochs = 7\nbatch_size = 5\n")
    file, one = ["--config", "mine.toml"], ["--set", "train.epochs=9"]
    assert settings() == (10, 10, 200, 8)  # tiny, tiny, ade20k, tiny
    assert settings(*file) == (10, 3, 7, 5)
    assert settings(*file, *one, "--set", "train.batch_size=4") == (10, 3, 9, 4)
    assert settings(*file, *one, "--set", "train.batch_size=4", "--batch-size", "2") == (10, 3, 9, 2)


def test_every_option_of_fit_arrives(fitted: dict[str, Any]) -> None:
    options = "--root data --size 64x96 --max-steps 3 --batch-size 2 --run r --out w.safetensors --seed 4"
    more = "--precision fp32 --device cpu --perceptual random --workers 0"
    assert run("fit", "--plugin", "shapes", *options.split(), *more.split()).exit_code == 0
    config = fitted["config"]
    assert (config.data.size, config.data.workers) == ((64, 96), 0)
    assert (config.train.max_steps, config.train.batch_size, config.train.seed) == (3, 2, 4)
    assert (config.train.precision, config.train.perceptual) == ("fp32", "random")
    assert fitted["plugin"].name == "shapes"
    assert (fitted["root"], fitted["run"], fitted["out"]) == (Path("data"), Path("r"), Path("w.safetensors"))
    assert fitted["device"] == "cpu"


@pytest.mark.parametrize(
    ("args", "preset"),
    [
        (["--plugin", "shapes"], "tiny"),
        (["--plugin", "ade20k"], "base"),
        (["--plugin", "ade20k", "--config", "mine.toml"], "tiny"),
        (["--plugin", "ade20k", "--config", "mine.toml", "--preset", "paper"], "paper"),
    ],
)
def test_the_preset_is_the_options_or_the_files_or_the_plugins(
    fitted: dict[str, Any], args: list[str], preset: str, tmp_path: Path
) -> None:
    (tmp_path / "mine.toml").write_text('preset = "tiny"\n')
    assert run("fit", *args).exit_code == 0
    assert fitted["config"].preset == preset


def test_runs_are_numbered(fitted: dict[str, Any], tmp_path: Path) -> None:
    for expected in ("shapes-1", "shapes-2"):
        result = run("fit", "--plugin", "shapes")
        assert fitted["run"] == Path("runs") / expected
        assert result.output == f"weights: {Path('runs') / expected / 'weights.safetensors'}\n"
        (tmp_path / "runs" / expected).mkdir(parents=True)
